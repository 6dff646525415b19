"""Audio that nobody adds to any more, in few rows: fifty of the recorder's become one of ten seconds.

What a crash may cost decides how short the recorder's rows are; each of them has a row's head, a fifth of a page that
stays empty, and entries in three indexes. docs/performance.md has what merging saves.

Several machines may do it: a stream belongs to the one that has last said so (`Stream.merging_since`). It is done in
small transactions, each of which holds the stream's row, as does whoever writes late rows of it (`calls.recorder`).
"""

import datetime as dt
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from calls import store, vault
from calls.media.audio import FRAME_SAMPLES
from calls.media.lane import MAX_CHUNK
from calls.models import AudioChunk, Stream, Track
from calls.models.streams import StreamQuerySet


# What a stream's process could not write yet, or had taken for lost, has come by then, or comes out of a spool.
AFTER = dt.timedelta(minutes=15)
# What is older is left to `manage.py merge_audio`: an upgrade must not begin with all calls of the past.
RECENT = dt.timedelta(days=1)
# Whoever has begun a stream that long ago has died.
CLAIMED = dt.timedelta(minutes=10)
# Rows of one transaction: 0.8 MB as the recorder cuts them.
SLICE = 500


class Row(NamedTuple):
    pk: int
    start: int
    length: int
    peaks: bytes


def merge_next() -> bool:
    """Merges a stream that ended lately; whether there was one."""
    since = timezone.now() - RECENT
    return merge_one_of(due().filter(ended_at__gt=since)) is not None


def due() -> StreamQuerySet:
    """Streams that have been over for long enough, and that nobody has merged or is merging."""
    now = timezone.now()
    free = Q(merging_since=None) | Q(merging_since__lt=now - CLAIMED)
    return _whole(Stream.objects.filter(free, merged_at=None, ended_at__lt=now - AFTER))


def _whole(streams: StreamQuerySet) -> StreamQuerySet:
    """Without those whose rows somebody else changes, `seal_calls` or `archive_calls`, and those of the archive."""
    here = streams.filter(ended_at__isnull=False, archive="", archiving_at=None)
    return here.exclude(sealing_key__endswith=vault.PARTLY)


def merge_one_of(streams: StreamQuerySet) -> Stream | None:
    """Merges the one of them that ended first, if nobody else was faster with all of them."""
    for stream in streams.order_by("ended_at")[:10]:
        if due().filter(pk=stream.pk).update(merging_since=timezone.now()):
            # It stays claimed where its key is missing, and is tried again when that has run out.
            with suppress(vault.KeyMissing):
                merge(stream)
            return stream
    return None


def merge(stream: Stream) -> None:
    """All that can be merged of a stream that is claimed. If this is interrupted, doing it again goes on."""
    for track in Track.values:
        at: int | None = 0
        while at is not None:
            before = time.monotonic()
            at = _merge_some(stream, track, at)
            # Half of the time belongs to the calls: of the database's disk, or of SQLite's one writer.
            time.sleep(min(time.monotonic() - before, 1.0))
    # One that has gone on meanwhile, its process having come back, will end again.
    _whole(Stream.objects.filter(pk=stream.pk)).update(merged_at=timezone.now())


@transaction.atomic
def _merge_some(stream: Stream, track: str, at: int) -> int | None:
    """Merges what one transaction may hold of a lane from there on; where the next one begins, None at its end."""
    # As it is now: its key may have been wrapped anew.
    locked = _whole(Stream.objects.filter(pk=stream.pk)).select_for_update(no_key=True).first()
    if locked is None:
        return None
    chunks = AudioChunk.objects.filter(stream=stream, track=track, start__gte=at).order_by("start")
    # What has no payload lies elsewhere.
    facts = chunks.exclude(payload=b"").values_list("pk", "start", "length", "peaks")
    rows = [Row(pk, start, length, bytes(peaks)) for pk, start, length, peaks in facts[:SLICE]]
    groups = list(_groups(rows))
    is_last = len(rows) < SLICE
    # More of the last group may follow.
    for group in groups if is_last or len(groups) == 1 else groups[:-1]:
        if len(group) > 1:
            _join(locked, track, group)
    if is_last:
        return None
    return groups[-1][0].start if len(groups) > 1 else rows[-1].start + rows[-1].length


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """What becomes one row each: audio without a hole, no longer than a chunk may be.

    Peaks are those of every 20 ms from a row's start on. After a row of another length the next one's lie between
    those that the first one's would have become, so that a new row begins there, and every waveform stays as it was.
    """
    group: list[Row] = []
    length = 0
    for row in rows:
        goes_on = group and group[0].start + length == row.start and length + row.length <= MAX_CHUNK
        if goes_on and length % FRAME_SAMPLES == 0 and _is_measured(row) and _is_measured(group[0]):
            group.append(row)
            length += row.length
            continue
        if group:
            yield group
        group, length = [row], row.length
    if group:
        yield group


def _is_measured(row: Row) -> bool:
    """Rows that came from elsewhere may have no peaks, which are made whenever they are looked at."""
    return len(row.peaks) == -(-row.length // FRAME_SAMPLES)


def _join(stream: Stream, track: str, group: list[Row]) -> None:
    """The first row takes all of it, and so keeps its key and its number."""
    keys = [row.pk for row in group]
    chunks = AudioChunk.objects.filter(pk__in=keys).order_by("start")
    try:
        audio = b"".join(piece.audio for piece in store.pieces(chunks))
    except vault.Tampered:
        # `verify_calls` tells: all stays as it is.
        return
    length = sum(row.length for row in group)
    if len(audio) != length:
        # An erasure was faster.
        return
    AudioChunk.objects.filter(pk=keys[0]).update(
        length=length,
        payload=store.packed(stream, track, group[0].start, audio),
        peaks=b"".join(row.peaks for row in group),
    )
    AudioChunk.objects.filter(pk__in=keys[1:]).delete()
