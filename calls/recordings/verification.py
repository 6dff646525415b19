"""Checks that nothing was lost silently: what is stored plus what is explained is as long as its stream, exactly, with
the time after it in which its call had no stream."""

from collections.abc import Iterable, Iterator
from heapq import merge

from django.db.models import F, Max

from calls import store
from calls.media.audio import FRAME_SAMPLES
from calls.media.placement import tiled
from calls.models import Stream, Track
from calls.store import Missing, archive
from calls.summaries import absence


Span = tuple[int, int]


def problems(stream: Stream) -> Iterator[str]:
    """What is wrong with a stream that has ended, a line each. Memory does not grow with its length.

    Raises Away while its audio is in an archive that does not answer.
    """
    lanes = tiled(stream.tracks)
    for track in Track.values:
        if track in lanes:
            yield from _holes(track, merge(_chunks(stream, track), _gaps(stream, track)), stream.length + stream.absent)
        else:
            yield from _collisions(track, _chunks(stream, track), stream.length)
    heard = stream.count_heard_samples()
    if "outbound" not in lanes and heard != stream.heard:
        yield f"outbound: {stream.heard} samples were heard, {heard} are stored or explained"
    without = absence.expected(stream.call, list(stream.call.streams.all())).get(stream.pk, 0)
    if without != stream.absent:
        yield f"the call had no stream for {without} samples after it, and the gap says {stream.absent}"
    missing = stream.count_missing_samples() // FRAME_SAMPLES
    if missing != stream.frames_missing:
        yield f"{stream.frames_missing} frames are said to be missing, and the gaps say {missing}"
    yield from store.damage(stream)
    if stream.archive:
        yield from _archived(stream)


def damage(stream: Stream) -> Iterator[str]:
    """What is wrong with its object in the archive, each byte of which is read. Raises Away."""
    try:
        if stream.archive and archive.sha256(stream.archive) != stream.archive_sha256:
            yield f"{stream.archive} in the archive is not what was written"
    except Missing:
        return  # which `problems` has said


def _archived(stream: Stream) -> Iterator[str]:
    end = stream.chunks.aggregate(end=Max(F("offset") + F("size"), default=0))["end"]
    try:
        size = archive.size(stream.archive)
    except Missing as error:
        yield str(error)
    else:
        if size < end:
            yield f"{stream.archive} in the archive has {size} bytes, and should have {end}"


def _chunks(stream: Stream, track: str) -> Iterator[Span]:
    return stream.chunks.filter(track=track).order_by("start").values_list("start", "length").iterator()


def _gaps(stream: Stream, track: str) -> Iterator[Span]:
    gaps = stream.gaps.filter(track=track).exclude(reason="cleared").order_by("start")
    return gaps.values_list("start", "length").iterator()


def _holes(track: str, spans: Iterable[Span], end: int) -> Iterator[str]:
    """Whether spans, in order, fill a lane up to its end: no hole, nothing twice, nothing after it."""
    at = 0
    for start, length in spans:
        if start > at:
            yield f"{track}: nothing explains {start - at} samples at {at}"
        elif start < at:
            yield f"{track}: {min(at - start, length)} samples at {start} are there twice"
        at = max(at, start + length)
    if at < end:
        yield f"{track}: nothing explains {end - at} samples at {at}"
    elif at > end:
        yield f"{track}: it is {at - end} samples longer than the stream"


def _collisions(track: str, spans: Iterable[Span], end: int) -> Iterator[str]:
    """The same for a lane that may be empty wherever nothing was heard."""
    at = 0
    for start, length in spans:
        if start < at:
            yield f"{track}: {min(at - start, length)} samples at {start} are there twice"
        at = max(at, start + length)
    if at > end:
        yield f"{track}: it is {at - end} samples longer than the stream"
