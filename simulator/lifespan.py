"""How an ASGI application is started and stopped: https://asgi.readthedocs.io/en/stable/specs/lifespan.html."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from simulator.carrier import CallFailed


Message = MutableMapping[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]

# Seconds for what an application still does when everything is answered.
LAST_WORDS = 15.0


async def first(*futures: asyncio.Future[Any], timeout: float | None = None) -> None:
    """Waits for one of them, or so long."""
    await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


class Lifespan:
    """One application's, if it speaks of it at all."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """CallFailed if the application says that it cannot start."""
        self._answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name="lifespan")
        answer = await self._ask("startup")
        if answer and answer["type"] == "lifespan.startup.failed":
            raise CallFailed(f"the server did not start: {answer.get('message') or 'it does not say why'}")

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            await self._ask("shutdown")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._task, LAST_WORDS)

    async def _ask(self, what: str) -> Message | None:
        """What it says to that; None if it does not speak lifespan."""
        assert self._task is not None, "it was started"
        self._answer = asyncio.get_running_loop().create_future()
        self._queue.put_nowait({"type": f"lifespan.{what}"})
        await first(self._task, self._answer)
        return self._answer.result() if self._answer.done() else None

    async def _run(self) -> None:
        with suppress(Exception):  # who raises here does not speak lifespan, says the specification
            await self._application(
                {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state},
                self._queue.get,
                self._take,
            )

    async def _take(self, message: Message) -> None:
        if not self._answer.done():
            self._answer.set_result(message)
