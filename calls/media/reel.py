"""One lane on its way to a transcriber: what waits, what has to be sent again, and where its times lie. Pure.

A transcriber gets sound without long silences, and counts its time from the first sample that it got. So positions on
the lane (in samples of the stream's own clock) and its time (in samples that it was fed) go apart at every silence.
"""

from bisect import bisect_right
from collections import deque
from typing import NamedTuple

import msgspec

from calls.media.audio import SAMPLE_RATE, SILENCE
from calls.media.rows import UtteranceRow
from calls.media.transcript import Heard


# Samples that are sent at once, at most.
PIECE = SAMPLE_RATE // 2
# Of a silence a transcriber gets that much: enough for it to see that somebody has finished.
PAUSE = SAMPLE_RATE
# A lane that got nothing new for so long is silent: what is heard of us is laid on tape late.
SILENT = SAMPLE_RATE * 3 // 2
# What may wait for a transcriber that is slow or away.
MOST_WAITING = 30 * SAMPLE_RATE
# What is kept of sound that it got and has not answered for, in case that it has to be sent again.
MOST_KEPT = 15 * SAMPLE_RATE


class Piece(NamedTuple):
    """Sound at a position of the lane; silence in between is nobody's loss."""

    position: int
    audio: bytes
    is_sound: bool


class Missing(msgspec.Struct):
    """A part of the lane whose words nobody knows, and why."""

    start: int
    length: int
    why: str

    @property
    def end(self) -> int:
        return self.start + self.length


class Reel:
    """What is put in comes out by `take`, in pieces; `hear` says where on the lane it was that something was said."""

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._waiting: deque[Piece] = deque()
        #: Samples that wait.
        self.waits = 0
        #: What was sent and not answered for, and from which fed sample on.
        self._kept: deque[tuple[int, Piece]] = deque()
        #: Of what was sent before that: (fed sample, position, length) of the sound.
        self._unanswered: deque[tuple[int, int, int]] = deque()
        self._fed = 0
        #: From which fed sample on the lane goes on at which position.
        self._places: list[tuple[int, int]] = []
        #: Where on the lane the last sound ends, and whether its pause is fed too.
        self._end = 0
        self._rests = True
        #: Why nothing is sent any more.
        self._abandoned = ""
        self.missing: list[Missing] = []

    @property
    def is_settled(self) -> bool:
        """Whether all sound was answered for, or will never be."""
        rest = (*self._waiting, *(piece for _, piece in self._kept))
        return not (self._unanswered or any(piece.is_sound for piece in rest))

    # --- in -----------------------------------------------------------------------------------------------------------

    def put(self, start: int, audio: bytes) -> None:
        """Sound at that position; what comes late, into a hole, is heard late too."""
        if self._abandoned:
            self._miss(start, len(audio), self._abandoned)
            return
        if start > self._end and not self._rests:
            self._wait(Piece(self._end, SILENCE * min(start - self._end, PAUSE), False))
        for at in range(0, len(audio), PIECE):
            self._wait(Piece(start + at, audio[at : at + PIECE], True))
        self._end, self._rests = max(self._end, start + len(audio)), False
        while self.waits > self._most_waiting:
            self._give_up(self._next(), "the transcriber was too slow")

    def rest(self, now: int) -> None:
        """The lane is known up to here: after a while without sound, whoever spoke has finished."""
        if not self._rests and now - self._end > SILENT:
            self.pause()

    def pause(self) -> None:
        """Whoever spoke has finished."""
        if not self._rests and not self._abandoned:
            self._wait(Piece(self._end, SILENCE * PAUSE, False))
        self._rests = True

    # --- out ----------------------------------------------------------------------------------------------------------

    def take(self) -> bytes:
        """What is to be sent next; empty if nothing waits."""
        if not self._waiting:
            return b""
        piece = self._next()
        if not self._places or self._place(self._fed) != piece.position:
            self._places.append((self._fed, piece.position))
        self._kept.append((self._fed, piece))
        self._fed += len(piece.audio)
        while self._fed - self._kept[0][0] > MOST_KEPT:
            self._forget(*self._kept.popleft())
        return piece.audio

    def hear(self, stream: str, track: str, heard: Heard) -> UtteranceRow | None:
        """What was understood, where it was said; None for silence. ValueError for times that are none."""
        start, end = self._fed_sample(heard.start), self._fed_sample(heard.end)
        row = None
        if heard.text.strip() and self._places:
            at, length = self._span(start, end)
            words = [(word, *self._span(*map(self._fed_sample, times))) for word, *times in heard.words]
            row = UtteranceRow(stream, track, at, length, heard.text.strip(), words)
        self._settle(end)
        return row

    def settle(self) -> None:
        """All that was taken is answered for."""
        self._settle(self._fed)

    def rewind(self, why: str) -> None:
        """It is lost what the transcriber was doing: another one gets all that was not answered for."""
        for _, position, length in self._unanswered:
            self._miss(position, length, why)
        self._waiting.extendleft(piece for _, piece in reversed(self._kept))
        self.waits += sum(len(piece.audio) for _, piece in self._kept)
        self._unanswered.clear()
        self._kept.clear()
        self._places.clear()
        self._fed = 0

    def abandon(self, why: str) -> None:
        """Nobody will understand what waits, nor what is still to come."""
        self.rewind(why)
        while self._waiting:
            self._give_up(self._next(), why)
        self._abandoned = why

    # --- what it knows ------------------------------------------------------------------------------------------------

    def _wait(self, piece: Piece) -> None:
        self._waiting.append(piece)
        self.waits += len(piece.audio)

    def _next(self) -> Piece:
        piece = self._waiting.popleft()
        self.waits -= len(piece.audio)
        return piece

    def _fed_sample(self, seconds: float) -> int:
        return max(0, min(round(seconds * SAMPLE_RATE), self._fed))

    def _place(self, fed: int) -> int:
        at = max(0, bisect_right(self._places, fed, key=lambda place: place[0]) - 1)
        return self._places[at][1] + fed - self._places[at][0]

    def _span(self, start: int, end: int) -> tuple[int, int]:
        """A position and a length. The last sample counts and not the one behind it, which may lie elsewhere."""
        at = self._place(start)
        return at, max(1, self._place(max(start, end - 1)) + 1 - at)

    def _settle(self, until: int) -> None:
        """Up to that fed sample everything was answered for."""
        while self._unanswered and self._unanswered[0][0] < until:
            fed, position, length = self._unanswered.popleft()
            if (known := until - fed) < length:
                self._unanswered.appendleft((until, position + known, length - known))
        while self._kept and self._kept[0][0] + len(self._kept[0][1].audio) <= until:
            self._kept.popleft()
        if self._kept and self._kept[0][0] < until:
            fed, piece = self._kept[0]
            known = until - fed
            self._kept[0] = (until, Piece(piece.position + known, piece.audio[known:], piece.is_sound))

    def _forget(self, fed: int, piece: Piece) -> None:
        """Its sound will not be sent again, whatever becomes of the transcriber. A run is one, however long it is."""
        if not piece.is_sound:
            return
        if self._unanswered:
            before, position, length = self._unanswered[-1]
            if (before + length, position + length) == (fed, piece.position):
                self._unanswered[-1] = (before, position, length + len(piece.audio))
                return
        self._unanswered.append((fed, piece.position, len(piece.audio)))

    def _give_up(self, piece: Piece, why: str) -> None:
        if piece.is_sound:
            self._miss(piece.position, len(piece.audio), why)

    def _miss(self, start: int, length: int, why: str) -> None:
        """Parts that a short silence divides are one."""
        last = self.missing[-1] if self.missing else None
        if last and last.why == why and last.start <= start <= last.end + PAUSE:
            last.length = max(last.end, start + length) - last.start
        else:
            self.missing.append(Missing(start, length, why))
