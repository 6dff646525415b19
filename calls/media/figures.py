"""Numbers in JSON that another installation may have written: whatever is there, a page is drawn with it."""

from collections.abc import Mapping
from typing import Any


# A float holds it exactly, and no moment, length or position of a call comes near it.
MOST = 10**12


def figure(data: Mapping[str, Any], name: str) -> int | float | None:
    """What stands there if it is a number that can be reckoned with."""
    value = data.get(name)
    return value if isinstance(value, int | float) and abs(value) <= MOST else None
