"""The caller's turns: when they speak, told from how likely each 32 ms of the line is speech.

Positions are samples on the stream's own clock, as the recording has it. Pure: windows and the time are arguments. The
thresholds are those that Silero's own examples use; the times were tried on what tests/support/sounds.py makes. Silero
goes on for some windows after a word, so that nothing has to be added behind a turn: it ends 0.04 to 0.24 s (0.09 in
the median) after what was said.
"""

import msgspec

from calls.media.audio import SAMPLES_PER_MS


#: Samples that are judged together: 32 ms.
WINDOW = 256
# A window is speech from here on; within speech, down to there.
BEGINS, GOES_ON = 0.5, 0.35
# Windows of speech that make somebody speak, 96 ms, and that make a turn, 160 ms: what is shorter is a noise.
ONSET, SHORTEST = 3, 5
# A turn begins this much before its first window: an s or an h comes in front of what is surely speech.
LEAD = 200 * SAMPLES_PER_MS
# Silence after which nobody speaks any more, even if the turn has not ended.
PAUSE = 200 * SAMPLES_PER_MS
# A turn that grows longer is given out in pieces.
LONGEST = 60_000 * SAMPLES_PER_MS


class Speech(msgspec.Struct, frozen=True):
    """One turn of the caller's: `audio` is raw µ-law, what the recording has from `start_ms` to `end_ms`.

    Both are ms on the stream's own clock. It begins 0.2 s before the first sound that is surely speech.
    """

    start_ms: int
    end_ms: int
    audio: bytes


class Span(msgspec.Struct, frozen=True):
    """Where a turn lies, in samples."""

    start: int
    end: int


class Turns:
    """One way of hearing a line: windows go in as they are judged, turns come out as they end."""

    def __init__(self, end_silence: int, since: int = 0) -> None:
        """A turn ends after that many samples without speech; none begins before `since`."""
        self._end_silence = end_silence
        #: No turn begins before here: the one before it ends there.
        self._floor = since
        #: What has been heard, or is known to be silence.
        self._until = since
        #: Windows of speech in a row while nobody speaks yet, and where they begin.
        self._rising = 0
        self._onset = since
        #: Where the turn that runs begins; None while there is none.
        self._start: int | None = None
        self._spoken = 0
        self._voice_end = since

    def anew(self, since: int) -> "Turns":
        """The same, of what is said from there on."""
        return Turns(self._end_silence, since)

    @property
    def is_speaking(self) -> bool:
        """Whether somebody speaks at this moment: since 96 ms, and with no pause of 0.2 s."""
        return self._start is not None and self._until - self._voice_end < PAUSE

    @property
    def keeps(self) -> int:
        """What lies before here is in no turn that is still to come."""
        if self._start is not None:
            return self._start
        return max(self._floor, (self._onset if self._rising else self._until) - LEAD)

    def hear(self, position: int, probability: float) -> Span | None:
        """A window that begins there, and how likely it is speech. Returns the turn that has ended with it."""
        ended = None
        if position > self._until:
            ended = self.advance(position)
        end = position + WINDOW
        self._until = max(self._until, end)
        if self._start is None:
            self._wait(position, end, probability)
            return ended
        if probability >= GOES_ON:
            self._spoken += 1
            self._voice_end = max(self._voice_end, end)
        return ended or self._end_if_over()

    def advance(self, now: int) -> Span | None:
        """Nothing was heard up to there, and nothing will be: silence. Returns the turn that has ended with it."""
        if now > self._until:
            self._until = now
            self._rising = 0
        return self._end_if_over()

    def finish(self) -> Span | None:
        """The line is dead. Returns the turn that was running."""
        return self._end()

    def _wait(self, position: int, end: int, probability: float) -> None:
        if probability >= BEGINS:
            self._onset = self._onset if self._rising else position
            self._rising += 1
        elif probability < GOES_ON:
            self._rising = 0
        if self._rising == ONSET:
            self._start = max(self._floor, self._onset - LEAD)
            self._spoken, self._rising, self._voice_end = ONSET, 0, end

    def _end_if_over(self) -> Span | None:
        if self._start is None:
            return None
        if self._until - self._voice_end >= self._end_silence:
            return self._end()
        return self._cut() if self._until - self._start >= LONGEST else None

    def _end(self) -> Span | None:
        start, self._start = self._start, None
        if start is None or self._spoken < SHORTEST or self._voice_end <= start:
            return None
        self._floor = self._voice_end
        return Span(start, self._voice_end)

    def _cut(self) -> Span:
        """A piece of a turn that goes on."""
        assert self._start is not None
        piece = Span(self._start, self._until)
        # What is left of it is no noise, however short.
        self._start, self._spoken = self._until, SHORTEST
        self._floor = self._until
        return piece
