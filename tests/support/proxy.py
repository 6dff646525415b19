"""A TCP proxy that fails on demand: between us and PostgreSQL, Redis, or whatever else may go away.

with Proxy("127.0.0.1", 5432) as proxy:
    connect_to("127.0.0.1", proxy.port)
    proxy.mode = "freeze"   # bytes wait, nothing is closed: a stopped server, a hole in the network
    proxy.mode = "cut"      # every connection is reset and new ones are refused: a server that is down
    proxy.delay = 0.5; proxy.mode = "delay"  # every chunk comes half a second late, in either direction
    proxy.mode = "pass"     # all is well; what was frozen goes on
"""

import asyncio
import threading
from contextlib import suppress
from typing import Literal, Self


Mode = Literal["pass", "freeze", "cut", "delay"]


class Proxy:
    """Runs in a thread of its own, so that it also serves tests that block."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.delay = 0.5
        self.port = 0
        self._mode: Mode = "pass"
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._loop.set_debug(False)  # What stands between is not what is tested.
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        """Holds for the connections that there are and for new ones, from the moment that this returns."""
        self._do(self._set(mode))

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _open(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _set(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "freeze":
            self._flowing.clear()
        else:
            self._flowing.set()
        if mode == "cut":
            self._abort()
            await asyncio.sleep(0)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._mode == "cut":
                return
            await self._flowing.wait()
            # The proxy goes, and takes its connections along.
            with suppress(OSError, asyncio.CancelledError):
                there, back = await asyncio.open_connection(*self.target)
                self._writers.add(back)
                try:
                    await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
                finally:
                    self._writers.discard(back)
                    back.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self._mode == "delay":
                    await asyncio.sleep(self.delay)
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        self._flowing.set()
        self._abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
