"""Mailboxes of processes, for tests of what goes through them: in memory, and on a Redis of their own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from calls.post.post import Post


# What does not come within this many seconds does not come.
PATIENCE = 8


# Letters that a mailbox holds here: not so many that filling one takes long.
CAPACITY = 20


def layers(url: str = "") -> dict[str, Any]:
    """CHANNEL_LAYERS as the settings have them, but for the capacity."""
    if not url:
        memory = "channels.layers.InMemoryChannelLayer"
        return {"default": {"BACKEND": memory, "CONFIG": {"capacity": CAPACITY}}}
    host = {"address": url, "socket_timeout": 15, "socket_connect_timeout": 2}
    config = {"hosts": [host], "group_expiry": 120, "capacity": CAPACITY}
    return {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": config}}


class Taken:
    """What came, one thing after the other."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    def __call__(self, thing: Any) -> None:
        self._queue.put_nowait(thing)

    async def next(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self._queue.get()

    @property
    def rest(self) -> list[Any]:
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]


@contextlib.asynccontextmanager
async def working(*works: Any) -> AsyncIterator[None]:
    """Coroutines that never end, for as long as the block; one that has ended all the same is the test's failure."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def process(owner: str = "one") -> AsyncIterator[tuple[Post, Taken]]:
    """The post of a process, and the letters of type "word" that it got."""
    post, taken = Post(), Taken()
    post.take("word", taken)
    async with working(post.run(owner), post.probe()):
        # It has begun to look into its mailbox.
        await asyncio.sleep(0)
        yield post, taken
