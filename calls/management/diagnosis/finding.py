"""A finding: one line, and a hint where something is not right."""

from dataclasses import dataclass
from typing import Any, Literal


Level = Literal["ok", "skip", "warn", "FAIL"]

# Seconds for everything that goes over a network.
TIMEOUT = 10


@dataclass(frozen=True)
class Finding:
    level: Level
    text: str
    hint: str = ""


def first_line(error: Any) -> str:
    """The first line of an exception, fit for a terminal."""
    return ascii(str(error).strip().partition("\n")[0])[1:-1][:200] or type(error).__name__
