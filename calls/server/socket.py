"""The media socket, as ASGI has it: frames come in, texts and one close go out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from calls.sockets.frames import ShortWay


if TYPE_CHECKING:
    from calls.quick._quick import Path

logger = logging.getLogger(__name__)

# Seconds for which a close may keep us waiting, and for which we wait for the other side to close too.
CLOSE_PATIENCE = 1

Frame = dict[str, Any]
Receive = Callable[[], Awaitable[Frame]]
Send = Callable[[Frame], Awaitable[None]]


class SocketClosed(Exception):
    """Nothing can be sent any more: we have closed it, or the other side is gone."""


class Socket:
    """Twilio's connection to us."""

    __slots__ = ("_send", "_short_way", "address", "close_code", "is_closed", "receive")

    def __init__(self, receive: Receive, send: Send, short_way: ShortWay | None = None, address: str = "") -> None:
        """`short_way` is there where the server offers one (calls.sockets); `address` is where the server took it."""
        self.receive = receive
        self._send = send
        self._short_way = short_way
        self.address = address
        self.is_closed = False
        #: What the other side has closed it with.
        self.close_code: int | None = None

    def listen(self, listener: Callable[[str], None], path: "Path | None" = None) -> None:
        """From now on texts may go to this function, which must not raise, rather than to `receive`."""
        if self._short_way is not None:
            self._short_way.listen(listener, path)

    def note_closed(self, code: int | None) -> None:
        """The other side has closed it."""
        self.is_closed = True
        self.close_code = code

    def write(self, text: str) -> bool:
        """Sends a text without waiting, where the server can; False if it has to go by `send`."""
        return self._short_way is not None and not self.is_closed and self._short_way.write(text)

    async def send(self, text: str) -> None:
        if self.is_closed:
            raise SocketClosed("it is closed")
        try:
            await self._send({"type": "websocket.send", "text": text})
        except (OSError, RuntimeError) as error:
            # The caller has just hung up: uvicorn raises an OSError, autobahn below daphne a RuntimeError.
            self.is_closed = True
            raise SocketClosed(f"it is gone: {error}") from error

    async def close(self, code: int, reason: str = "") -> None:
        """Closes it, if it is open. A peer that is gone already is no error."""
        if self.is_closed:
            return
        self.is_closed = True
        try:
            # A peer that does not read may keep us waiting for ever.
            async with asyncio.timeout(CLOSE_PATIENCE):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except (OSError, RuntimeError) as error:  # TimeoutError is an OSError
            logger.info("close_failed: %s", error)
