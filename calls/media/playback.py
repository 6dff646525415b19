"""A mirror of Twilio's play buffer: what we sent, what the caller has heard by now, and what became of the marks.

Twilio plays what it is sent in order, 8 samples a millisecond, and empties its buffer at `clear`
(https://www.twilio.com/docs/voice/media-streams/websocket-messages). It never says what it has played, except by
returning marks, and a mark that `clear` brings back looks like a played one. So we keep the books ourselves.

All positions are samples on the stream's own clock. Pure: the time is always an argument.
"""

from collections import deque
from dataclasses import dataclass

from calls.media.audio import SAMPLE_RATE, SAMPLES_PER_MS


# What arrives this soon after the end of the last message lies directly behind it: jitter is not silence.
ADJACENT = 60 * SAMPLES_PER_MS
# A mark that is later than any usual way there and back tells of a stall at Twilio's side.
STALL = 300 * SAMPLES_PER_MS


class StreamClock:
    """The stream's own clock in samples: it starts at `start` and follows Twilio's timestamps as they arrive.

    It never runs backwards and never ahead of the wall clock, so that a wild timestamp cannot carry it away.
    """

    __slots__ = ("_arrival", "_jitter", "_last", "_lead", "_start")

    def __init__(self, started: float) -> None:
        """`started` and every later time are seconds of one monotonic clock."""
        self._start = -started * SAMPLE_RATE
        self._lead = self._start
        self._last = 0
        self._arrival = self._start
        self._jitter = 0.0

    def arrived(self, end: int, at: float) -> None:
        """Caller audio that ends at position `end` has just arrived."""
        lead = end - at * SAMPLE_RATE
        self._jitter += (abs(lead - self._arrival) - self._jitter) / 16
        self._arrival = lead
        self._lead = lead if lead < self._start else self._start

    @property
    def jitter_ms(self) -> float:
        """How unevenly audio arrives, smoothed as RFC 3550 §6.4.1 has it."""
        return self._jitter / SAMPLES_PER_MS

    def elapsed(self, at: float) -> int:
        """Samples since `start` by the wall clock."""
        return int(self._start + at * SAMPLE_RATE)

    def now(self, at: float) -> int:
        now = int(self._lead + at * SAMPLE_RATE)
        if now > self._last:
            self._last = now
        return self._last


@dataclass(slots=True)
class PendingMark:
    """A mark on its way. `index` counts a stream's marks, since names may repeat."""

    index: int
    name: str
    position: int
    cleared: bool = False
    #: Another one is sent in its place: that it comes back tells nothing.
    withdrawn: bool = False


@dataclass(slots=True)
class Segment:
    """Audio that lies in the buffer in one piece."""

    start: int
    audio: bytearray


class Playback:
    """What lies in Twilio's buffer. Sent = heard + cleared + pending, always, in samples."""

    __slots__ = ("_floor", "_marks", "_sealed", "_segments", "cleared", "end", "heard", "marks_sent", "sent")

    def __init__(self) -> None:
        self._segments: deque[Segment] = deque()
        self._marks: list[PendingMark] = []
        #: A mark lies at the end: what comes next is a segment of its own, so that it can be moved alone.
        self._sealed = False
        #: Everything before here was heard, as a mark told us, even if our clock is not there yet.
        self._floor = 0
        #: Where the last message ends.
        self.end = 0
        self.sent = 0
        self.heard = 0
        self.cleared = 0
        self.marks_sent = 0

    @property
    def pending(self) -> int:
        """Samples that are sent and neither heard nor cleared."""
        return self.sent - self.heard - self.cleared

    @property
    def pending_marks(self) -> tuple[PendingMark, ...]:
        return tuple(self._marks)

    def play(self, now: int, audio: bytes) -> None:
        """Audio was sent: it starts when the message before it ends, or now, whichever is later."""
        start = self.end if self.sent and now - self.end <= ADJACENT else now
        if self._segments and start == self.end and not self._sealed:
            self._segments[-1].audio += audio
        else:
            self._segments.append(Segment(start, bytearray(audio)))
        self._sealed = False
        self.end = start + len(audio)
        self.sent += len(audio)

    def mark(self, now: int, name: str) -> PendingMark:
        """A mark was sent: it comes back when what was sent before it has been played, at once if nothing is."""
        mark = PendingMark(self.marks_sent, name, max(self.end, now))
        self.marks_sent += 1
        self._sealed = True
        self._marks.append(mark)
        return mark

    def forgo_mark(self, now: int, name: str) -> PendingMark:
        """A mark is never sent, since what lies before it was cleared: it has its number, and does not come back."""
        mark = PendingMark(self.marks_sent, name, now, cleared=True)
        self.marks_sent += 1
        return mark

    def clear(self, now: int) -> tuple[list[tuple[int, bytes]], int]:
        """A clear was sent. Returns what was heard until now, and how many samples never will be.

        Every mark that is pending at this moment counts as cleared, even if its echo is already on its way.
        """
        heard, unheard = self._empty(now)
        for mark in self._marks:
            mark.cleared = True
        return heard, len(unheard)

    def take_back(self, now: int) -> tuple[list[tuple[int, bytes]], bytes]:
        """A clear was sent, and what it cut off will be sent again. Returns what was heard until now, and the rest."""
        return self._empty(now)

    def _empty(self, now: int) -> tuple[list[tuple[int, bytes]], bytes]:
        heard = self.advance(now)
        unheard = b"".join(segment.audio for segment in self._segments)
        self._segments.clear()
        self.cleared += len(unheard)
        self.end = min(self.end, max(now, self._floor))
        return heard, unheard

    @property
    def front(self) -> int:
        """The ordinal of the next sample to be heard, of all that were sent."""
        return self.sent - self.pending

    def returned(self, now: int, name: str) -> PendingMark | None:
        """A mark came back: the oldest pending one of that name, or None for a name that is not pending."""
        for mark in self._marks:
            if mark.name == name:
                self._marks.remove(mark)
                if not mark.cleared:
                    self._correct(mark.position, now)
                return mark
        return None

    def _correct(self, position: int, now: int) -> None:
        """Twilio has played everything before `position`, and has only now begun with what comes after it."""
        self._floor = max(self._floor, position)
        late = now - position
        if late <= STALL:
            return
        for segment in self._segments:
            if segment.start >= position:
                segment.start += late
                self.end = segment.start + len(segment.audio)
        # The marks after it are late with their audio: each would move it once more.
        for mark in self._marks:
            if mark.position >= position and not mark.cleared:
                mark.position = min(mark.position + late, max(self.end, now))

    def advance(self, now: int) -> list[tuple[int, bytes]]:
        """What was heard since the last time, as (position, µ-law), in order."""
        until = max(now, self._floor)
        heard = []
        while self._segments and self._segments[0].start < until:
            segment = self._segments[0]
            piece = bytes(segment.audio[: until - segment.start])
            heard.append((segment.start, piece))
            self.heard += len(piece)
            if len(piece) == len(segment.audio):
                self._segments.popleft()
            else:
                del segment.audio[: len(piece)]
                segment.start += len(piece)
        return heard
