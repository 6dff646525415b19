"""Where recorded audio lies, and the one door to it: whoever wants to hear a chunk asks here, never its row.

A chunk's row says where its audio is on the stream's clock; what the row's payload holds is this room's business alone.
It may lie in the archive (`archive`), where `moving` brings it; the row stays.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby, starmap

from django.db.models import F, QuerySet
from django.db.models.functions import Length

from calls import vault
from calls.media.lane import MAX_CHUNK
from calls.models import AudioChunk, Call, Stream
from calls.store import archive
from calls.store.archive import ArchiveError, Away, Missing


__all__ = ["ArchiveError", "Away", "Missing", "Piece", "check", "damage", "packed", "pieces", "runs"]

logger = logging.getLogger(__name__)

# Bytes whose rows are read together: half a minute of both lanes, and what a range of a player takes at once.
TOGETHER = 1 << 19


@dataclass(frozen=True, slots=True)
class Piece:
    """What a chunk holds: `audio` is µ-law, one byte a sample, and `start` a position on its stream's own clock."""

    stream_id: int
    track: str
    index: int
    start: int
    audio: bytes


@dataclass(frozen=True, slots=True)
class _Row:
    pk: int
    stream_id: int
    track: str
    index: int
    start: int
    length: int
    payload: bytes
    offset: int | None
    size: int | None
    # One statement reads it all, so that a row and its key are always of the same moment.
    stream__sid: str
    stream__sealing_key: str


_COLUMNS = [field.name for field in fields(_Row)]


def pieces(chunks: QuerySet[AudioChunk], *, at_once: int = 2000) -> Iterator[Piece]:
    """The audio of these chunks, in their order; `at_once` rows are in memory together.

    Raises Away while an archive that has some of it cannot be read, Missing if it has lost it, and vault.Unreadable
    where it is sealed and cannot be opened: never is silence given for it.
    """
    batch: list[_Row] = []
    held = 0
    for row in starmap(_Row, chunks.values_list(*_COLUMNS).iterator(chunk_size=at_once)):
        if row.offset is None and not batch:
            yield _piece(row, row.payload)
            continue
        batch.append(row)
        held += row.size or len(row.payload)
        if held >= TOGETHER:
            yield from _open(batch)
            batch, held = [], 0
    yield from _open(batch)


def packed(stream: Stream, track: str, start: int, audio: bytes) -> bytes:
    """What is stored of a row of this stream: its audio, sealed if the stream is."""
    return vault.seal(stream.sealing_key, stream.sid, track, start, audio)


def check(calls: Iterable[Call]) -> None:
    """Raises Away unless the archive has the audio of these calls, as far as it is there: before a download begins."""
    for name in Stream.objects.filter(call__in=calls).exclude(archive="").values_list("archive", flat=True):
        archive.size(name)


def damage(stream: Stream) -> Iterator[str]:
    """Which rows in the database do not hold what they say, a line each. Of a stream that is sealed each is opened."""
    rows = stream.chunks.filter(offset=None)
    if not stream.sealing_key:
        torn = rows.annotate(bytes=Length("payload")).exclude(bytes=F("length"))
        for track, start, length, size in torn.values_list("track", "start", "length", "bytes").iterator():
            yield f"{track}: the chunk at {start} should have {length} samples, and has {size}"
        return
    try:
        vault.check_key(stream.sealing_key, stream.sid)
    except vault.Unreadable as error:
        yield f"its audio cannot be read: {error}"
        return
    for row in starmap(_Row, rows.order_by("start").values_list(*_COLUMNS).iterator(chunk_size=500)):
        try:
            _piece(row, row.payload)
        except vault.Unreadable as error:
            yield f"its audio cannot be read: {error}"


def _open(batch: list[_Row]) -> Iterator[Piece]:
    try:
        payloads = _payloads(batch)
    except Missing:
        # Its object may have been replaced since its row was read, or its audio be back in the database.
        rows = AudioChunk.objects.filter(pk__in=[row.pk for row in batch])
        try:
            payloads = _payloads([_Row(*values) for values in rows.values_list(*_COLUMNS)])
        except Missing as error:
            logger.error("archive_missing %s", error)
            raise
    for row in batch:
        if row.pk in payloads:
            yield _piece(row, payloads[row.pk])


def _piece(row: _Row, payload: bytes) -> Piece:
    key, sid = row.stream__sealing_key, row.stream__sid
    audio = vault.open_row(key, sid, row.track, row.start, bytes(payload), row.length)
    return Piece(row.stream_id, row.track, row.index, row.start, audio)


def _payloads(batch: Sequence[_Row]) -> dict[int, bytes]:
    """What the rows hold, by their keys, wherever it lies."""
    found = {row.pk: row.payload for row in batch if row.offset is None}
    if away := [row for row in batch if row.offset is not None]:
        objects = dict(Stream.objects.filter(pk__in={row.stream_id for row in away}).values_list("pk", "archive"))
        for stream_id, name in objects.items():
            if not name:
                raise Missing("its object was removed from the archive")
            spans = {row.pk: (row.offset or 0, row.size or 0) for row in away if row.stream_id == stream_id}
            found |= archive.read_spans(name, spans)
    return found


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
