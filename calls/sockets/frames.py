"""The frames of RFC 6455 that take the short way: final texts with their length in two bytes. No server, no asyncio."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from calls.quick._quick import Path

# In C, where that is built. Where websockets has it no more, neither server takes the short way.
with suppress(ImportError):
    from websockets.frames import apply_mask  # type: ignore[attr-defined]


# In scope["extensions"]: a ShortWay.
EXTENSION = "callstream.short_way"
# How a frame begins: a final text, masked as a client's has to be and a server's must not, and the length's size.
FINAL_TEXT, MASKED, SIZE = 0x81, 0x80, 0x7F
IN_TWO_BYTES = 126
# Two bytes, two of length, four of mask.
HEAD = 8
LONGEST = 0xFFFF


class ShortWay(Protocol):
    """What a server's protocol offers to a consumer."""

    def listen(self, listener: Callable[[str], None], path: "Path | None" = None) -> None:
        """From now on texts go to this function, which must not raise, rather than to `receive`.

        `path` takes of them what it can first, and may write to the socket, as long as the socket is open.
        """

    def write(self, text: str) -> bool:
        """Sends a text at once; False, and nothing is sent, if it has to go by `send`."""


def frame_size(data: bytes, at: int = 0) -> int:
    """The bytes of the frame that begins there, whatever it is, with its header; 0 if too little of that has come."""
    left = len(data) - at
    if left < 2:
        return 0
    size, head = data[at + 1] & SIZE, 2
    if size >= IN_TWO_BYTES:
        head = 4 if size == IN_TWO_BYTES else 10
        if left < head:
            return 0
        size = int.from_bytes(data[at + 2 : at + head])
    return head + size + (4 if data[at + 1] & MASKED else 0)


def text_in(frame: bytes) -> str | None:
    """The text of a frame that is whole and takes the short way; None for every other one."""
    size = len(frame) - HEAD
    if (
        size < IN_TWO_BYTES
        or frame[0] != FINAL_TEXT
        or frame[1] != MASKED | IN_TWO_BYTES
        or frame[2] << 8 | frame[3] != size
    ):
        return None
    try:
        return apply_mask(frame[HEAD:], frame[4:HEAD]).decode()
    except UnicodeDecodeError:
        return None


def framed(text: str) -> bytes | None:
    """The frame of a text of ours; None if it is too short or too long for the short way."""
    payload = text.encode()
    size = len(payload)
    return b"\x81\x7e" + size.to_bytes(2) + payload if IN_TWO_BYTES <= size <= LONGEST else None
