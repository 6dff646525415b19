"""Everything that happened in a call, in one order and on the recording's own clock."""

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from calls.access import numbers
from calls.admin import wording
from calls.admin.cells import clock, moment, precise
from calls.media.audio import SAMPLE_RATE, SAMPLES_PER_MS
from calls.media.figures import figure
from calls.models import Call, CallEvent, Dtmf, Gap, Mark
from calls.recordings.rendering import Recording
from calls.summaries.problems import of_whom


# A page shows this many of each kind: a call that has more is one for a machine to look at.
MOST = 500
# A line that loses one packet in thirty makes 6,000 gaps an hour; they are read in one query, and folded.
MOST_GAPS = 20_000
MOST_PIECES = 50
# Losses that lie nearer to each other are one stretch of a bad line, if there are at least this many.
NEAR, FOLDED = 10 * SAMPLE_RATE, 3
_LOSSES = (Gap.Reason.TIMESTAMP, Gap.Reason.SEQUENCE, Gap.Reason.REJECTED)
_BAD_KINDS = ("fail", "error", "crash", "interrupt", "lost", "block")


@dataclass(frozen=True)
class Entry:
    """One line of the timeline, and one marker or region of the waveform."""

    at: int
    """In samples on the call's timeline; negative before its first stream."""
    kind: str
    word: str
    text: str = ""
    tone: str = "quiet"
    length: int = 0
    track: str = ""
    who: str = ""
    when: dt.datetime | None = None
    data: dict[str, Any] = field(default_factory=dict)
    pieces: tuple["Entry", ...] = ()
    """What was folded into this one; of very many only the first."""
    count: int = 0

    @property
    def more(self) -> int:
        """How many pieces are not among them."""
        return self.count - len(self.pieces)

    @property
    def seconds(self) -> str:
        return f"{self.at / SAMPLE_RATE:.2f}"

    @property
    def length_seconds(self) -> str:
        return f"{self.length / SAMPLE_RATE:.2f}"

    @property
    def clock(self) -> str:
        return precise(self.at)

    @property
    def moment(self) -> str:
        return moment(self.when) if self.when else ""

    @property
    def data_text(self) -> str:
        return json.dumps(self.data, indent=2, ensure_ascii=False, sort_keys=True) if self.data else ""


def entries(call: Call, recording: Recording, *, whole_numbers: bool) -> tuple[list[Entry], bool]:
    """The timeline in four queries, and whether some of it was left out because there is too much."""
    streams = [placed.stream_id for placed in recording.streams]
    events = list(call.events.select_related("user").order_by("occurred_at", "pk")[: MOST + 1])
    gaps = list(Gap.objects.filter(stream__in=streams).order_by("pk")[: MOST_GAPS + 1])
    marks = Mark.objects.filter(stream__in=streams).order_by("pk")[: MOST + 1]
    kinds = [
        _of_gaps(gaps[:MOST_GAPS], recording, call, _outings(events, call, whole_numbers)),
        [_of_mark(mark, recording, call, whole_numbers) for mark in marks],
        [_of_key(key, recording, call) for key in Dtmf.objects.filter(stream__in=streams).order_by("pk")[: MOST + 1]],
        list(_of_events(events, call, recording, whole_numbers)),
    ]
    found = sorted((entry for kind in kinds for entry in kind[:MOST]), key=lambda entry: entry.at)
    return found, len(gaps) > MOST_GAPS or any(len(kind) > MOST for kind in kinds)


def _outings(events: list[CallEvent], call: Call, whole_numbers: bool) -> dict[int | None, str]:
    """Of each stream that was left for another number, in words: which, and what came of it."""
    found: dict[int | None, str] = {}
    left = None
    for event in events:
        data = event.data if whole_numbers else numbers.mask_all(event.data, call)
        if event.kind == "dialled":
            left = event.stream_id
            found[left] = str(data.get("number", ""))
        elif event.kind == "returned" and left is not None:
            found[left] = wording.outcome_of_dial(data)
            left = None
    return found


def _of_gaps(gaps: list[Gap], recording: Recording, call: Call, outings: dict[int | None, str]) -> list[Entry]:
    """Each gap, but losses that lie near each other as one."""
    found, losses = [], defaultdict(list)
    for gap in gaps:
        if gap.reason in _LOSSES:
            losses[gap.stream_id, gap.track, gap.reason].append(gap)
        elif gap.reason == Gap.Reason.NO_STREAM and gap.stream_id in outings:
            found.append(_of_outing(gap, recording, call, outings[gap.stream_id]))
        else:
            found.append(_of_gap(gap, recording, call))
    for alike in losses.values():
        for stretch in _stretches(sorted(alike, key=lambda gap: gap.start)):
            pieces = [_of_gap(gap, recording, call) for gap in stretch]
            found += [_folded(pieces, Gap.Reason(stretch[0].reason), call)] if len(pieces) >= FOLDED else pieces
    return sorted(found, key=lambda entry: entry.at)


def _stretches(gaps: list[Gap]) -> Iterator[list[Gap]]:
    stretch: list[Gap] = []
    for gap in gaps:
        if stretch and gap.start - stretch[-1].start - stretch[-1].length > NEAR:
            yield stretch
            stretch = []
        stretch.append(gap)
    if stretch:
        yield stretch


def _folded(pieces: list[Entry], reason: Gap.Reason, call: Call) -> Entry:
    first, last, lost = pieces[0], pieces[-1], sum(piece.length for piece in pieces)
    length = last.at + last.length - first.at
    text = (
        f"{100 * lost / length:.1f} % of {_whose(first.track, call)} lost between {clock(first.at)} and "
        f"{clock(first.at + length)}, {len(pieces)} pieces: {reason.label}"
    )
    shown = tuple(pieces[:MOST_PIECES])
    return Entry(first.at, "gap", "Silence", text, "warn", length, first.track, pieces=shown, count=len(pieces))


def _whose(track: str, call: Call) -> str:
    return of_whom(call, "the caller") if track == "inbound" else "us"


def _of_gap(gap: Gap, recording: Recording, call: Call) -> Entry:
    at, reason, seconds = recording.place(gap.stream_id, gap.start), Gap.Reason(gap.reason), gap.length / SAMPLE_RATE
    if reason == Gap.Reason.CLEARED:
        text = f"{seconds:.2f} s of what we sent was thrown away unheard"
        return Entry(at, "cleared", "Cleared", text, "cleared", gap.length, gap.track)
    if reason == Gap.Reason.NO_STREAM:
        text = f"{seconds:.2f} s of {'the other side' if gap.track == 'inbound' else 'us'} went unheard: {reason.label}"
        return Entry(at, "gap", "Not recorded", text, "warn", gap.length, gap.track)
    tone = "paused" if reason == Gap.Reason.PAUSED else "warn"
    text = f"{seconds:.2f} s of {_whose(gap.track, call)}: {reason.label}"
    return Entry(at, "gap", "Silence", text, tone, gap.length, gap.track)


def _of_outing(gap: Gap, recording: Recording, call: Call, words: str) -> Entry:
    """The time for which a caller was with somebody else."""
    text = f"{gap.length / SAMPLE_RATE:.2f} s, while {of_whom(call, 'the caller')} was with {words}"
    at = recording.place(gap.stream_id, gap.start)
    return Entry(at, "gap", "Not recorded", text, "paused", gap.length, gap.track)


def _of_mark(mark: Mark, recording: Recording, call: Call, whole_numbers: bool) -> Entry:
    at = recording.place(mark.stream_id, mark.position)
    if mark.outcome == Mark.Outcome.CLEARED and mark.returned_at:
        # What it marked was never played: it lies where the clear sent it back.
        at = min(at, recording.when(mark.returned_at))
    word, text = wording.of_mark(mark)
    text = text if whole_numbers else numbers.mask_all(text, call)
    return Entry(at, "mark", word, text, mark.outcome, when=mark.returned_at or mark.sent_at)


def _of_key(key: Dtmf, recording: Recording, call: Call) -> Entry:
    at = recording.place(key.stream_id, key.timestamp_ms * SAMPLES_PER_MS)
    return Entry(at, "key", f"Key {key.digit}", of_whom(call, "pressed by the caller"), "key")


def _of_events(events: list[CallEvent], call: Call, recording: Recording, whole_numbers: bool) -> Iterator[Entry]:
    talks = _talks(events)
    for event in events:
        kind, tone = _kind(event)
        data = event.data if whole_numbers else numbers.mask_all(event.data, call)
        start_ms, length_ms = talks.get(event.pk, (None, 0))
        yield Entry(
            _moment_of(event, recording, call, start_ms),
            kind,
            wording.of_event(event, call),
            wording.about_event(event, data),
            tone,
            length_ms * SAMPLES_PER_MS,
            "outbound" if length_ms else "",
            who=event.user.get_username() if event.user else "",
            when=event.occurred_at,
            data=data,
        )


def _talks(events: list[CallEvent]) -> dict[int, tuple[int, int]]:
    """Of each takeover that has ended: where a person had the caller on its stream, and how long, in ms."""
    found: dict[int, tuple[int, int]] = {}
    begun: dict[int | None, int] = {}
    for event in events:
        if event.kind == "take-over":
            begun[event.stream_id] = event.pk
        elif event.kind in ("hand-back", "takeover-ended") and event.stream_id in begun:
            start, end = figure(event.data, "start_ms"), figure(event.data, "end_ms")
            if isinstance(start, int) and isinstance(end, int) and start < end:
                found[begun.pop(event.stream_id)] = start, end - start
    return found


def _moment_of(event: CallEvent, recording: Recording, call: Call, start_ms: int | None = None) -> int:
    """By the stream's own clock where the event, or the one that ends what it began, knows it."""
    stream, position = event.stream_id, figure(event.data, "position")
    if stream and start_ms is not None:
        return recording.place(stream, start_ms * SAMPLES_PER_MS)
    if event.kind == "note" and stream and isinstance(position, int):
        return recording.place(stream, position)
    return recording.when(event.occurred_at) if recording.origin else _since(call, event.occurred_at)


def _kind(event: CallEvent) -> tuple[str, str]:
    """What an event is drawn as, and in which tone."""
    if event.source == CallEvent.Source.CONTROL:
        return "staff", "bad" if wording.in_vain(event.data) else "staff"
    if event.kind == "barge-in":
        return "barge", "cleared"
    if event.kind == "note":
        return "note", "quiet"
    return "event", "bad" if any(word in event.kind.lower() for word in _BAD_KINDS) else "quiet"


def _since(call: Call, at: dt.datetime) -> int:
    """Without a stream there is no clock but the call's own."""
    return round((at - call.created_at).total_seconds() * SAMPLE_RATE)
