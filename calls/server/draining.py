"""Has a worker take no new calls, and take them again: what somebody asks for, and the worker that does it.

The order is in the worker's row, where it is read with the heartbeat. A letter only has it read at once.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from contextlib import suppress

from asgiref.sync import async_to_sync
from django.db import transaction

from calls.models import Worker
from calls.post.post import Letter, PostAway, mailbox, post
from calls.recorder import recorder
from calls.recorder.attendance import DrainOrder
from calls.server.switchboard import NOTICE, Switchboard, switchboard


logger = logging.getLogger(__name__)

LOOK = "worker.look"


# --- whoever asks ----------------------------------------------------------------------------------------------------


class NoneLeft(Exception):
    """No worker would take calls any more."""


class NotThere(Exception):
    """A worker that has ended, or is not heard of, reads nothing."""


def drain(keys: Collection[int], *, by: str, seconds: float | None = None, all_of_them: bool = False) -> list[Worker]:
    """Asks these workers to take no new calls; their calls go on, or are handed on after that many seconds.

    Raises NoneLeft where no other one would take calls, unless that is meant, and NotThere.
    """
    with transaction.atomic():
        # All that live, in one order: two people might each leave the other's worker.
        alive = {worker.pk: worker for worker in Worker.objects.alive().select_for_update().order_by("pk")}
        chosen = _chosen(keys, alive)
        others = [worker for worker in alive.values() if worker.pk not in keys and not worker.is_to_drain]
        if not others and not all_of_them:
            raise NoneLeft("No worker would take new calls any more.")
        for worker in chosen:
            worker.ask_to_drain(by, seconds)
    _have_it_read(chosen)
    return chosen


def take_again(keys: Collection[int]) -> list[Worker]:
    """Asks workers that drain to take new calls again. Raises NotThere."""
    with transaction.atomic():
        alive = {worker.pk: worker for worker in Worker.objects.alive().select_for_update().order_by("pk")}
        chosen = _chosen(keys, alive)
        for worker in chosen:
            worker.call_off_drain()
    _have_it_read(chosen)
    return chosen


def _chosen(keys: Collection[int], alive: dict[int, Worker]) -> list[Worker]:
    if gone := set(keys) - set(alive):
        names = ", ".join(map(str, Worker.objects.filter(pk__in=gone))) or "It"
        raise NotThere(f"{names} is not there any more.")
    return [alive[key] for key in keys]


def _have_it_read(workers: Sequence[Worker]) -> None:
    async def tell() -> None:
        for worker in workers:
            with suppress(PostAway):
                await post.send(mailbox(worker.owner), {"type": LOOK})

    async_to_sync(tell)()


# --- the worker ------------------------------------------------------------------------------------------------------


class Orders:
    """Does what this process's row asks for. In the event loop, but for `read`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, switchboard: Switchboard = switchboard) -> None:
        self._loop = loop
        self._switchboard = switchboard
        self._order: DrainOrder | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def start(self) -> None:
        recorder.attendance.on_order = self.read
        post.take(LOOK, self.look)

    def look(self, letter: Letter) -> None:
        """Somebody has written an order."""
        recorder.hasten()

    def read(self, order: DrainOrder | None) -> None:
        """Called from the writer thread with each heartbeat."""
        if order != self._order:
            self._loop.call_soon_threadsafe(self.obey, order)

    def obey(self, order: DrainOrder | None) -> None:
        if self._is_closed or order == self._order:
            return
        self._order = order
        if self._task is not None:
            self._task.cancel()
        if order is not None:
            self._task = self._loop.create_task(self._drain(order))
        elif self._task is not None:
            self._task = None
            self._switchboard.take_again()
            logger.warning("drain_called_off active=%d", self._switchboard.count)
            recorder.hasten()

    async def _drain(self, order: DrainOrder) -> None:
        """The process stays, and says that it is not ready."""
        limit = "none" if order.seconds is None else f"{order.seconds:g}s"
        logger.warning("drain_asked active=%d limit=%s", self._switchboard.count, limit)
        # The proxy has to know before calls come back to it.
        seconds = None if order.seconds is None else max(order.seconds, NOTICE)
        recorder.hasten()
        cut = await self._switchboard.drain(seconds, asyncio.Event())
        logger.warning("drain_empty cut=%d", cut)
        recorder.hasten()

    def close(self) -> None:
        """The process ends, and drains by itself."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
