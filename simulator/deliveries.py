"""Callbacks in the manner in which they reach an account. Twilio promises no order, and may deliver one twice."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Literal


Manner = Literal["in-order", "late", "twice", "shuffled"]
MANNERS: tuple[Manner, ...] = ("in-order", "late", "twice", "shuffled")


class Deliveries:
    """One after the other, beside the call: at once, each twice, or all when the call is over."""

    def __init__(self, manner: Manner, seed: int) -> None:
        self._manner, self._dice = manner, random.Random(seed)
        self._waiting: list[Callable[[], Awaitable[None]]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()  # which wakes its waiters in their order

    def add(self, post: Callable[[], Awaitable[None]]) -> None:
        if self._manner in ("late", "shuffled"):
            self._waiting.append(post)
        else:
            self._tasks += [asyncio.create_task(self._post(post)) for _ in range(1 + (self._manner == "twice"))]

    async def finish(self) -> None:
        """The call is over: whatever waits is delivered now."""
        if self._manner == "shuffled":
            self._dice.shuffle(self._waiting)
        self._tasks += [asyncio.create_task(self._post(post)) for post in self._waiting]
        self._waiting = []
        await asyncio.gather(*self._tasks)

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _post(self, post: Callable[[], Awaitable[None]]) -> None:
        async with self._turn:
            await post()
