"""The audio of an exported call, each piece checked as it is read: against its own checksum, and against its place."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from msgspec import DecodeError, Meta, Struct, json

from calls.media.lane import MAX_CHUNK
from calls.recordings.imports.errors import Unimportable
from calls.recordings.imports.shape import MOST_SAMPLES
from calls.recordings.imports.sources import FRAMES, Parcel


# Ten seconds in base64, and what stands around them.
_MOST_LINE = MAX_CHUNK // 3 * 4 + 1000
# Of all streams and both sides: what a day's call has with a second stream beside the first. Silence packs well.
MOST_AUDIO = 2 * MOST_SAMPLES


class Piece(Struct, forbid_unknown_fields=True):
    """A run of µ-law, and where it lies on its stream's clock."""

    stream: str
    track: Literal["inbound", "outbound"]
    index: Annotated[int, Meta(ge=0)]
    start: Annotated[int, Meta(ge=0, le=MOST_SAMPLES)]
    length: Annotated[int, Meta(gt=0, le=MAX_CHUNK)]
    sha256: str
    payload: bytes


def pieces(parcel: Parcel, sha256: str, told: Callable[[int], object]) -> Iterator[Piece]:
    """All of them, in order; `told` how many bytes of the file each took. Unimportable as soon as one is wrong.

    The file's own checksum is compared at its end, unless it has none.
    """
    known, lanes, total = hashlib.sha256(), dict[tuple[str, str], tuple[int, int]](), 0
    with parcel.open(FRAMES) as file:
        for number, line in enumerate(iter(lambda: file.readline(_MOST_LINE + 1), b""), 1):
            known.update(line)
            piece = _piece(line, number)
            index, end = lanes.get((piece.stream, piece.track), (0, 0))
            if piece.index != index or piece.start < end:
                raise Unimportable(f"line {number} of its frames is not the one that follows: some are lost or moved")
            lanes[piece.stream, piece.track] = index + 1, piece.start + piece.length
            total += piece.length
            if total > MOST_AUDIO:
                raise Unimportable("it has more audio than a call can have")
            yield piece
            told(len(line))
    if sha256 and known.hexdigest() != sha256:
        raise Unimportable("its frames are not those that were exported: their checksum is another one")


def _piece(line: bytes, number: int) -> Piece:
    if len(line) > _MOST_LINE or not line.endswith(b"\n"):
        raise Unimportable(f"line {number} of its frames is {'too long' if len(line) > _MOST_LINE else 'cut short'}")
    try:
        piece = json.decode(line, type=Piece)
    except (DecodeError, RecursionError) as error:
        raise Unimportable(f"line {number} of its frames cannot be read: {error}") from error
    if len(piece.payload) != piece.length or hashlib.sha256(piece.payload).hexdigest() != piece.sha256:
        raise Unimportable(f"line {number} of its frames does not hold the audio that was exported")
    return piece
