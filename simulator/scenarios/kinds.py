"""The values that a scenario is written with, each read from the text that stands there: `1.2s`, `3%`, `me.wav`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from simulator.audio import read_wav
from simulator.wellformed import NO_ACCOUNT, is_address, is_sid


LONGEST = 24 * 3600
_NUMBER = r"\d+(?:\.\d+)?"
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0}
_DURATION = rf"{_NUMBER} ?(?:ms|s|min|m)?"
_YES, _NO = ("true", "yes", "on"), ("false", "no", "off")


@dataclass(frozen=True)
class Clip:
    """A WAV file, read: raw µ-law."""

    name: str
    audio: bytes = field(repr=False)


@dataclass(frozen=True, eq=False)
class Kind:
    """`read` is given the text and the folder of the file that it stands in; its ValueError says what is wanted."""

    read: Callable[[str, Path], Any]
    schema: dict[str, Any]
    example: str


def _seconds(text: str, _: Path) -> float:
    if not (parts := re.fullmatch(rf"({_NUMBER}) ?(ms|s|min|m|)", text.strip())):
        raise ValueError("write a duration like 1.2s, 800ms or 2min")
    seconds = float(parts[1]) * _UNITS[parts[2]]
    if seconds > LONGEST:
        raise ValueError("a call is over within 24 hours")
    return seconds


def _share(text: str, _: Path) -> float:
    if not (parts := re.fullmatch(rf"({_NUMBER}) ?(%?)", text.strip())):
        raise ValueError("write a percentage like 3%")
    share = float(parts[1]) / (100 if parts[2] else 1)
    if share > 1:
        raise ValueError("that is more than everything; write a percentage like 3%")
    return share


def _keys(text: str, _: Path) -> str:
    if not re.fullmatch(r"[0-9*#A-D]+", text):
        raise ValueError("a key is one of 0-9 * # A-D; several are written one after the other")
    return text


def _address(text: str, _: Path) -> str:
    if not is_address(text):
        raise ValueError("write an address like http://127.0.0.1:5000/voice")
    return text


def _account_sid(text: str, _: Path) -> str:
    if not is_sid("AC", text):
        raise ValueError("write AC and 32 hexadecimal digits")
    return text


def _count(text: str, _: Path) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError("write a whole number")
    return int(text)


def _truth(text: str, _: Path) -> bool:
    if text.lower() not in _YES + _NO:
        raise ValueError("write true or false")
    return text.lower() in _YES


def _clip(text: str, folder: Path) -> Clip:
    try:
        return Clip(text, read_wav((folder / text).read_bytes()))
    except OSError as error:
        raise ValueError(f"{folder / text} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{error}") from None


def _as_it_is(text: str, _: Path) -> str:
    return text


_NUMERIC = {"type": "number", "minimum": 0}

Seconds = Annotated[
    float, Kind(_seconds, {"anyOf": [_NUMERIC, {"type": "string", "pattern": f"^{_DURATION}$"}]}, "1.2s")
]
Share = Annotated[
    float,
    Kind(_share, {"anyOf": [_NUMERIC | {"maximum": 1}, {"type": "string", "pattern": f"^{_NUMBER} ?%?$"}]}, "3%"),
]
Keys = Annotated[str, Kind(_keys, {"type": ["string", "integer"], "pattern": "^[0-9*#A-D]+$"}, "12#")]
Address = Annotated[str, Kind(_address, {"type": "string", "pattern": "^https?://"}, "http://127.0.0.1:5000/voice")]
AccountSid = Annotated[str, Kind(_account_sid, {"type": "string", "pattern": "^AC[0-9a-fA-F]{32}$"}, NO_ACCOUNT)]
Count = Annotated[int, Kind(_count, {"type": "integer", "minimum": 0}, "1")]
FileName = Annotated[str, Kind(_as_it_is, {"type": "string"}, "base.yaml")]

_TYPES: dict[Any, Kind] = {
    str: Kind(_as_it_is, {"type": ["string", "number", "boolean"]}, "text"),
    bool: Kind(_truth, {"type": "boolean"}, "true"),
    Clip: Kind(_clip, {"type": "string"}, "me.wav"),
}
# In place of any value, wherever one is wanted.
VARIABLE = {"type": "string", "pattern": r"\$\{[^}]+\}"}


def kind_of(hint: Any) -> Kind | None:
    """How a value of that type is written; None for what is no single value."""
    if get_origin(hint) is Annotated:
        return next((one for one in get_args(hint)[1:] if isinstance(one, Kind)), None)
    return _TYPES.get(hint)
