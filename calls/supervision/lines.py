"""What goes over a browser's socket, either way, and how much of it may."""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any


Message = dict[str, Any]

# Messages, and their bytes, that wait for a browser that does not read; seconds that it may take to one of them.
MOST_WAITING = 200
MOST_BYTES_WAITING = 2_000_000
MOST_SECONDS = 15.0
# What a browser says in one message, and how often: more than any page of ours does. It is read on the loop that
# carries the calls.
MOST_TEXT, MOST_BYTES = 16_384, 65_536
MOST_A_SECOND, MOST_AT_ONCE = 200, 600
# Messages that are taken before others get their turn.
FAIR_SHARE = 16

# Why a socket is closed: for the page's script. daphne takes 1000 and 3000-4999 only.
TOO_MUCH, TOO_SLOW = 4413, 4429


class TooMuch(Exception):
    """The browser says more than any page of ours does."""


class Outgoing:
    """What waits to be sent."""

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: deque[tuple[Message, int]] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        #: What it is closed with, once it is.
        self.code: int | None = None

    def put(self, message: Message, size: int) -> None:
        """Never waits; who does not read is sent away, and gets nothing of what waits."""
        if self.code is not None:
            return
        self._bytes += size
        self._waiting.append((message, size))
        if len(self._waiting) > MOST_WAITING or self._bytes > MOST_BYTES_WAITING:
            self.close(TOO_SLOW, at_once=True)
        self._wake.set()

    def close(self, code: int, *, at_once: bool = False) -> None:
        """Behind what waits, or instead of it; once, with the first code."""
        if at_once:
            self._waiting.clear()
        if self.code is None:
            self.code = code
            self._wake.set()

    async def run(self) -> None:
        """Sends until it is closed. OSError or RuntimeError: the browser is gone; TimeoutError: it does not read."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                message, size = self._waiting.popleft()
                self._bytes -= size
                async with asyncio.timeout(MOST_SECONDS):
                    await self._send(message)
            if self.code is not None:
                async with asyncio.timeout(MOST_SECONDS):
                    await self._send({"type": "websocket.close", "code": self.code})
                return


async def incoming(receive: Callable[[], Awaitable[Message]]) -> AsyncIterator[Message | bytes]:
    """JSON objects and bytes, until the browser is gone. What is neither is left out; TooMuch."""
    left, at, taken = float(MOST_AT_ONCE), time.monotonic(), 0
    while (message := await receive())["type"] == "websocket.receive":
        now = time.monotonic()
        left, at = min(left + (now - at) * MOST_A_SECOND, MOST_AT_ONCE) - 1, now
        text, data = message.get("text"), message.get("bytes")
        if left < 0 or len(text or "") > MOST_TEXT or len(data or b"") > MOST_BYTES:
            raise TooMuch
        if text is None:
            yield data or b""
        elif (said := _object(text)) is not None:
            yield said
        taken += 1
        if taken % FAIR_SHARE == 0:
            # daphne's queue never makes us wait, and a flood would keep the loop for itself.
            await asyncio.sleep(0)


def _object(text: str) -> Message | None:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
