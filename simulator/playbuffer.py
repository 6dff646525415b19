"""Twilio's play buffer on a real clock. It knows no sockets: who owns it asks `due()` which marks to send back."""

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from simulator.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE, is_loud


# More than this waiting, and further media is thrown away: https://www.twilio.com/docs/api/errors/31931.
LIMIT_SAMPLES = 10 * 60 * SAMPLE_RATE
# The end of a word is not the end of the talking.
PAUSE_SAMPLES = SAMPLE_RATE // 2

Outcome = Literal["played", "cleared"]


class PlayBuffer:
    """One queue of audio and marks, played at 8 bytes a millisecond.

    https://www.twilio.com/docs/voice/media-streams/websocket-messages#send-websocket-messages-to-twilio

    Nothing ticks: a piece of audio begins where the one before it ends or now, whichever is later, so what has been
    heard and which marks are due follows from the time alone. Positions are samples since `restart()`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._end = 0
        self._loud: list[list[int]] = []  # begin and end of what is said, with pauses in it
        self._played: list[tuple[int, bytearray]] = []
        self._pending: deque[tuple[int, str]] = deque()
        self._returning: list[str] = []
        self.marks: list[tuple[str, Outcome]] = []
        self.clears = 0
        self.discarded = 0

    def restart(self, at: float | None = None) -> None:
        """Puts position 0 here, or at that time: where the stream's first media lies."""
        self._started = self._clock() if at is None else at

    @property
    def now(self) -> int:
        return max(0, round((self._clock() - self._started) * SAMPLE_RATE))

    @property
    def queued(self) -> int:
        """Samples that the caller is still to hear."""
        return max(0, self._end - self.now)

    @property
    def talking(self) -> bool:
        """Whether something louder than a quiet line is playing or will, or was half a second ago."""
        return bool(self._loud) and self._loud[-1][1] > self.now - PAUSE_SAMPLES

    @property
    def loud_since(self) -> int | None:
        """Where what is being said now began, as a position; None in silence, from half a second on."""
        now = self.now
        for begin, end in reversed(self._loud):
            if begin <= now:
                return begin if now < end + PAUSE_SAMPLES else None
        return None

    @property
    def is_loud_now(self) -> bool:
        """Whether the last 20 ms were louder than a quiet line."""
        now = self.now
        for begin, audio in reversed(self._played):
            if begin < now:
                return is_loud(bytes(audio[max(0, now - begin - FRAME_SAMPLES) : now - begin]))
        return False

    @property
    def unreturned(self) -> list[str]:
        """Marks that still wait for their audio."""
        return [name for _, name in self._pending]

    def play(self, audio: bytes) -> bool:
        """Queues µ-law of any length. False: more than 10 minutes wait already, and it was thrown away."""
        now, end = self.now, self._end
        if end - now > LIMIT_SAMPLES:
            self.discarded += 1
            return False
        begin = max(end, now)
        if self._played and begin == self._played[-1][0] + len(self._played[-1][1]):
            self._played[-1][1].extend(audio)
        else:
            self._played.append((begin, bytearray(audio)))
        self._end = begin + len(audio)
        if len(audio) > FRAME_SAMPLES:
            self._listen(begin, audio)
        elif is_loud(audio):
            self._note_loud(begin, begin + len(audio))
        return True

    def _listen(self, begin: int, audio: bytes) -> None:
        for at in range(0, len(audio), FRAME_SAMPLES):
            if is_loud(frame := audio[at : at + FRAME_SAMPLES]):
                self._note_loud(begin + at, begin + at + len(frame))

    def _note_loud(self, since: int, until: int) -> None:
        if self._loud and since <= self._loud[-1][1] + PAUSE_SAMPLES:
            self._loud[-1][1] = until
        else:
            self._loud.append([since, until])

    def mark(self, name: str) -> None:
        """Queues a mark: due when all audio before it has been played, or at once."""
        self._pending.append((max(self._end, self.now), name))

    def clear(self) -> None:
        """Drops what has not been heard and returns every mark that waits, in order."""
        now = self.now
        self._settle(now)
        self._cut(now)
        names = self.unreturned
        self._pending.clear()
        self._returning += names
        self.marks += [(name, "cleared") for name in names]
        self.clears += 1

    def stop(self) -> None:
        """The stream is over: what has not been heard never will be, and marks that wait are never returned."""
        now = self.now
        self._settle(now)
        self._cut(now)

    def due(self) -> list[str]:
        """The marks to send back now, each one once, in the order in which they were queued."""
        self._settle(self.now)
        names, self._returning = self._returning, []
        return names

    def next_due(self) -> float | None:
        """Seconds until `due()` has something; None while no mark waits."""
        if self._returning:
            return 0.0
        return max(0.0, (self._pending[0][0] - self.now) / SAMPLE_RATE) if self._pending else None

    @property
    def heard(self) -> list[tuple[int, bytes]]:
        """What the caller has heard by now: µ-law, each piece with its position."""
        now = self.now
        return [(begin, bytes(audio[: now - begin])) for begin, audio in self._played if begin < now]

    def _settle(self, now: int) -> None:
        while self._pending and self._pending[0][0] <= now:
            _, name = self._pending.popleft()
            self._returning.append(name)
            self.marks.append((name, "played"))

    def _cut(self, now: int) -> None:
        while self._played and self._played[-1][0] >= now:
            self._played.pop()
        if self._played:
            begin, audio = self._played[-1]
            del audio[now - begin :]
        while self._loud and self._loud[-1][0] >= now:
            self._loud.pop()
        if self._loud:
            self._loud[-1][1] = min(self._loud[-1][1], now)
        self._end = min(self._end, now)


def flatten(pieces: list[tuple[int, bytes]], samples: int = 0) -> bytes:
    """One run of µ-law of at least that many samples, silence between the pieces."""
    line = bytearray()
    for begin, audio in pieces:
        line += SILENCE * (begin - len(line)) + audio
    return bytes(line) + SILENCE * (samples - len(line))
