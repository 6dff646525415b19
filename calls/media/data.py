"""What a handler says of its call, checked where it says it: business data by name, and notes. Pure."""

import json
import math
from typing import Any

from calls.media.storable import storable


# Of what one stream sets: it is read with its call, searched, and written whole when a name of it changes.
MOST_BYTES = 16_384
LONGEST_NAME = 100
LONGEST_NOTE = 4_000
DEEPEST = 4
# What msgpack, both databases and a spreadsheet take.
_LARGEST = 2**63 - 1


def checked(new: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """`new` as JSON that both databases take, a copy. ValueError or TypeError for what cannot be kept.

    `known` is what the stream has set before: together they have at most MOST_BYTES.
    """
    for name in new:
        if not name.isidentifier() or len(name) > LONGEST_NAME:
            raise ValueError(f"a name is an identifier of at most {LONGEST_NAME} characters, not {name[:120]!r}")
    plain = {name: _plain(name, value, DEEPEST) for name, value in new.items()}
    size = len(json.dumps({**known, **plain}, ensure_ascii=False).encode())
    if size > MOST_BYTES:
        raise ValueError(
            f"the data of a call has at most {MOST_BYTES} bytes as JSON, and this would be {size}: "
            f"keep what is long in a table of your own"
        )
    return plain


def note(text: str) -> str:
    """A note as it is stored: one that is too long ends with an ellipsis."""
    if not isinstance(text, str):
        raise TypeError(f"a note is text, not {type(text).__name__}")
    return storable(text, LONGEST_NOTE) if len(text) <= LONGEST_NOTE else storable(text, LONGEST_NOTE - 1) + "…"


def _plain(name: str, value: Any, depth: int) -> Any:
    """A value of `name`, or a part of one, with at most `depth` levels of lists and dicts."""
    match value:
        case None | bool():
            return value
        case str():
            return storable(value, len(value))
        case int() if abs(value) <= _LARGEST:
            return int(value)
        case float() if math.isfinite(value):
            return float(value)
        case int() | float():
            raise ValueError(f"{name} is {str(value)[:40]}, which JSON cannot hold in every database")
        case list() | tuple() | dict() if not depth:
            raise ValueError(f"{name} has more than {DEEPEST} levels of lists and dicts")
        case list() | tuple():
            return [_plain(name, item, depth - 1) for item in value]
        case dict():
            return {_key(name, key): _plain(name, item, depth - 1) for key, item in value.items()}
    raise TypeError(f"{name} is a {type(value).__name__}, which is not JSON: give str(…) of it, or a number")


def _key(name: str, key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{name} has the key {key!r}: the keys of JSON are text")
    return storable(key, len(key))
