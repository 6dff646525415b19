"""Who on this process watches the list of running calls: one subscription a process, however many pages."""

import asyncio
import datetime as dt
import logging
import time
from contextlib import suppress
from typing import Any, Protocol

from django.db import Error as DatabaseError

from calls.models import Stream
from calls.post.post import Letter, MailboxFull, PostAway, mailbox, post
from calls.recorder.housekeeping import LEASE
from calls.supervision.lookups import look_up
from calls.supervision.meters import GROUP


logger = logging.getLogger(__name__)

# Seconds between two times that this process says that it watches, and looks who holds calls.
EVERY = 5.0
# A process that had calls a moment ago may have the next one: it is asked for that long, in seconds.
REMEMBERED = 60.0


class Watcher(Protocol):
    """A page with the list. Nothing of it waits."""

    def told(self, calls: list[dict[str, Any]], gone: list[str]) -> None:
        """What a process tells of its calls (`Watched.tell`), and which it had a moment ago and has not any more."""


class Watchers:
    """Those of one process."""

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []
        #: When a process was last known to hold calls.
        self._owners: dict[str, float] = {}
        #: The number of a process's last letter, and the calls in it.
        self._last: dict[str, tuple[int, set[str]]] = {}
        self._wake = asyncio.Event()

    def add(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)
        self._wake.set()

    def remove(self, watcher: Watcher) -> None:
        """Nothing happens if it did not watch."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
            self._wake.set()

    def told(self, letter: Letter) -> None:
        """A process tells of its calls."""
        owner, number, calls = letter["from"], letter["number"], letter["calls"]
        before, known = self._last.get(owner, (0, set()))
        if number <= before:
            return  # the layer delivers some twice
        named = {call["call"] for call in calls}
        self._last[owner] = number, named
        gone = sorted(known - named)
        if calls or gone:
            for watcher in [*self._watchers]:
                watcher.told(calls, gone)

    async def run(self) -> None:
        """Says that we watch, for as long as the process lives; at once, when somebody begins or ends to."""
        self._wake = asyncio.Event()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY if self._watchers else None):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._say()
            except (PostAway, DatabaseError):
                # Whoever watches sees it; both say so in the log.
                continue
            except Exception:
                logger.exception("watchers_failed; going on")

    async def _say(self) -> None:
        watches, now = bool(self._watchers), time.monotonic()
        if watches:
            await post.join(GROUP)
            self._owners |= dict.fromkeys(await look_up(_owners), now)
            self._owners = {owner: at for owner, at in self._owners.items() if now - at < REMEMBERED}
            self._last = {owner: last for owner, last in self._last.items() if owner in self._owners}
        for owner in self._owners:
            # One that has died empties its mailbox no more.
            with suppress(MailboxFull):
                await post.send(mailbox(owner), {"type": "meters.watch", "from": post.address, "watches": watches})
        if not watches:
            await post.leave(GROUP)
            self._owners.clear()
            self._last.clear()


def _owners() -> list[str]:
    """The processes that hold streams."""
    streams = Stream.objects.held(dt.timedelta(seconds=LEASE)).exclude(lease_owner="").order_by()
    return [*streams.values_list("lease_owner", flat=True).distinct()]


# Those of this process.
watchers = Watchers()
