"""A browser's end of a socket to a page of ours, straight on the ASGI application."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

from asgiref.sync import sync_to_async
from django.test import Client

from calls.routing import websocket


# What does not come within this many seconds does not come.
PATIENCE = 8
ORIGIN = (b"origin", b"https://voice.example.org")


class Browser:
    """What it is sent, in order: dicts for JSON, bytes, and the code it is closed with."""

    def __init__(self, path: str, cookie: str, client: str) -> None:
        headers = [ORIGIN, (b"host", b"voice.example.org"), (b"cookie", f"sessionid={cookie}".encode())]
        self._scope = {"type": "websocket", "path": path, "headers": headers, "subprotocols": []}
        self._scope |= {"query_string": b"", "client": [client, 50_000]}
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[Any] = asyncio.Queue()
        #: Cleared for a peer that reads nothing: what is sent to it is never sent.
        self.reads = asyncio.Event()
        self.reads.set()
        self.is_stuck = asyncio.Event()

    async def open(self) -> bool:
        """Whether it is let in."""
        self.task = asyncio.create_task(websocket(self._scope, self._to_app.get, self._take))  # type: ignore[arg-type]
        self._to_app.put_nowait({"type": "websocket.connect"})
        return await self.next() == "websocket.accept"

    async def _take(self, message: dict[str, Any]) -> None:
        if not self.reads.is_set():
            self.is_stuck.set()
        await self.reads.wait()
        if message["type"] == "websocket.close":
            self._from_app.put_nowait(message["code"])
        elif message["type"] == "websocket.accept":
            self._from_app.put_nowait(message["type"])
        else:
            text = message.get("text")
            self._from_app.put_nowait(message["bytes"] if text is None else json.loads(text))

    async def next(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self._from_app.get()

    def left(self) -> list[Any]:
        """What has come that nobody has looked at."""
        return [self._from_app.get_nowait() for _ in range(self._from_app.qsize())]

    def say(self, **said: Any) -> None:
        self._to_app.put_nowait({"type": "websocket.receive", "text": json.dumps(said)})

    async def close(self) -> None:
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1001})
        async with asyncio.timeout(PATIENCE):
            await self.task


@asynccontextmanager
async def browser(path: str, user: Any, client: str = "198.51.100.7"):
    """On that page as that user; whether it was let in is up to the test."""
    own = Client()
    await sync_to_async(own.force_login)(user)
    found = Browser(path, own.cookies["sessionid"].value, client)
    yield found
    if not found.task.done():
        await found.close()
