"""Those who are listened to while they speak, and who listens: browsers that get it from another process."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect

from benchmark.callers import CONNECTED, place
from benchmark.load import BenchmarkError, Load, build
from benchmark.servers import Server, cursor


# Bytes of a message before its audio: the lane, and where that begins, in samples.
HEADER = 9
# Seconds between two times that a browser says how far it is.
EVERY = 0.5
# Seconds in which the sound of every call has to come.
PATIENCE = 30


@contextmanager
def heard_calls(folder: Path, server: Server, core: int, count: int) -> Iterator[list[int]]:
    """The keys of that many calls to `echo`, which run."""
    with Load(build(folder), server.port, core) as load:
        calls = place(server, count)
        for call in calls:
            load.open(call, CONNECTED)
        load.measure(2)
        sids = ", ".join(f"'{call.call_sid}'" for call in calls)
        with cursor(server.database_url) as rows:
            rows.execute(f"SELECT id FROM calls_call WHERE sid IN ({sids})")
            keys = [pk for [pk] in rows.fetchall()]
        if len(keys) < count:
            raise BenchmarkError(f"Only {len(keys)} of {count} calls are stored after 2 s.")
        yield keys


class Listener:
    """A browser that listens to one call."""

    def __init__(self, heard: list[int], number: int) -> None:
        self._heard, self._number = heard, number
        self._stream, self._end = "", 0
        #: What the server said last that is no sound.
        self.word = "nothing"

    async def listen(self, url: str, origin: str, cookie: str) -> None:
        async with connect(url, origin=origin, additional_headers={"Cookie": cookie}, compression=None) as socket:  # type: ignore[arg-type]
            await socket.send('{"type": "listen"}')
            saying = asyncio.create_task(self._say(socket))
            try:
                async for message in socket:
                    self._take(message)
            finally:
                saying.cancel()

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            size = len(message) - HEADER
            self._heard[self._number] += size
            self._end = max(self._end, int.from_bytes(message[1:HEADER]) + size)
            return
        said = json.loads(message)
        self.word = said["type"]
        if self.word == "stream":
            self._stream, self._end = said["stream"], 0

    async def _say(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await socket.send(json.dumps({"type": "heard", "stream": self._stream, "got": self._end}))


@contextmanager
def listeners(server: Server, cookie: str, pks: list[int]) -> Iterator[list[int]]:
    """One for each call, all of whom hear something by now. How many samples each has got."""
    heard, failed, is_over = [0] * len(pks), list[str](), threading.Event()
    browsers = [Listener(heard, number) for number in range(len(pks))]

    async def listen() -> None:
        url = server.url.replace("http", "ws", 1)
        tasks = [
            asyncio.create_task(browser.listen(f"{url}/live/calls/{pk}/audio", server.url, cookie))
            for browser, pk in zip(browsers, pks, strict=True)
        ]
        waiting = asyncio.create_task(asyncio.to_thread(is_over.wait))
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        failed.extend(str(task.exception() or "closed") for task in done if task is not waiting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        is_over.set()

    thread = threading.Thread(target=asyncio.run, args=[listen()])
    thread.start()
    try:
        give_up = time.monotonic() + PATIENCE
        while not all(heard) and not failed and time.monotonic() < give_up:
            time.sleep(0.1)
        if not all(heard):
            words = failed or [browser.word for browser, got in zip(browsers, heard, strict=True) if not got]
            raise BenchmarkError(f"{sum(map(bool, heard))} of {len(pks)} are heard; of the others: {', '.join(words)}")
        yield heard
    finally:
        is_over.set()
        thread.join()
    if failed:
        raise BenchmarkError(f"A listener was sent away: {failed[0]}")
