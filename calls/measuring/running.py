"""A call's turns while it runs: only what is new of it is listened to, and what was heard before is remembered.

Once there is quiet, and some seconds more are known, what lies before that is settled; what comes after it is heard
again each time, with some seconds of what was before it. What comes of that differs from what the whole call's
measurement finds only near its end, and that replaces it once the call is over.
"""

from itertools import takewhile

from django.db import transaction

from calls.measuring.lanes import PIECE
from calls.measuring.line import Line
from calls.measuring.listening import callers, conversation, ours
from calls.measuring.measurement import turns, untouched
from calls.measuring.playback import ANEW, STEP
from calls.media.audio import SAMPLE_RATE
from calls.media.conversation import common, joined
from calls.media.turns import WINDOW, Span
from calls.models import Call, Track, Turn


# Samples that have to be known after a moment before it is settled: what is said there decides where words end.
AFTER = 5 * SAMPLE_RATE
# Of silence on both sides of it, where there is any to be had.
QUIET = SAMPLE_RATE // 2
# What is heard again before it: the detector settles in 1.5 s, and an edge is sought in 1.6 s.
BEFORE = 4 * SAMPLE_RATE
# What our lane's near silence is like is looked for anew there.
GRID = ANEW * STEP
# No more than that is heard again, be it quiet or not: music on hold never is.
MOST = 60 * SAMPLE_RATE


class RunningTurns:
    """Of one call. `hear` only reads; `keep` writes."""

    def __init__(self) -> None:
        #: Up to here everything is settled; the streams that lie there, and whom one has heard in it.
        self._settled = 0
        self._starts: list[tuple[int, int]] = []
        self._heard: tuple[list[Span], list[Span]] = ([], [])
        #: What was heard, unsaved; and what is saved of it. None: whatever somebody else has left.
        self._found: list[Turn] = []
        self._kept: list[Turn] | None = None

    def hear(self, call: Call) -> None:
        """What is there by now, or five minutes more of it: 0.3 s of a core at most, and 0.05 s as it keeps up."""
        line = Line(call)
        if line.starts(self._settled) != self._starts:
            # A stream's rows came late, or another one is longer than was known: nothing lies where it did.
            self._settled, self._starts, self._heard = 0, [], ([], [])
        start = max(self._settled - BEFORE, 0)
        # Each from a place where the whole call's measurement begins something anew, too.
        first, second = start // WINDOW * WINDOW, start // GRID * GRID
        stop = min(line.samples, second + PIECE)
        somebody_else = _moved(common(line.somebody_else(), [Span(second, stop)]), -second)
        caller = _moved(callers(line.lane(Track.INBOUND, first, stop)), first)
        us = _moved(ours(line.lane(Track.OUTBOUND, second, stop), somebody_else), second)
        rest = [Span(self._settled, max(stop, self._settled))]
        heard = (
            joined([*self._heard[0], *common(caller, rest)], 0),
            joined([*self._heard[1], *common(us, rest)], 0),
        )
        found = conversation(*heard, line.unknown(), answered=line.answered(), length=stop)
        self._found = turns(line, found)
        self._settle(heard, stop)
        self._starts = line.starts(self._settled)

    def _settle(self, heard: tuple[list[Span], list[Span]], stop: int) -> None:
        limit = stop - AFTER
        quiet = _last_quiet(joined([*heard[0], *heard[1]], 2 * QUIET), limit)
        if quiet <= self._settled and limit - self._settled > MOST:
            quiet = limit
        if quiet > self._settled:
            self._settled = quiet
            before = [Span(0, quiet)]
            self._heard = common(heard[0], before), common(heard[1], before)

    def keep(self, call: Call) -> bool | None:
        """Writes what is new. Whether anything was; None if the call is not ours any more, or over, or being erased.

        The row is locked: whoever measures all of it, once it is over, does so before this or after it.
        """
        known = self._kept or []
        same = _same(known, self._found)
        if self._kept is not None and same == len(known) == len(self._found):
            return False
        with transaction.atomic():
            if not untouched(call).filter(ended_at=None, turns_at=call.turns_at).select_for_update().exists():
                return None
            gone = Turn.objects.filter(stream__call=call.pk)
            if self._kept is not None:
                gone = gone.filter(pk__in=[turn.pk for turn in known[same:]])
            gone.delete()
            new = Turn.objects.bulk_create(self._found[same:], batch_size=500)
        self._kept = [*known[:same], *new]
        return True


def _moved(spans: list[Span], by: int) -> list[Span]:
    return [Span(span.start + by, span.end + by) for span in spans]


def _last_quiet(busy: list[Span], limit: int) -> int:
    """The last moment up to there with QUIET on both sides of it, between what is further apart than twice that."""
    quiet = limit
    for span in reversed(busy):
        if span.end + QUIET <= quiet:
            break
        quiet = min(quiet, span.start - QUIET)
    return quiet


def _same(one: list[Turn], other: list[Turn]) -> int:
    """How many of the first ones are the same."""
    pairs = takewhile(lambda pair: _facts(pair[0]) == _facts(pair[1]), zip(one, other, strict=False))
    return sum(1 for _ in pairs)


def _facts(turn: Turn) -> tuple[object, ...]:
    spoken = turn.stream_id, turn.speaker, turn.start, turn.length
    return *spoken, turn.response_ms, turn.interrupted, turn.talked_on_ms
