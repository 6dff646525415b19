"""What the log's events mean and what to do about them, as docs/operations.md has it."""

import re
from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString


@dataclass(frozen=True)
class Meaning:
    means: SafeString
    todo: SafeString | str = ""
    #: Whether there is nothing to do.
    is_routine: bool = False


# | `event` | level | what it means | what to do |
_ROW = re.compile(r"^\| `([a-z_ ]+)` \| [a-z]+ \| (.+?) \|(?: (.+?) \|)?$", re.MULTILINE)
_CODE, _LINK = re.compile(r"`([^`]+)`"), re.compile(r"\[([^\]]+)\]\([^)]+\)")


@cache
def meanings() -> dict[str, Meaning]:
    """By event; none where the documents were not installed."""
    path = settings.BASE_DIR / "docs/operations.md"
    if not path.exists():
        return {}
    found = {}
    for section in path.read_text().split("\n### "):
        is_routine = section.startswith("Nothing to do\n")
        for name, means, todo in _ROW.findall(section):
            found[name] = Meaning(_html(means), _html(todo), is_routine)
    return found


def meaning(text: str) -> Meaning | None:
    """Of a line of the log, whose event is the longest known name that it begins with."""
    known = [name for name in meanings() if re.match(rf"{name}(?![a-z_])", text)]
    return meanings()[max(known, key=len)] if known else None


def is_routine(text: str) -> bool:
    """Whether a line of the log says nothing that anybody has to look at."""
    known = meaning(text)
    return known is not None and known.is_routine


def _html(markdown: str) -> SafeString:
    plain = _LINK.sub(r"\1", markdown)
    pieces = [format_html("<code>{}</code>" if at % 2 else "{}", piece) for at, piece in enumerate(_CODE.split(plain))]
    return format_html_join("", "{}", ((piece,) for piece in pieces))
