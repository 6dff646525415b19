"""Nodes of YAML read as the groups of keys that they are to be. Everything that is wrong is found in one go."""

from collections.abc import Iterable
from typing import Any, TypeVar, get_args

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from simulator.scenarios.kinds import kind_of
from simulator.scenarios.nodes import described, folder_of, is_nothing, items, place_of
from simulator.scenarios.problems import Place, Problem, ScenarioError, meant
from simulator.scenarios.shapes import Choice, Shape, choices, is_choice, is_list, is_shape, is_table, keys_of


T = TypeVar("T", bound=Shape)


class _Faulty:
    """In place of a value that could not be read; the problem is noted."""


FAULTY = _Faulty()


def read(node: Node, shape: type[T]) -> T:
    """ScenarioError with every problem that there is."""
    reader = _Reader()
    value = reader.read(node, shape, "a scenario")
    if reader.problems:
        raise ScenarioError(reader.problems)
    assert isinstance(value, shape), "what has no problem is what was to be read"
    return value


class _Reader:
    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def read(self, node: Node, kind: Any, what: str) -> Any:
        """`what` is the key that the value belongs to, as a sentence names it."""
        if is_choice(kind):
            return self._choice(node, kind)
        if is_list(kind):
            return self._list(node, get_args(kind)[0], what)
        if is_nothing(node) and kind is not Any:
            hint = "; a # begins a comment: write it in quotes" if "#" in _rest_of_line(node) else ""
            return self._wrong(node, f"{what} has no value{hint}")
        if is_shape(kind):
            return self._shape(node, kind, what)
        if is_table(kind):
            return self._table(node, get_args(kind)[1], what)
        return node if kind is Any else self._scalar(node, kind, what)

    def _wrong(self, node: Node, text: str) -> _Faulty:
        self.problems.append(Problem(place_of(node), text))
        return FAULTY

    def _scalar(self, node: Node, kind: Any, what: str) -> Any:
        if not isinstance(node, ScalarNode):
            return self._wrong(node, f"{what} is one value, and not {described(node)}")
        if words := choices(kind):
            if node.value in words:
                return node.value
            return self._wrong(node, f"{what} cannot be `{node.value}`{meant(node.value, words)}")
        single = kind_of(kind)
        assert single is not None, f"{kind} is a kind of value"
        try:
            return single.read(node.value, folder_of(node))
        except ValueError as error:
            return self._wrong(node, f"{what} cannot be {described(node)}: {error}")

    def _list(self, node: Node, kind: Any, what: str) -> Any:
        """One alone needs no list around it."""
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        if is_nothing(node):
            return self._wrong(node, f"{what} has no value")
        values = [self.read(one, kind, what) for one in nodes]
        return FAULTY if _is_faulty(values) else tuple(values)

    def _table(self, node: Node, kind: Any, what: str) -> Any:
        if not isinstance(node, MappingNode):
            return self._wrong(node, f"{what} is `name: value` lines, and not {described(node)}")
        values = {key: self.read(value, kind, f"`{key}`") for key, _, value in items(node)}
        return FAULTY if _is_faulty(values.values()) else values

    def _shape(self, node: Node, shape: type[Shape], what: str) -> Any:
        if isinstance(node, MappingNode):
            return self._group(node, shape, what)
        if isinstance(node, ScalarNode) and node.value in shape.WORDS:
            key = keys_of(shape)[node.value]
            return self._made(node, shape, what, {key.attribute: key.kind(place=place_of(node))})
        if isinstance(node, ScalarNode) and shape.WORDS:
            return self._wrong(node, f"{what} cannot be `{node.value}`{meant(node.value, keys_of(shape))}")
        if not shape.SHORTHAND:
            return self._wrong(
                node, f"{what} is a group of keys ({', '.join(keys_of(shape))}), and not {described(node)}"
            )
        key = keys_of(shape)[shape.SHORTHAND]
        value = self.read(node, key.kind, what)
        return FAULTY if value is FAULTY else self._made(node, shape, what, {key.attribute: value})

    def _group(self, node: MappingNode, shape: type[Shape], what: str) -> Any:
        known, values = keys_of(shape), dict[str, Any]()
        before = len(self.problems)
        for name, at, value in items(node):
            if name in known:
                values[known[name].attribute] = self.read(value, known[name].kind, f"`{name}`")
            else:
                self._wrong(at, f"unknown key `{name}` in {what}{meant(name, known)}")
        missing = [f"`{key.name}`" for key in known.values() if key.is_required and key.attribute not in values]
        if missing and len(self.problems) == before:
            self._wrong(node, f"{what} needs {' and '.join(missing)}")
        if len(self.problems) > before:
            return FAULTY
        return self._made(node, shape, what, values, {name: place_of(at) for name, at, _ in items(node)})

    def _made(
        self,
        node: Node,
        shape: type[Shape],
        what: str,
        values: dict[str, Any],
        places: dict[str, Place] | None = None,
    ) -> Any:
        try:
            return shape(place=place_of(node), places=places or {}, **values)
        except ValueError as error:
            return self._wrong(node, f"{what}: {error}")

    def _choice(self, node: Node, family: type[Choice]) -> Any:
        """`name: value`, or the name alone where that is enough."""
        if isinstance(node, ScalarNode):
            shape = family.KINDS.get(node.value)
            if shape is not None and shape.BARE:
                return shape(place=place_of(node))
            return self._wrong(node, self._unknown(node.value, family))
        if not isinstance(node, MappingNode) or not node.value:
            return self._wrong(node, f"a step is `name: value`, and not {described(node)}")
        (name, at, value), *more = items(node)
        if more:
            return self._wrong(
                more[0][1], f"`{more[0][0]}` is in one step with `{name}`; begin a line of its own with `- `"
            )
        if name not in family.KINDS:
            return self._wrong(at, self._unknown(name, family))
        shape = family.KINDS[name]
        if is_nothing(value) and shape.BARE:
            return shape(place=place_of(at))
        return self.read(value, shape, f"`{name}`")

    def _unknown(self, name: str, family: type[Choice]) -> str:
        if name in family.KINDS:
            return f"`{name}` has no value: write `{name}: ...`"
        return f"unknown step `{name}`{meant(name, family.KINDS)}"


def _is_faulty(values: Iterable[Any]) -> bool:
    return any(value is FAULTY for value in values)


def _rest_of_line(node: Node) -> str:
    """What is written where a value is missing."""
    mark = node.start_mark
    return str(mark.buffer)[mark.pointer :].partition("\n")[0] if mark.buffer else ""
