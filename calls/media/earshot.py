"""The last seconds of a caller's audio, laid where it belongs: windows for a detector, and turns to be cut out of it.

Positions are samples on the stream's own clock. Holes are silence; a late frame fills its place, as in the recording.
"""

from calls.media.audio import SAMPLE_RATE, SILENCE
from calls.media.turns import WINDOW


# Behind a longer hole nothing is kept of what was before it.
LONGEST_HOLE = 10 * SAMPLE_RATE


class Earshot:
    """One stream's. What it keeps is bounded by whoever calls `forget`."""

    def __init__(self) -> None:
        self._audio = bytearray()
        #: Where what is kept begins; None before the first frame.
        self._start: int | None = None
        #: Where the next window begins.
        self._next = 0
        #: Something is missing since the last windows: what comes next has nothing to do with what came before.
        self._is_broken = False

    @property
    def start(self) -> int:
        return self._start or 0

    @property
    def end(self) -> int:
        return self.start + len(self._audio)

    @property
    def waiting(self) -> int:
        """Samples that are in no window yet."""
        return self.end - self._next

    def is_beyond(self, position: int) -> bool:
        """Whether a frame there makes us forget all that was before it."""
        return self._start is not None and position - self.end > LONGEST_HOLE

    def put(self, position: int, audio: bytes) -> None:
        """Lays a frame."""
        if self._start is None or self.is_beyond(position):
            self._is_broken = self._start is not None
            self._start = self._next = position
            self._audio.clear()
        hole = position - self.end
        if hole >= 0:
            self._audio += hole * SILENCE + audio
        else:
            self._fill(position, audio)

    def _fill(self, position: int, audio: bytes) -> None:
        # What lies before everything that is kept came too late.
        audio = audio[max(self.start - position, 0) :]
        at = max(position - self.start, 0)
        self._audio[at : at + len(audio)] = audio

    def windows(self, *, to_end: bool = False) -> tuple[int, list[bytes], bool]:
        """Where the next whole windows begin, these, and whether a detector has to begin anew with them.

        `to_end`: the last one too, with silence behind it.
        """
        first, broken = self._next, self._is_broken
        until = self.end if to_end else self.end - self.waiting % WINDOW
        starts = range(first - self.start, until - self.start, WINDOW)
        windows = [bytes(self._audio[at : at + WINDOW]).ljust(WINDOW, SILENCE) for at in starts]
        self._next = until
        self._is_broken = broken and not windows
        return first, windows, broken

    def pass_over(self, most: int) -> int:
        """Leaves only that many samples waiting. Returns how many there were besides."""
        passed = max(self.waiting - most, 0)
        self._next += passed
        self._is_broken = self._is_broken or passed > 0
        return passed

    def cut(self, start: int, end: int) -> tuple[int, bytes]:
        """Where what there is of that begins, and it."""
        start = max(start, self.start)
        return start, bytes(self._audio[start - self.start : max(end - self.start, 0)])

    def forget(self, before: int) -> None:
        """What lies before that is not wanted any more. Frees it by the second, since that moves what stays."""
        surplus = min(before, self._next) - self.start
        if self._start is not None and surplus >= SAMPLE_RATE:
            del self._audio[:surplus]
            self._start += surplus
