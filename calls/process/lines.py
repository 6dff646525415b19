"""How a line of the log is written: for people (LOG_FORMAT=line), or as one JSON object for machines (json).

Both say which call and stream a line is about, if whoever wrote it has not; in both, MASK_NUMBERS_IN_LOGS hides phone
numbers. Lines of ours begin with their event's name, and have their facts in the format string as `name=%s`: from
there they become fields, so that no text that comes from outside can make or change one.
"""

import datetime as dt
import json
import logging
import os
import re
from functools import cache
from typing import Any

from calls import about
from calls.masking import masked


# Bytes of a line: Docker cuts what is longer than 16 KiB into several, none of which is JSON then.
MOST_BYTES = 16_000
# Characters of a message, of a traceback, whose end says most, and of another field.
MOST_MESSAGE, MOST_TRACEBACK, MOST_FACT = 4_000, 8_000, 500
MOST_FACTS = 30

#: What each line says of its process beside the pid: the name that other workers know it by (`orphan_stream worker=`).
process = {"worker": ""}

#: The name of an event, at the beginning of a line of ours.
EVENT = re.compile(r"[a-z]+(?:_[a-z]+)*(?![^ :;])")
# A placeholder, with the name of its fact if it has one; or a fact that is always the same.
_PLACE = re.compile(r"(?:\b([a-z_]+)=)?%[\d.]*([a-zA-Z%])|\b([a-z_]+)=([a-z_]+)\b")
_NAMES = {"call": "call_sid", "stream": "stream_sid"}
_SIDS = {
    name: re.compile(rf"\b{prefix}[0-9a-f]{{32}}\b") for name, prefix in (("call_sid", "CA"), ("stream_sid", "MZ"))
}
_FIXED = ("time", "level", "logger", "event", "message", "call_sid", "stream_sid", "worker", "pid", "exception")
_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message", "taskName"}


class Line(logging.Formatter):
    """`2026-11-27 14:03:07,123 WARNING calls.server.talker: handler_cut call=CA…`, and a traceback below it."""

    def __init__(self, *, masks: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._masks = masks

    def formatMessage(self, record: logging.LogRecord) -> str:
        named = [f"{name}={sid}" for name, sid in zip(_NAMES, about.sids(), strict=True) if sid not in record.message]
        record.message = " ".join([record.message, *named])
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return masked(text) if self._masks else text


class Json(logging.Formatter):
    """One object a line: pure ASCII without control characters, and short enough to stay one."""

    def __init__(self, *, masks: bool = False) -> None:
        super().__init__()
        self._masks = masks

    def format(self, record: logging.LogRecord) -> str:
        message, facts = _message(record), _facts(record)
        fields: dict[str, Any] = {
            "time": f"{dt.datetime.fromtimestamp(record.created, dt.UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event_of(record),
            "message": self._text(message, MOST_MESSAGE),
            **_about(facts, message),
            **process,
            "pid": record.process or os.getpid(),
        }
        for name, value in list(facts.items())[:MOST_FACTS]:
            if name not in _FIXED:
                fields[name[:64]] = value if _is_number(value) else self._fact(name, value)
        if trace := self._traceback(record):
            fields["exception"] = trace
        return _one_line({name: value for name, value in fields.items() if value not in ("", None)})

    def _traceback(self, record: logging.LogRecord) -> str:
        parts = []
        if record.exc_info and record.exc_info[0] is not None:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return self._text("\n".join(parts), MOST_TRACEBACK, keeps_end=True)

    def _fact(self, name: str, value: object) -> str:
        # By its name, digits alone may be a number.
        return self._text(f"{name}={_words(value)}", MOST_FACT + len(name)).removeprefix(f"{name}=")

    def _text(self, text: str, most: int, *, keeps_end: bool = False) -> str:
        return _cut(masked(text) if self._masks else text, most, keeps_end=keeps_end)


def sids_of(record: logging.LogRecord) -> dict[str, str]:
    """`call_sid` and `stream_sid` of what a line is about, "" for what there is none of."""
    return _about(_facts(record), _message(record))


def _about(facts: dict[str, Any], message: str) -> dict[str, str]:
    """What the line itself says goes before what its task is about: a thread may speak of any call."""
    known = dict(zip(_NAMES.values(), about.sids(), strict=True))
    for name, pattern in _SIDS.items():
        own = _words(facts.get(name, ""))
        if pattern.fullmatch(own):
            known[name] = own
        elif not known[name] and len(found := set(pattern.findall(message))) == 1:
            known[name] = found.pop()
    return known


def _message(record: logging.LogRecord) -> str:
    """Also where somebody's arguments do not fit their text: logging would print that in many lines."""
    try:
        return record.getMessage()
    except Exception as error:
        return f"{_words(record.msg)} (its arguments do not fit: {type(error).__name__})"


def event_of(record: logging.LogRecord) -> str:
    """The name of the event, of a line of ours; else ""."""
    found = EVENT.match(_words(record.msg)) if record.name.startswith("calls.") else None
    return found[0] if found else ""


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    """What a line of ours names, and what anybody gives to `extra`."""
    facts = {name: value for name, value in vars(record).items() if name not in _OWN}
    args = record.args if isinstance(record.args, tuple) else ()
    if record.name.startswith("calls."):
        named, places = _shape(_words(record.msg))
        if places == len(args):
            facts |= {_NAMES.get(name, name): args[at] if isinstance(at, int) else at for name, at in named}
    return facts


def _words(value: object) -> str:
    """Of whatever it is, for what is somebody else's may fail even at that."""
    try:
        return str(value)
    except Exception as error:
        return f"{type(value).__name__} ({type(error).__name__})"


def _is_number(value: object) -> bool:
    """One that JSON has, and that parsers read as it is."""
    return isinstance(value, int | float) and -(2**53) < value < 2**53


@cache
def _shape(message: str) -> tuple[list[tuple[str, str | int]], int]:
    """The facts that a format string names, each with its place among the arguments or its value; how many places."""
    facts: list[tuple[str, str | int]] = []
    places = 0
    for name, kind, constant, value in _PLACE.findall(message):
        if constant:
            facts.append((constant, value))
        elif kind != "%":
            if name:
                facts.append((name, places))
            places += 1
    return facts, places


def _cut(text: str, most: int, *, keeps_end: bool = False) -> str:
    if len(text) <= most:
        return text
    left_out = f"[{len(text) - most} characters left out]"
    return f"{left_out} {text[-most:]}" if keeps_end else f"{text[:most]} {left_out}"


def _one_line(fields: dict[str, Any]) -> str:
    """As JSON. What does not fit, since JSON writes some characters with six, is cut further."""
    while len(line := _written(fields)) > MOST_BYTES:
        name, value = max(fields.items(), key=lambda field: len(_written(field[1])))
        half = _cut(str(value), len(str(value)) // 2, keeps_end=name == "exception")
        # A short text only grows by the words that say that it was cut.
        fields = {**fields, name: half if len(half) < len(str(value)) else "[left out]"}
    return line


def _written(value: Any) -> str:
    if isinstance(value, dict):
        # A lone surrogate is no character, and many parsers refuse its escape.
        value = {_sound(name): _sound(each) for name, each in value.items()}
    return json.dumps(value)


def _sound(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def formatter(name: str, *, masks: bool) -> logging.Formatter:
    """By LOG_FORMAT."""
    return Json(masks=masks) if name == "json" else Line(masks=masks)
