"""Where recorded audio lies, and the one door to it: whoever wants to hear a chunk asks here, never its row.

A chunk's row says where its audio is on the stream's clock; what the row's payload holds is this room's business alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import QuerySet

from calls.models import AudioChunk


@dataclass(frozen=True, slots=True)
class Piece:
    """What a chunk holds: `audio` is µ-law, one byte a sample, and `start` a position on its stream's own clock."""

    stream_id: int
    track: str
    index: int
    start: int
    audio: bytes


def pieces(chunks: QuerySet[AudioChunk], *, at_once: int = 2000) -> Iterator[Piece]:
    """The audio of these chunks, in their order; `at_once` rows are in memory together."""
    rows = chunks.values_list("stream_id", "track", "index", "start", "payload")
    for stream_id, track, index, start, payload in rows.iterator(chunk_size=at_once):
        yield Piece(stream_id, track, index, start, bytes(payload))
