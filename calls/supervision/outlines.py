"""The waveform of calls that somebody looks at, as it grows: the loudest sample of every 20 ms that was recorded."""

from collections.abc import Sequence

from calls.media.audio import FRAME_SAMPLES, peaks
from calls.media.rows import AnyRow, ChunkRow


# Speech is as loud in every other sample, which costs half.
STEP = 2

# The lane (0 inbound, 1 outbound), its first sample on the stream's clock, and a byte (0-127) for each 20 ms.
Piece = tuple[int, int, bytes]


class Outlines:
    """Those of one process's streams, each since it was told of last."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[Piece]] = {}

    def add(self, stream: str, rows: Sequence[AnyRow]) -> None:
        """What a stream has recorded since then. About 0.1 ms for each second of a lane."""
        pieces = self._pieces.setdefault(stream, [])
        for row in rows:
            if type(row) is ChunkRow:
                _put(pieces, int(row.track != "inbound"), row.start, peaks(row.payload, step=STEP))

    def take(self, stream: str) -> list[Piece]:
        """All of it; it is told now."""
        return self._pieces.pop(stream, [])

    def forget(self, others: set[str]) -> None:
        """Only these streams are still told of."""
        self._pieces = {stream: pieces for stream, pieces in self._pieces.items() if stream in others}


def _put(pieces: list[Piece], lane: int, start: int, new: bytes) -> None:
    """Behind the lane's last piece, where that ends there."""
    for at in reversed(range(len(pieces))):
        before, begun, known = pieces[at]
        if before == lane:
            if start == begun + len(known) * FRAME_SAMPLES:
                pieces[at] = (lane, begun, known + new)
                return
            break
    pieces.append((lane, start, new))
