"""Where recorded audio lies, and the one door to it: whoever wants to hear a chunk asks here, never its row.

A chunk's row says where its audio is on the stream's clock; what the row's payload holds is this room's business alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Length

from calls import vault
from calls.models import AudioChunk, Stream


# What it takes to open a row. One statement reads it all, so that a row and its key are always of the same moment.
_ROW = ("stream_id", "track", "index", "start", "length", "payload", "stream__sid", "stream__sealing_key")


@dataclass(frozen=True, slots=True)
class Piece:
    """What a chunk holds: `audio` is µ-law, one byte a sample, and `start` a position on its stream's own clock."""

    stream_id: int
    track: str
    index: int
    start: int
    audio: bytes


def pieces(chunks: QuerySet[AudioChunk], *, at_once: int = 2000) -> Iterator[Piece]:
    """The audio of these chunks, in their order; `at_once` rows are in memory together.

    Raises vault.Unreadable where it is sealed and cannot be opened: never is silence given for it.
    """
    for row in chunks.values_list(*_ROW).iterator(chunk_size=at_once):
        yield _open(*row)


def _open(*row: Any) -> Piece:
    stream_id, track, index, start, length, payload, sid, key = row
    return Piece(stream_id, track, index, start, vault.open_row(key, sid, track, start, bytes(payload), length))


def packed(stream: Stream, track: str, start: int, audio: bytes) -> bytes:
    """What is stored of a row of this stream: its audio, sealed if the stream is."""
    return vault.seal(stream.sealing_key, stream.sid, track, start, audio)


def damage(stream: Stream) -> Iterator[str]:
    """Which rows of a stream do not hold what they say, a line each. Of one that is sealed, every row is opened."""
    if not stream.sealing_key:
        torn = stream.chunks.annotate(size=Length("payload")).exclude(size=F("length"))
        for track, start, length, size in torn.values_list("track", "start", "length", "size").iterator():
            yield f"{track}: the chunk at {start} should have {length} samples, and has {size}"
        return
    try:
        vault.check_key(stream.sealing_key, stream.sid)
    except vault.Unreadable as error:
        yield f"its audio cannot be read: {error}"
        return
    for row in stream.chunks.order_by("start").values_list(*_ROW).iterator(chunk_size=500):
        try:
            _open(*row)
        except vault.Unreadable as error:
            yield f"its audio cannot be read: {error}"
