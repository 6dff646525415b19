"""The marks of a stream: sent, on their way, and come back or cleared. Plays wait for those of their own."""

import asyncio
import datetime as dt

from django.utils import timezone

from calls.media.playback import PendingMark, Playback
from calls.media.protocol import StreamProtocol
from calls.media.script import Cue
from calls.media.tape import Tape
from calls.server.inbox import Inbox, Mark, Outcome


# Names of the marks that a play sends for itself.
OWN_MARK = "callstream:"

# What became of a mark of our own.
Settled = asyncio.Future[Outcome]


class Marks:
    """What became of each is on tape at once, told to the handler, and to the play that waits for it."""

    def __init__(self, protocol: StreamProtocol, playback: Playback, tape: Tape, inbox: Inbox) -> None:
        self._protocol = protocol
        self._playback = playback
        self._tape = tape
        self._inbox = inbox
        #: By the mark's index: who waits for it, and when it was sent.
        self._plays: dict[int, Settled] = {}
        self._sent_at: dict[int, dt.datetime] = {}

    def send(self, cue: Cue[Settled], now: int) -> str:
        """A mark is about to be sent: returns its text."""
        name = cue.name if cue.played is None else f"{OWN_MARK}{self._playback.marks_sent}"
        text = cue.text or self._protocol.mark(name)
        cue.mark = mark = self._playback.mark(now, name)
        self._sent_at[mark.index] = timezone.now()
        self._tape.mark(mark, self._sent_at[mark.index], "pending", None)
        if cue.played is not None:
            self._plays[mark.index] = cue.played
        return text

    def forgo(self, cues: list[Cue[Settled]], now: int) -> None:
        """These were never sent, and count as cleared."""
        for cue in cues:
            if cue.played is not None:
                if not cue.played.done():
                    cue.played.set_result("cleared")
                continue
            at = timezone.now()
            self._tape.mark(self._playback.forgo_mark(now, cue.name), at, "cleared", at)
            self._inbox.put(Mark(cue.name, "cleared"))

    def withdraw(self, cues: list[Cue[Settled]]) -> None:
        """These were sent, and what lay before them is sent again: so are they. The first ones tell nothing."""
        for cue in cues:
            mark, cue.mark = cue.mark, None
            assert mark is not None  # it was sent
            mark.cleared = mark.withdrawn = True
            self._plays.pop(mark.index, None)
            self._settle(mark, "cleared", None)

    def returned(self, name: str, now: int) -> bool:
        """A mark came back. False if none of that name is on its way, which changes nothing."""
        mark = self._playback.returned(now, name)
        if mark is None:
            return False
        outcome: Outcome = "cleared" if mark.cleared else "played"
        self._settle(mark, outcome, timezone.now())
        if not (mark.withdrawn or name.startswith(OWN_MARK)):
            self._inbox.put(Mark(name, outcome))
        return True

    def clear(self) -> None:
        """Those that are on their way will come back, and what lies before them was not heard."""
        for mark in self._playback.pending_marks:
            self._settle(mark, "cleared", None)

    def end(self, position: int) -> None:
        """None comes back any more; the caller heard everything up to there."""
        for mark in self._playback.pending_marks:
            self._settle(mark, "played" if mark.position <= position else "cleared", None)

    def give_up(self, mark: PendingMark) -> None:
        """Nobody waits for it any more."""
        self._plays.pop(mark.index, None)

    def _settle(self, mark: PendingMark, outcome: Outcome, returned_at: dt.datetime | None) -> None:
        """A mark's outcome is known: when it comes back, or before, when its audio is cleared."""
        self._tape.mark(mark, self._sent_at[mark.index], outcome, returned_at)
        if returned_at is not None:
            del self._sent_at[mark.index]
        played = self._plays.pop(mark.index, None)
        if played is not None and not played.done():
            played.set_result(outcome)
