"""What the groups of keys in a scenario look like: dataclasses, of which the reader, the schema and the docs are made.

A field is `key: Annotated[kind, "what it means", "an example"]`; a trailing underscore keeps Python's words free. A
group with a `SHORTHAND` may be written as the value of that key alone: `wait_for: speech`, `say: Hello`.
"""

from collections.abc import Hashable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, cast, get_args, get_origin, get_type_hints

from simulator.scenarios.kinds import Kind, kind_of
from simulator.scenarios.problems import NOWHERE, Place


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A group of keys. `ValueError` from `__post_init__` is a problem of the whole group."""

    SHORTHAND: ClassVar[str] = ""
    #: Whether the name alone stands for the group with nothing in it.
    BARE: ClassVar[bool] = False

    #: Words that stand for the group with that key alone, and in it nothing but defaults.
    WORDS: ClassVar[tuple[str, ...]] = ()

    place: Place = field(default=NOWHERE, compare=False, repr=False)
    #: Of the keys that are there.
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)


class Choice(Shape):
    """One key of several, each with its own group: what a step is. Those that there are register themselves."""

    KINDS: ClassVar[dict[str, type[Shape]]]

    def __init_subclass__(cls, key: str = "", **more: Any) -> None:
        super().__init_subclass__(**more)
        if key:
            cls.KINDS[key] = cls


@dataclass(frozen=True)
class Key:
    """A key of a group; `kind` is what its value is read as."""

    name: str
    attribute: str
    kind: Any
    about: str
    example: str
    is_required: bool
    default: Any


def keys_of(shape: type[Shape]) -> Mapping[str, Key]:
    """By their names in the file."""
    return _keys_of(cast(Hashable, shape))


@cache
def _keys_of(shape: Any) -> Mapping[str, Key]:
    hints = get_type_hints(shape, include_extras=True)
    found = {}
    for one in fields(shape):
        if one.name in ("place", "places"):
            continue
        kind, *words = _annotated(hints[one.name])
        kind = _without_none(kind)
        needed = one.default is MISSING and one.default_factory is MISSING
        name = one.name.rstrip("_")
        about, example = (*words, "", "")[:2]
        found[name] = Key(name, one.name, kind, about, example or example_of(kind), needed, one.default)
    return MappingProxyType(found)


def is_shape(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind) and issubclass(kind, Shape)


def is_choice(kind: Any) -> bool:
    """Whether it is a family of groups, and not one of them."""
    return isinstance(kind, type) and issubclass(kind, Choice) and kind not in kind.KINDS.values()


def is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple


def is_table(kind: Any) -> bool:
    return get_origin(kind) in (dict, Mapping)


def choices(kind: Any) -> tuple[str, ...]:
    """The words of a Literal; none of anything else."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def example_of(kind: Any) -> str:
    if (single := kind_of(kind)) is not None:
        return single.example
    if words := choices(kind):
        return words[0]
    return ""


def _annotated(hint: Any) -> tuple[Any, ...]:
    """The kind, and the words about it."""
    if get_origin(hint) is not Annotated:
        return (hint,)
    kind, *words = get_args(hint)
    return (Annotated[kind, words[0]], *words[1:]) if isinstance(words[0], Kind) else (kind, *words)


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    return kind
