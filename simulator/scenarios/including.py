"""A scenario's tree with the files in it that it includes: their keys, and the steps that it takes from them."""

from pathlib import Path

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from simulator.scenarios.nodes import child, described, folder_of, items, like, place_of, read_tree, without
from simulator.scenarios.problems import Problem, ScenarioError


# Groups of which an including file may change single keys; any other key it replaces.
GROUPS = ("server", "variables", "line", "webhooks", "outbound", "expect")
INCLUDE, STEPS = "include", "steps"


def assembled(path: Path, within: tuple[Path, ...] = ()) -> MappingNode:
    """The file's tree; ScenarioError for a file that includes itself, by others or not."""
    root = read_tree(path)
    files = (*within, path.resolve())
    tree = root
    if (names := child(root, INCLUDE)) is not None:
        for name in reversed(names.value if isinstance(names, SequenceNode) else [names]):
            tree = _merged(without(_included(name, files), "name", "description"), tree)
    steps = child(tree, STEPS)
    if not isinstance(steps, SequenceNode):
        return without(tree, INCLUDE)
    spliced = like(steps, [one for step in steps.value for one in _spliced(step, files)])
    return without(_with(tree, STEPS, spliced), INCLUDE)


def _included(name: Node, files: tuple[Path, ...]) -> MappingNode:
    if not isinstance(name, ScalarNode):
        raise ScenarioError([Problem(place_of(name), f"`include` is the name of a file, and not {described(name)}")])
    path = folder_of(name) / name.value
    if path.resolve() in files:
        round_trip = " -> ".join(file.name for file in (*files[files.index(path.resolve()) :], path))
        raise ScenarioError([Problem(place_of(name), f"files that include one another: {round_trip}")])
    if not path.is_file():
        raise ScenarioError([Problem(place_of(name), f"there is no file {path} to include")])
    return assembled(path, files)


def _spliced(step: Node, files: tuple[Path, ...]) -> list[Node]:
    """A step, or those of the file that it includes."""
    if not isinstance(step, MappingNode) or (name := child(step, INCLUDE)) is None:
        return [step]
    if len(step.value) > 1:
        raise ScenarioError(
            [Problem(place_of(step), "`include` is a step of its own; begin a line of its own with `- `")]
        )
    steps = child(_included(name, files), STEPS)
    if not isinstance(steps, SequenceNode):
        raise ScenarioError([Problem(place_of(name), f"{name.value} has no `steps:` to include")])
    return list(steps.value)


def _merged(base: MappingNode, own: MappingNode) -> MappingNode:
    """What the base says, unless it is said here."""
    tree = own
    for name, key, theirs in items(base):
        ours = child(own, name)
        if ours is None:
            tree = like(tree, [*tree.value, (key, theirs)])
        elif name in GROUPS and isinstance(ours, MappingNode) and isinstance(theirs, MappingNode):
            own_keys = {key for key, _, _ in items(ours)}
            more = [(at, value) for key, at, value in items(theirs) if key not in own_keys]
            tree = _with(tree, name, like(ours, [*ours.value, *more]))
    return tree


def _with(node: MappingNode, name: str, value: Node) -> MappingNode:
    """The same with another value for that key."""
    pairs = [(key, value if key.value == name else old) for key, old in node.value]
    return like(node, pairs)  # type: ignore[no-any-return]
