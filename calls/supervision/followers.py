"""Who on this process follows which calls, wherever these are held: one subscription a process, however many pages."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError

from calls.models import Stream
from calls.post.post import Letter, PostAway, mailbox, post
from calls.server.hints import group as hints_of
from calls.supervision.audience import group


logger = logging.getLogger(__name__)

# Seconds between two times that this process says what it follows, and looks which process holds it.
EVERY = 5.0


class Follower(Protocol):
    """A page that follows a call. Nothing of it waits."""

    call_sid: str
    #: Whether it wants the audio too.
    listens: bool

    def told(self, entry: dict[str, Any]) -> None:
        """What the process that holds the call has told of one of its streams (`Audience.hear`)."""

    def changed(self) -> None:
        """Something is new that nobody tells in full: look again."""


class Followers:
    """Those of one process."""

    def __init__(self) -> None:
        self._followers: dict[str, list[Follower]] = defaultdict(list)
        #: Those that want the waveform too.
        self._drawing: list[Follower] = []
        #: The processes whose groups this one has joined, and the calls whose hints it gets.
        self._owners: set[str] = set()
        self._hinted: set[str] = set()
        #: The last number of a process's letters.
        self._numbers: dict[str, int] = {}
        self._wake = asyncio.Event()

    def add(self, follower: Follower, *, draws: bool = False) -> None:
        """From now on; also where it follows already, and listens or `draws` (wants `peaks`) now."""
        if follower not in self._followers[follower.call_sid]:
            self._followers[follower.call_sid].append(follower)
        if draws and follower not in self._drawing:
            self._drawing.append(follower)
        self._wake.set()

    def remove(self, follower: Follower) -> None:
        """Not any more; nothing happens if it did not follow."""
        if follower in self._drawing:
            self._drawing.remove(follower)
        own = self._followers.get(follower.call_sid, [])
        if follower in own:
            own.remove(follower)
        if not own:
            self._followers.pop(follower.call_sid, None)
        self._wake.set()

    # --- what comes ---------------------------------------------------------------------------------------------------

    def told(self, letter: Letter) -> None:
        """A process tells of its calls."""
        owner, number = letter["from"], letter["number"]
        before = self._numbers.get(owner)
        self._numbers[owner] = number
        entries = letter["streams"]
        for entry in entries:
            for follower in self._of(entry["call"]):
                follower.told(entry)
        if before is not None and number != before + 1:
            # A letter was lost. Sound shows its hole by its positions; of the rest nobody knows what it was.
            for sid in [*self._followers]:
                self._change(sid)

    def changed(self, letter: Letter) -> None:
        """A hint (calls.server.hints). The call may be on its way to another process, too."""
        self._change(letter["call"])
        self._wake.set()

    def _change(self, sid: str) -> None:
        for follower in self._of(sid):
            follower.changed()

    def _of(self, sid: str) -> list[Follower]:
        return [*self._followers.get(sid, ())]

    # --- saying what we follow ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Says it for as long as the process lives; at once, when something changes."""
        self._wake = asyncio.Event()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY if self._followers else None):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._say()
            except (PostAway, DatabaseError):
                # Whoever follows sees it; both say so in the log.
                continue
            except Exception:
                logger.exception("followers_failed; going on")

    async def _say(self) -> None:
        wanted = {sid: any(one.listens for one in own) for sid, own in self._followers.items()}
        drawn = {one.call_sid for one in self._drawing}
        by_owner: dict[str, dict[str, bool]] = {owner: {} for owner in self._owners}
        for sid, owner in await sync_to_async(_holders)(wanted):
            by_owner.setdefault(owner, {})[sid] = wanted[sid]
        for sid in wanted:
            await post.join(hints_of(sid))
        for sid in self._hinted - wanted.keys():
            await post.leave(hints_of(sid))
        self._hinted = set(wanted)
        for owner, calls in by_owner.items():
            if calls:
                await post.join(group(owner))
            what = {"calls": calls, "drawn": [sid for sid in calls if sid in drawn]}
            await post.send(mailbox(owner), {"type": "audience.follow", "from": post.address, **what})
            if calls:
                self._owners.add(owner)
            else:
                await post.leave(group(owner))
                self._owners.discard(owner)
                self._numbers.pop(owner, None)


def _holders(sids: Iterable[str]) -> list[tuple[str, str]]:
    """Calls and the processes that hold their streams."""
    if not (known := [*sids]):
        return []
    streams = Stream.objects.live().filter(call__sid__in=known).exclude(lease_owner="")
    return [(sid, owner) for sid, owner in streams.values_list("call__sid", "lease_owner") if sid]


# Those of this process.
followers = Followers()
