"""One scenario for each combination of what its matrix names: keys of the file, and variables."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NoReturn

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from simulator.scenarios.language import File
from simulator.scenarios.nodes import child, described, items, like, place_of, without
from simulator.scenarios.problems import Problem, ScenarioError
from simulator.scenarios.shapes import keys_of


MOST = 1000
# What varies is the call, not how its file is put together.
_FIXED = ("name", "description", "include", "variables", "matrix")


@dataclass(frozen=True)
class Combination:
    tree: MappingNode
    variables: dict[str, str]
    label: str  # "loss 3%, small"; "" if there is no matrix


def combinations(root: MappingNode) -> Iterator[Combination]:
    matrix, tree = child(root, "matrix"), without(root, "matrix")
    if matrix is None:
        yield Combination(tree, {}, "")
        return
    axes = _axes(matrix)
    for chosen in product(*axes.values()):
        yield _combined(tree, dict(zip(axes, chosen, strict=True)))


def _axes(matrix: Node) -> dict[str, list[Node]]:
    if not isinstance(matrix, MappingNode) or not matrix.value:
        _fail(matrix, f"`matrix` is `key: [values]` lines, and not {described(matrix)}")
    axes = {}
    for name, key, values in items(matrix):
        if name in _FIXED:
            _fail(key, f"`{name}` cannot vary; what can is `line`, another key of the call, or a variable")
        if not isinstance(values, SequenceNode) or not values.value:
            _fail(
                values, f"`{name}` needs a list of values in a matrix, like [small, large], and not {described(values)}"
            )
        axes[name] = values.value
    if (size := prod(map(len, axes.values()))) > MOST:
        _fail(matrix, f"{size} combinations; {MOST} are the most")
    return axes


def _combined(tree: MappingNode, chosen: dict[str, Node]) -> Combination:
    variables = {}
    for name, value in chosen.items():
        if name in keys_of(File):
            key = ScalarNode("tag:yaml.org,2002:str", name, value.start_mark, value.end_mark)
            tree = like(tree, [*without(tree, name).value, (key, value)])
        elif isinstance(value, ScalarNode):
            variables[name] = value.value
        else:
            _fail(
                value,
                f"`{name}` is a variable, so each of its values is a text or a number, and not {described(value)}",
            )
    return Combination(tree, variables, ", ".join(map(_label, chosen.values())))


def _label(node: Node) -> str:
    """A value as a part of a name."""
    if isinstance(node, ScalarNode):
        return str(node.value)
    if isinstance(node, SequenceNode):
        return " + ".join(map(_label, node.value))
    return " ".join(f"{key.value} {_label(value)}" for key, value in node.value)


def _fail(node: Node, text: str) -> NoReturn:
    raise ScenarioError([Problem(place_of(node), text)])
