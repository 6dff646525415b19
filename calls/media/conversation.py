"""What a conversation was like, from who spoke when: its turns, what the caller waited for, and who talked over whom.

Positions are samples on one timeline, the call's. Pure: what was heard of each side comes as spans, and so does what is
not known of the line: a pause of the recording, lost audio, time without a stream. What is not known is never guessed:
a wait that it lies in has no figure. A hole in which Twilio sent nothing is silence, since phones that suppress silence
send nothing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Literal

import msgspec

from calls.media.audio import SAMPLES_PER_MS
from calls.media.turns import Span


# Pauses that are part of a sentence: whatever the other side does meanwhile, nobody has given up the floor.
BREATH = 400 * SAMPLES_PER_MS
# A longer pause, up to here, is no end of a turn while the other side is silent.
PAUSE = 1000 * SAMPLES_PER_MS
# Silence of both sides that is dead air.
DEAD_AIR = 2000 * SAMPLES_PER_MS
# What is measured is as exact as that: both sides at once for less is not, nor is less of the line lost.
CERTAIN = 60 * SAMPLES_PER_MS
BRIDGED = 40 * SAMPLES_PER_MS
# Whoever is silent this soon after the other side's words has given way to them; who goes on has not heard them.
GIVEN_WAY = 500 * SAMPLES_PER_MS

Speaker = Literal["caller", "us"]


class Said(msgspec.Struct, frozen=True):
    """A turn: what one side said in a row, over pauses of less than a second in which the other side is silent.

    `response_ms`, of a turn of ours: from the end of the caller's last speech to our first sample that they heard. None
    where the caller has said nothing since our last turn (but for words that made us stop), where we began while they
    spoke, and where something of what lies between is not known.

    `interrupted`: the other side began before it was over; it went on for `talked_on_ms` all the same.
    """

    speaker: Speaker
    start: int
    end: int
    response_ms: int | None = None
    interrupted: bool = False
    talked_on_ms: int | None = None


class Conversation(msgspec.Struct, frozen=True):
    """Its turns in order, and the figures of the call, each in ms.

    `first_audio_ms`: from the answer to our first sample heard; None if there is none, or if something before it is not
    known. `response_ms` and `response_ms_max`: median and largest of the turns' own. `dead_air_ms`: what `silences`
    finds. `talk_over_ms`: both sides at once.
    """

    turns: list[Said]
    first_audio_ms: int | None
    response_ms: int | None
    response_ms_max: int | None
    dead_air_ms: int
    talk_over_ms: int


def converse(
    caller: Iterable[Span], ours: Iterable[Span], unknown: Iterable[Span], *, answered: int, length: int
) -> Conversation:
    """The conversation on a timeline of that length; `answered` is where the call was answered, at 0 or before it."""
    lost = _missing(unknown)
    heard, sent = joined(caller, BREATH), joined(ours, BREATH)
    theirs, own = _turns(heard, sent, lost), _turns(sent, heard, lost)
    said = [_interrupted(Said("caller", turn.start, turn.end), sent) for turn in theirs]
    before: Span | None = None
    for turn in own:
        response = _response(turn, before, heard, lost)
        said.append(_interrupted(Said("us", turn.start, turn.end, response), heard))
        before = turn
    waits = [turn.response_ms for turn in said if turn.response_ms is not None]
    return Conversation(
        turns=sorted(said, key=lambda turn: (turn.start, turn.speaker)),
        first_audio_ms=_first_audio(own, lost, answered),
        response_ms=round(median(waits)) if waits else None,
        response_ms_max=max(waits, default=None),
        dead_air_ms=_ms(_total(silences([*theirs, *own], lost, length))),
        talk_over_ms=_ms(_total(common(heard, sent))),
    )


def silences(spoken: Iterable[Span], unknown: Iterable[Span], length: int) -> list[Span]:
    """Dead air on a timeline of that length: where nobody speaks for 2 s and longer, each from its first moment."""
    silent = without([Span(0, length)], joined([*spoken, *_missing(unknown)], 0))
    return [span for span in silent if span.end - span.start >= DEAD_AIR]


def joined(spans: Iterable[Span], pause: int) -> list[Span]:
    """The spans in order, those with no longer pause between them as one."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        if found and span.start - found[-1].end <= pause:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def common(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """Where both are; each in order and without overlaps."""
    found = []
    nth = 0
    for span in one:
        while nth < len(other) and other[nth].end <= span.start:
            nth += 1
        at = nth
        while at < len(other) and other[at].start < span.end:
            found.append(Span(max(span.start, other[at].start), min(span.end, other[at].end)))
            at += 1
    return found


def without(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    """What is left of the spans; each in order and without overlaps."""
    end = max((span.end for span in (*spans, *holes)), default=0)
    edges = [Span(0, 0), *holes, Span(end, end)]
    rest = [Span(one.end, two.start) for one, two in pairwise(edges) if one.end < two.start]
    return common(spans, rest)


def _missing(unknown: Iterable[Span]) -> list[Span]:
    """What is unknown and not so short that nobody would have said anything in it."""
    return [span for span in joined(unknown, 0) if span.end - span.start > BRIDGED]


def _turns(breaths: list[Span], other: list[Span], lost: list[Span]) -> list[Span]:
    """Of one side: its breaths over pauses of which all is known, and in which the other side is silent."""
    turns: list[Span] = []
    pauses = [Span(one.end, two.start) for one, two in pairwise(breaths)]
    broken = {span.end for span in pauses if span.end - span.start >= PAUSE}
    for busy in (other, lost):
        broken |= {pauses[bisect_right(pauses, piece.start, key=_end)].end for piece in common(pauses, busy)}
    for breath in breaths:
        if turns and breath.start not in broken:
            turns[-1] = Span(turns[-1].start, breath.end)
        else:
            turns.append(breath)
    return turns


def _interrupted(turn: Said, other: list[Span]) -> Said:
    # Two who begin at once interrupt nobody.
    nth = bisect_right(other, turn.start + CERTAIN, key=_start)
    if nth == len(other) or other[nth].start >= turn.end - CERTAIN:
        return turn
    return msgspec.structs.replace(turn, interrupted=True, talked_on_ms=_ms(turn.end - other[nth].start))


def _response(turn: Span, before: Span | None, caller: list[Span], lost: list[Span]) -> int | None:
    """ms from the end of the caller's last speech to that turn of ours, of which `before` is the one before."""
    last = _last_before(turn.start, caller)
    if last is None or last.end > turn.start + CERTAIN:
        return None
    if before is not None and last.end <= max(before.start, before.end - GIVEN_WAY):
        return None
    gap = _last_before(turn.start, lost)
    if gap is not None and gap.end > last.end:
        return None
    return _ms(max(turn.start - last.end, 0))


def _last_before(position: int, spans: list[Span]) -> Span | None:
    nth = bisect_left(spans, position, key=_start)
    return spans[nth - 1] if nth else None


def _first_audio(own: list[Span], lost: list[Span], answered: int) -> int | None:
    if not own or _last_before(own[0].start, lost):
        return None
    return _ms(own[0].start - answered)


def _total(spans: Iterable[Span]) -> int:
    return sum(span.end - span.start for span in spans)


def _start(span: Span) -> int:
    return span.start


def _end(span: Span) -> int:
    return span.end


def _ms(samples: int) -> int:
    return round(samples / SAMPLES_PER_MS)
