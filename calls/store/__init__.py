"""Where recorded audio lies, and the one door to it: whoever wants to hear a chunk asks here, never its row.

A chunk's row says where its audio is on the stream's clock; what the row's payload holds is this room's business alone.
It may lie in the archive (`archive`), where `moving` brings it; the row stays.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import starmap

from django.db.models import QuerySet

from calls.models import AudioChunk, Call, Stream
from calls.store import archive
from calls.store.archive import ArchiveError, Away, Missing


__all__ = ["ArchiveError", "Away", "Missing", "Piece", "check", "pieces"]

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
    payload: bytes
    offset: int | None
    size: int | None


_COLUMNS = [field.name for field in fields(_Row)]


def pieces(chunks: QuerySet[AudioChunk], *, at_once: int = 2000) -> Iterator[Piece]:
    """The audio of these chunks, in their order; `at_once` rows are in memory together.

    Raises Away while an archive that has some of it cannot be read, and Missing if it has lost it.
    """
    batch: list[_Row] = []
    held = 0
    for row in starmap(_Row, chunks.values_list(*_COLUMNS).iterator(chunk_size=at_once)):
        if row.offset is None and not batch:
            yield _piece(row, row.payload)
            continue
        batch.append(row)
        held += row.size or 0
        if held >= TOGETHER:
            yield from _open(batch)
            batch, held = [], 0
    yield from _open(batch)


def check(calls: Iterable[Call]) -> None:
    """Raises Away unless the archive has the audio of these calls, as far as it is there: before a download begins."""
    for name in Stream.objects.filter(call__in=calls).exclude(archive="").values_list("archive", flat=True):
        archive.size(name)


def _open(batch: list[_Row]) -> Iterator[Piece]:
    try:
        payloads = _payloads(batch)
    except Missing:
        # Its object may have been replaced since its row was read, or its audio be back in the database.
        rows = AudioChunk.objects.in_bulk([row.pk for row in batch])
        now = [_Row(*(getattr(rows[row.pk], name) for name in _COLUMNS)) for row in batch if row.pk in rows]
        try:
            payloads = _payloads(now)
        except Missing as error:
            logger.error("archive_missing %s", error)
            raise
    for row in batch:
        if row.pk in payloads:
            yield _piece(row, payloads[row.pk])


def _piece(row: _Row, payload: bytes) -> Piece:
    return Piece(row.stream_id, row.track, row.index, row.start, bytes(payload))


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
