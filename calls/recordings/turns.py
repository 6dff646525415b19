"""Who spoke when in a call, read back on the recording's own clock; and from that, when nobody spoke and when both."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.db.models import Case, F, Value, When

from calls.media.audio import SAMPLE_RATE, SAMPLES_PER_MS
from calls.models import Gap, Turn
from calls.recordings.rendering import Recording


# Turns that are read at most: somebody who says "yes" every four seconds makes them in eleven hours.
MOST = 10_000
MOST_GAPS = 20_000
# Silence that a caller takes for a broken line.
DEAD_AIR = 2 * SAMPLE_RATE
# Whether somebody spoke is known all the same where no more than that is lost.
BRIDGED = 40 * SAMPLES_PER_MS
_UNKNOWN = (Gap.Reason.SEQUENCE, Gap.Reason.CRASH, Gap.Reason.OVER_CAP, Gap.Reason.REJECTED, Gap.Reason.PAUSED)


@dataclass(frozen=True)
class Said:
    """A turn on the call's timeline, in samples."""

    at: int
    end: int
    speaker: str
    response_ms: int | None
    interrupted: bool
    talked_on_ms: int | None


@dataclass(frozen=True)
class Stretch:
    """A part of the call's timeline, in samples."""

    at: int
    end: int


def turns(recording: Recording, most: int = MOST) -> tuple[list[Said], bool]:
    """In order of time, and whether there are more than that. One query."""
    places = {placed.stream_id: placed.start for placed in recording.streams}
    if not places:
        return [], False
    offset = Case(*(When(stream=stream, then=Value(place)) for stream, place in places.items()))
    rows = Turn.objects.filter(stream__in=places).annotate(at=F("start") + offset)
    found = list(rows.order_by("at", "speaker", "pk")[: most + 1])
    heard = (row for row in found[:most] if recording.is_heard(row.stream_id, places[row.stream_id] + row.start))
    return [_said(row, places[row.stream_id]) for row in heard], len(found) > most


def interruptions(recording: Recording) -> int:
    """How often the other side spoke into what we said. One query."""
    places = {placed.stream_id: placed.start for placed in recording.streams}
    rows = Turn.objects.filter(stream__in=places, speaker=Turn.Speaker.US, interrupted=True)
    starts = rows.values_list("stream_id", "start")[:MOST]
    return sum(recording.is_heard(stream, places[stream] + start) for stream, start in starts)


def unknown(recording: Recording) -> list[Stretch]:
    """Of which nobody knows whether somebody spoke: lost, not recorded on purpose, or without a stream. One query."""
    places = {placed.stream_id: placed.start for placed in recording.streams}
    gaps = Gap.objects.filter(stream__in=places, reason__in=_UNKNOWN, length__gt=BRIDGED)
    rows = gaps.values_list("stream_id", "start", "length")[:MOST_GAPS]
    lost = [Stretch(places[stream] + start, places[stream] + start + length) for stream, start, length in rows]
    until = 0
    for placed in recording.streams:
        if placed.start > until:
            lost.append(Stretch(until, placed.start))
        until = max(until, placed.stop)
    return [*lost, Stretch(until, recording.samples)]


def dead_air(spoken: Sequence[Said], unknown: Iterable[Stretch], length: int) -> Iterator[Stretch]:
    """Where nobody speaks for DEAD_AIR and longer, in a call of that length.

    Behind our last words there is none, since the call just ends; behind the caller's last words there is: they wait.
    """
    last = max((said.end for said in spoken), default=0)
    is_ours = any(said.end == last and said.speaker == Turn.Speaker.US for said in spoken)
    stop, until = last if is_ours else length, 0
    parts = [*((said.at, said.end) for said in spoken), *((part.at, part.end) for part in unknown), (stop, stop)]
    for at, end in sorted(parts):
        if min(at, stop) - until >= DEAD_AIR:
            yield Stretch(until, min(at, stop))
        until = max(until, end)


def talk_over(spoken: Iterable[Said]) -> Iterator[Stretch]:
    """Where both sides speak at once. `spoken` in order of time."""
    ends: dict[str, int] = {}
    for said in spoken:
        until = min(said.end, max((end for speaker, end in ends.items() if speaker != said.speaker), default=0))
        if until > said.at:
            yield Stretch(said.at, until)
        ends[said.speaker] = max(said.end, ends.get(said.speaker, 0))


def _said(row: Turn, place: int) -> Said:
    at = place + row.start
    return Said(at, at + row.length, row.speaker, row.response_ms, row.interrupted, row.talked_on_ms)
