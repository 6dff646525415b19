"""How loud each side of a running call is, whether it speaks, and how long its caller has been waiting. Pure.

Made for a look at a hundred calls at once: it looks at every few samples of a beat (0.2 s), and takes what stands out
of the line's own noise for speech. What is exact is measured afterwards (calls.media.conversation). Positions are
samples on the stream's own clock.
"""

from collections.abc import Iterable

from calls.media.audio import SAMPLES_PER_MS, loudest
from calls.media.rows import AnyRow, ChunkRow


# Every so many samples are looked at: 615 a second find the loudest of a syllable, and no tone hides between them.
STEP = 13
# A pause this long is the end of what somebody says.
BREATH = 500 * SAMPLES_PER_MS
# Levels of speech (0-127): the least on a quiet line, and how far it is above the noise of another one.
LEAST = 6
ABOVE_NOISE = 3
# How fast the noise is believed to fall, as a share of the way, and to rise, in levels, from one beat to the next: a
# pause between two words shows it, and half a minute of speech does not hide it.
FALL = 0.25
RISE = 0.05
# Beats that are kept for whoever asks only now and then.
MOST_BEATS = 10


class LaneMeter:
    """One side of a call."""

    def __init__(self, spoke_until: int | None = None) -> None:
        #: One byte a beat (0-127), since they were last taken.
        self.levels = bytearray()
        #: Where the last speech ended; None if that is not known.
        self.spoke_until = spoke_until
        self._noise = 0.0

    def hear(self, chunks: Iterable[ChunkRow]) -> None:
        """What of this side came in one beat."""
        level = 0
        for chunk in chunks:
            loud = loudest(chunk.payload, step=STEP)
            if loud >= max(LEAST, ABOVE_NOISE * self._noise):
                self.spoke_until = max(self.spoke_until or 0, chunk.start + len(chunk.payload))
            self._noise += min(RISE, FALL * (loud - self._noise))
            level = max(level, loud)
        self.levels.append(level)
        del self.levels[:-MOST_BEATS]

    def speaks(self, now: int) -> bool:
        """Whether this side is in the middle of something."""
        return self.spoke_until is not None and now - self.spoke_until < BREATH

    def take(self) -> bytes:
        """The levels of the beats since the last time."""
        taken, self.levels = bytes(self.levels), bytearray()
        return taken


class Meter:
    """Both sides of a call."""

    def __init__(self, said_until: int = 0) -> None:
        """`said_until`: up to where we had spoken when this began to listen; 0 if not at all."""
        self.caller = LaneMeter()
        self.us = LaneMeter(said_until or None)

    def hear(self, rows: Iterable[AnyRow]) -> None:
        """What was recorded in a beat."""
        chunks = [row for row in rows if type(row) is ChunkRow]
        self.caller.hear(chunk for chunk in chunks if chunk.track == "inbound")
        self.us.hear(chunk for chunk in chunks if chunk.track == "outbound")

    def wait(self, now: int) -> int | None:
        """Samples for which the caller has been waiting for us; None if they are not, or nobody knows.

        From the end of their last words, if none of ours came after them; from the beginning, if we have said nothing.
        """
        if self.caller.speaks(now) or self.us.speaks(now):
            return None
        spoken, answered = self.caller.spoke_until, self.us.spoke_until
        if spoken is None:
            return now if answered is None else None
        return now - spoken if answered is None or answered < spoken else None
