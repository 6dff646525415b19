"""One address in front of several servers."""

import asyncio
import contextlib
import threading
import time
from typing import Self

from tests.support.servers import DEADLINE, free_port


class Balancer:
    """One address in front of several servers, as production's proxy is: a connection goes to one that is ready.

    Requests are answered one a connection, so that each is sent where somebody takes it.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.targets: list[int] = []
        #: Where the next connections go, ready or not: a real proxy finds out within a second.
        self.unaware: list[int] = []

    def __enter__(self) -> Self:
        started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._loop.set_debug(False)
        self._thread = threading.Thread(target=self._run, args=(started,), name="balancer", daemon=True)
        self._thread.start()
        started.wait(DEADLINE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, started: threading.Event) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
        started.set()
        await self._stop.wait()
        server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"upgrade: websocket" not in head.lower():
                head = head[:-2] + b"Connection: close\r\n\r\n"
            if (port := await self._ready()) is None:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            there, back = await asyncio.open_connection("127.0.0.1", port)
            back.write(head)
            await asyncio.gather(_pipe(reader, back), _pipe(there, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _ready(self) -> int | None:
        """Asks each in turn, again and again for 8 s, as production's proxy does."""
        if self.unaware:
            return self.unaware.pop(0)
        give_up = time.monotonic() + 8
        while time.monotonic() < give_up:
            for port in [*self.targets]:
                if await _is_ready(port):
                    return port
            await asyncio.sleep(0.1)
        return None


async def _is_ready(port: int) -> bool:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /healthz/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    return False


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        # Also when it breaks: the other side hears of it, as of a connection of its own.
        writer.close()
