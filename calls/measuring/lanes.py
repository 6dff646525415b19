"""A lane of a recording in pieces: no call is too long to be measured."""

from collections.abc import Callable, Iterator
from functools import lru_cache

from calls.media.audio import SILENCE


# Samples that are read at once, five minutes, and how many such pieces are kept: that bounds the memory.
PIECE = 2_400_000
KEPT = 3


class Lane:
    """One lane of a recording, µ-law."""

    def __init__(self, samples: int, read: Callable[[int, int], bytes]) -> None:
        """So long, and what reads a piece of it from here to there: silence where there is none."""
        self.samples = samples
        self._piece = lru_cache(KEPT)(lambda nth: read(nth * PIECE, max(nth * PIECE, min((nth + 1) * PIECE, samples))))

    def read(self, start: int, stop: int) -> bytes:
        """From `start` on, which is not below 0, up to `stop`: silence beyond the end."""
        pieces = [
            self._piece(nth)[max(start - nth * PIECE, 0) : max(stop - nth * PIECE, 0)]
            for nth in range(start // PIECE, -(-stop // PIECE))
        ]
        return b"".join(pieces).ljust(stop - start, SILENCE)

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """All of it, each with its position."""
        for start in range(0, self.samples, PIECE):
            yield start, self.read(start, min(start + PIECE, self.samples))
