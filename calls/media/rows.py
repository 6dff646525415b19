"""What the recorder writes, one small struct a row, and how rows survive as msgpack. Pure.

Rows name streams and calls by SID, since they are made while the database may be away.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from calls.media.storable import storable


# A key that is nobody's business.
MASKED = "•"


class Row(msgspec.Struct, tag=True, array_like=True):
    """One row to be. Texts are made storable when it is applied, so that no row of a call is ever refused for them."""


class CallRow(Row):
    """A signed request named this call (`CallQuerySet.note`)."""

    sid: str
    facts: dict[str, Any]
    #: The key of the row that was made before Twilio was asked to place this call, if we placed it.
    ref: int | None = None
    #: When that request came; unknown in spools of versions before.
    at: dt.datetime | None = None


class StreamRow(Row):
    """A stream began. `owner` is the process that holds it."""

    sid: str
    call_sid: str
    call: dict[str, Any]
    nonce: str
    owner: str
    name: str
    tracks: list[str]
    custom_parameters: dict[str, Any]
    media_format: dict[str, Any]
    started_at: dt.datetime
    bidirectional: bool = True
    #: Its key, wrapped (calls/vault); empty if its audio is stored plain.
    sealing_key: str = ""


class ChunkRow(Row):
    stream: str
    track: str
    index: int
    start: int
    payload: bytes


class GapRow(Row):
    stream: str
    track: str
    start: int
    length: int
    reason: str


class MarkRow(Row):
    """A mark as it is now: sent, or come back."""

    stream: str
    index: int
    name: str
    sent_at: dt.datetime
    position: int
    outcome: str
    returned_at: dt.datetime | None = None


class DtmfRow(Row):
    stream: str
    index: int
    digit: str
    timestamp_ms: int


class UtteranceRow(Row):
    """What was said in one lane. Positions and lengths in samples; `words` as (word, start, length), if known."""

    stream: str
    track: str
    start: int
    length: int
    text: str
    words: list[tuple[str, int, int]] = []


class EventRow(Row):
    call: str
    stream: str | None
    source: str
    kind: str
    key: str
    occurred_at: dt.datetime
    data: dict[str, Any] = {}
    sequence_number: int | None = None
    #: The key of the member of staff who did it.
    user: int | None = None


class DataRow(Row):
    """What a handler has set of its call, by name; of two values of a name the one with the later `at` stays."""

    stream: str
    values: dict[str, Any]
    at: dt.datetime


class StreamChange(Row):
    """Fields of a stream that changed: its counters, the end of its handler, its own end."""

    stream: str
    fields: dict[str, Any]

    @property
    def is_of_counters(self) -> bool:
        return all(isinstance(value, int | float | None) for value in self.fields.values())


AnyRow = CallRow | StreamRow | ChunkRow | GapRow | MarkRow | DtmfRow | UtteranceRow | EventRow | DataRow | StreamChange

_pack = msgspec.msgpack.Encoder().encode
decode: Callable[[bytes], list[AnyRow]] = msgspec.msgpack.Decoder(list[AnyRow]).decode

# Fewer bits than either database and msgpack take.
_LARGEST = 2**63 - 1


def encode(rows: Sequence[AnyRow]) -> bytes:
    """Rows as msgpack, whatever they hold: what msgpack refuses is made storable here rather than at the database."""
    try:
        return _pack(rows)
    except (ValueError, OverflowError, TypeError):
        return _pack([_packable(row) for row in rows])


def _packable(row: AnyRow) -> AnyRow:
    return type(row)(*(_plain(value) for value in msgspec.structs.astuple(row)))


def _plain(value: Any) -> Any:
    if isinstance(value, int):
        return max(-_LARGEST, min(value, _LARGEST))
    if isinstance(value, dict):
        return {storable(name, 100): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, float | bytes | dt.datetime | None) else storable(value, 4000)
