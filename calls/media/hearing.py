"""What the caller has heard of us, laid on the recording once it is certain. Pure: every time is an argument.

Twilio never says what it has played (calls.media.playback). And a socket from which nothing has come for a while may
be dead, though nobody has closed it: what would have been heard meanwhile waits until there is a sign of life.

Moments `at` are seconds of one monotonic clock; positions are samples on the stream's own.
"""

from calls.media.audio import SAMPLE_RATE
from calls.media.playback import ADJACENT, Playback, StreamClock
from calls.media.tape import Tape


# A socket from which nothing has come for this many samples may be dead.
SIGN_OF_LIFE = 2 * SAMPLE_RATE


class Hearing:
    """One stream's: between the mirror of Twilio's buffer and the outbound lane of the tape."""

    __slots__ = ("_lost_at", "_sign", "_unheard", "_unsure", "clock", "playback", "tape")

    def __init__(self, tape: Tape, clock: StreamClock) -> None:
        self.playback = Playback()
        self.tape = tape
        self.clock = clock
        #: Where a key or a mark came last.
        self._sign = 0
        #: Where the caller was lost, if that is known before the end.
        self._lost_at: int | None = None
        #: What was heard if the other side still lives, and whether the recording was paused then.
        self._unsure: list[tuple[int, bytes, bool]] = []
        #: Samples that were not heard though they would have been by then: known at the end.
        self._unheard = 0

    @property
    def is_complete(self) -> bool:
        """Everything that was sent was heard or cleared, for certain."""
        return not (self.playback.pending or self._unsure)

    @property
    def heard(self) -> int:
        """Samples on the tape, and those that were not to be recorded."""
        return self.playback.heard - self._unheard - sum(len(audio) for _, audio, _ in self._unsure)

    def note_sign(self, now: int) -> None:
        """A key or a mark has come: the other side lives."""
        self._sign = now

    def note_lost(self, at: float) -> None:
        """The caller is gone, but what had arrived before is still to be read: `end` follows."""
        if self._lost_at is None:
            self._lost_at = self._moment(at)

    def lives(self, now: int) -> bool:
        """Whether there was a sign of life within 2 s."""
        return now - self._last_sign <= SIGN_OF_LIFE

    def advance(self, at: float) -> None:
        """Puts on tape what the caller has heard by now."""
        if not self.is_complete and self._lost_at is None:
            now = self._moment(at)
            self._keep(self.playback.advance(now))
            if self.lives(now):
                self._lay(self._all())

    def clear(self, now: int) -> int:
        """Twilio's buffer is being emptied. Returns how many samples were not heard and never will be."""
        heard, lost = self.playback.clear(now)
        self._keep(heard)
        if self.lives(now):
            self._lay(self._all())
        return self.note_cleared(lost)

    def take_back(self, now: int) -> bytes:
        """Twilio's buffer is being emptied, and what lay in it is returned: it will be sent again."""
        heard, unheard = self.playback.take_back(now)
        self._keep(heard)
        if self.lives(now):
            self._lay(self._all())
        return unheard

    def end(self, at: float, *, is_stopped: bool) -> tuple[int, int]:
        """The caller hears nothing any more. Returns where that was, and how many samples were not heard by then.

        Without a `stop` of Twilio's (`is_stopped`), a socket that had been silent for long before was dead by then.
        """
        end = self._lost_at if self._lost_at is not None else self._moment(at)
        if not is_stopped and not self.lives(end):
            end = self._last_sign
        heard, lost = self.playback.clear(end)
        self._keep(heard)
        until = max(end, self.playback.end)
        pieces = self._all()
        said = sum(len(audio) for _, audio, _ in pieces)
        pieces = [(start, audio[: until - start], paused) for start, audio, paused in pieces if start < until]
        self._unheard = said - sum(len(audio) for _, audio, _ in pieces)
        self._lay(pieces)
        return end, self.note_cleared(lost + self._unheard)

    @property
    def _last_sign(self) -> int:
        return max(self.tape.inbound.end, self._sign)

    def _moment(self, at: float) -> int:
        """How far the call has come. A frame that is about to come is no silence: the caller's audio says it then."""
        now, end = self.clock.now(at), self.tape.inbound.end
        return end if 0 < now - end <= ADJACENT else now

    def _keep(self, heard: list[tuple[int, bytes]]) -> None:
        # It may be laid later: what was played while nothing was to be recorded never is.
        paused = self.tape.outbound.paused
        self._unsure += [(start, audio, paused) for start, audio in heard]

    def _all(self) -> list[tuple[int, bytes, bool]]:
        pieces, self._unsure = self._unsure, []
        return pieces

    def _lay(self, pieces: list[tuple[int, bytes, bool]]) -> None:
        self.tape.heard(pieces)

    def note_cleared(self, lost: int) -> int:
        """So many samples that were sent will never be heard."""
        if lost:
            self.tape.cleared(self.playback.end, lost)
        return lost
