"""The documents in docs/ say what the code does: each log event is explained, each path that is named exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
LEVELS = {"debug", "info", "warning", "error", "critical"}


def logged() -> Iterator[tuple[str, str]]:
    """(level, message) of every call of a logger in the code."""
    for folder in ("calls", "config"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name("logger"), attr=attr),
                        args=[ast.Constant(str(message)), *_],
                    ) if attr in LEVELS or attr == "exception":
                        yield ("error" if attr == "exception" else attr), message


def explained() -> dict[str, str]:
    """The events of docs/operations.md, and their levels."""
    rows = re.findall(r"^\| `([a-z_ ]+)` \| ([a-z]+) \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "an event has two lines"
    return dict(rows)


def event_of(message: str, names: set[str]) -> str:
    """The longest known name that a message begins with; its own first word if there is none."""
    known = [name for name in names if re.match(rf"{name}(?![a-z_])", message)]
    return max(known, key=len, default=message.split()[0])


def test_every_log_event_is_explained_and_every_explained_one_is_logged():
    names = explained()
    # A warning of Python's own has no name: it begins with its file.
    found = {(event_of(message, set(names)), level) for level, message in logged() if not message.startswith("%s:%d")}
    assert found == set(names.items())
