"""`${name}` and `${env:NAME}` in the values of a scenario."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from simulator.scenarios.nodes import child, items, like, place_of, scalar
from simulator.scenarios.problems import Problem, ScenarioError, meant


_REFERENCE = re.compile(r"\$\$(?=\{)|\$\{([^{}]*)\}")
ENVIRONMENT = "env:"


def substituted(root: MappingNode, given: Mapping[str, str]) -> MappingNode:
    """The same tree with every variable's value in its place; `given` outweighs what `variables:` says."""
    substitution = _Substitution(_declared(root), given)
    tree: MappingNode = substitution.of(root)
    if substitution.problems:
        raise ScenarioError(substitution.problems)
    return tree


def named(root: Node) -> set[str]:
    """The variables that a tree declares or uses."""
    return set(_declared(root)) | set(_used(root))


def _used(node: Any) -> Iterator[str]:
    if isinstance(node, ScalarNode):
        yield from (name.strip() for name in _REFERENCE.findall(node.value) if name)
        return
    for one in node.value:
        for part in one if isinstance(one, tuple) else (one,):
            yield from _used(part)


def _declared(root: Node) -> dict[str, ScalarNode]:
    found = child(root, "variables") if isinstance(root, MappingNode) else None
    if not isinstance(found, MappingNode):
        return {}
    return {name: value for name, _, value in items(found) if isinstance(value, ScalarNode)}


class _Substitution:
    def __init__(self, declared: Mapping[str, ScalarNode], given: Mapping[str, str]) -> None:
        self._declared, self._given = declared, given
        self._open: list[str] = []  # variables whose values are being found
        self.problems: list[Problem] = []

    def of(self, node: Any) -> Any:
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if isinstance(node, SequenceNode):
            return like(node, [self.of(one) for one in node.value])
        return like(node, [(key, self.of(value)) for key, value in node.value])

    def _scalar(self, node: ScalarNode) -> ScalarNode:
        if "${" not in node.value:
            return node
        return scalar(node, self._text(node))

    def _text(self, node: ScalarNode) -> str:
        return _REFERENCE.sub(
            lambda found: "$" if found[1] is None else self._value(found[1].strip(), node), node.value
        )

    def _value(self, name: str, node: ScalarNode) -> str:
        if name.startswith(ENVIRONMENT):
            value = os.environ.get(name.removeprefix(ENVIRONMENT))
            return (
                value
                if value is not None
                else self._unknown(node, f"${{{name}}}: the environment has no such variable")
            )
        if name in self._given:
            return self._given[name]
        if name in self._open:
            return self._unknown(node, f"variable `{name}` is made of itself: {' -> '.join([*self._open, name])}")
        if name in self._declared:
            self._open.append(name)
            text = self._text(self._declared[name])
            self._open.pop()
            return text
        hint = (
            meant(name, {*self._declared, *self._given}) or f"; write it under `variables:`, or give --set {name}=..."
        )
        return self._unknown(node, f"unknown variable `{name}`{hint}")

    def _unknown(self, node: ScalarNode, text: str) -> str:
        self.problems.append(Problem(place_of(node), text))
        return ""
