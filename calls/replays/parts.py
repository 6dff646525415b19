"""What the caller did on one stream: the script of whoever plays them again. Pure.

Positions are samples on the stream's own clock.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from calls.media.audio import FRAME_SAMPLES, SAMPLES_PER_MS, SILENCE


class Key(msgspec.Struct, frozen=True):
    at_ms: int
    digit: str


class Part(msgspec.Struct, frozen=True):
    """`caller` is the lane in runs of µ-law, each with its position and none over another; what no run covers is a hole
    of the line, in which Twilio sent nothing.

    `leaves`: whether the caller hung up at its end; otherwise we ended it, and they would have stayed.
    """

    caller: Sequence[tuple[int, bytes]]
    keys: tuple[Key, ...]
    length: int
    leaves: bool

    @property
    def frames(self) -> Iterator[bytes | None]:
        """The caller's audio in frames of 20 ms; None where there is nothing of one."""
        runs = iter(self.caller)
        run = next(runs, None)
        for start in range(0, self.length, FRAME_SAMPLES):
            pieces = []
            while run is not None and run[0] < start + FRAME_SAMPLES:
                pieces.append(run)
                if run[0] + len(run[1]) > start + FRAME_SAMPLES:
                    break
                run = next(runs, None)
            yield _frame(start, pieces)

    @property
    def lane(self) -> bytes:
        """The same in one piece, as long as the stream was; holes are silence."""
        lane = bytearray(SILENCE * self.length)
        for start, audio in self.caller:
            lane[start : start + len(audio)] = audio
        return bytes(lane[: self.length])

    def pressed(self, frame: int) -> str:
        """The keys that were pressed while that frame was spoken."""
        per_frame = FRAME_SAMPLES // SAMPLES_PER_MS
        return "".join(key.digit for key in self.keys if key.at_ms // per_frame == frame)


def joined(pieces: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Runs in order of their positions, as long as they can be; of what lies over another the first one stays."""
    found: list[tuple[int, bytearray]] = []
    for start, audio in pieces:
        end = found[-1][0] + len(found[-1][1]) if found else 0
        audio = audio[max(0, end - start) :]
        if found and start <= end:
            found[-1][1].extend(audio)
        else:
            found.append((start, bytearray(audio)))
    return [(start, bytes(audio)) for start, audio in found]


def _frame(start: int, pieces: list[tuple[int, bytes]]) -> bytes | None:
    """20 ms from there on, of the runs that reach into it; what they leave open is silence."""
    frame, is_heard = bytearray(SILENCE * FRAME_SAMPLES), False
    for at, audio in pieces:
        piece = audio[max(0, start - at) : max(0, start + FRAME_SAMPLES - at)]
        begin = max(0, at - start)
        frame[begin : begin + len(piece)] = piece
        is_heard = is_heard or bool(piece)
    return bytes(frame) if is_heard else None
