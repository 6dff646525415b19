"""Text from outside as both databases take it."""

import re
from typing import Any


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: object, length: int) -> str:
    """Text from outside as both databases take it: NUL and lone surrogates become U+FFFD, the rest is cut.

    PostgreSQL refuses NUL and over-long text, both refuse lone surrogates, and one such string would poison a batch.
    """
    return _UNSTORABLE.sub("\ufffd", str(text))[:length]


def storable_json(value: Any, depth: int = 4) -> Any:
    """The same for a JSON value; at most 4 levels, 100 items a level and 4000 characters a string are kept."""
    if isinstance(value, dict) and depth:
        return {storable(k, 100): storable_json(v, depth - 1) for k, v in list(value.items())[:100]}
    if isinstance(value, list | tuple) and depth:
        return [storable_json(item, depth - 1) for item in value[:100]]
    if value is None or isinstance(value, bool | int | float):
        return value
    return storable(value, 4000)
