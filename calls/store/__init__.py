"""Where recorded audio lies, and the one door to it: whoever wants to hear a chunk asks here, never its row.

A chunk's row says where its audio is on the stream's clock; what the row's payload holds is this room's business alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from django.db.models import QuerySet

from calls.media.lane import MAX_CHUNK
from calls.models import AudioChunk, Stream


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


def packed(stream: Stream, track: str, start: int, audio: bytes) -> bytes:
    """What a row's payload holds of this audio: `pieces` gives it back."""
    return audio


def runs(found: Iterable[Piece]) -> Iterator[Piece]:
    """The same audio in as few pieces as can be, each lane's counted from 0 on; they come lane by lane, in order.

    An unbroken run is cut after each MAX_CHUNK samples: the same however its rows were cut.
    """
    for (stream, track), lane in groupby(found, key=lambda piece: (piece.stream_id, piece.track)):
        for index, (start, audio) in enumerate(_joined(lane)):
            yield Piece(stream, track, index, start, audio)


def _joined(lane: Iterable[Piece]) -> Iterator[tuple[int, bytes]]:
    start, run = 0, bytearray()
    for piece in lane:
        if piece.start != start + len(run):
            if run:
                yield start, bytes(run)
            start, run = piece.start, bytearray()
        run += piece.audio
        while len(run) >= MAX_CHUNK:
            yield start, bytes(run[:MAX_CHUNK])
            start += MAX_CHUNK
            del run[:MAX_CHUNK]
    if run:
        yield start, bytes(run)
