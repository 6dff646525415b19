"""Who on this process follows which calls, wherever these are held: one subscription a process, however many pages."""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from django.db import Error as DatabaseError

from calls.models import Stream
from calls.post.post import AGAIN, Letter, MailboxFull, PostAway, mailbox, post
from calls.server.hints import group as hints_of
from calls.supervision.audience import group
from calls.supervision.lookups import look_up


logger = logging.getLogger(__name__)

# Seconds between two times that this process says what it follows, and looks which process holds it.
EVERY = 5.0
# Numbers of letters that are remembered, for the layer may deliver one twice.
REMEMBERED = 64


class Follower(Protocol):
    """A page that follows a call. Nothing of it waits."""

    call_sid: str
    #: Whether it wants the audio too.
    listens: bool

    def told(self, entry: dict[str, Any]) -> None:
        """What the process that holds the call has told of one of its streams (`Audience.hear`)."""

    def changed(self) -> None:
        """Something is new that nobody tells in full: look again."""


class Numbers:
    """Of the letters of one process."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._seen: deque[int] = deque(maxlen=REMEMBERED)

    def is_new(self, number: int) -> bool:
        """Whether that letter has not come before."""
        return number not in self._seen

    def note(self, number: int) -> bool:
        """It has come. Whether others that were sent before it have not."""
        last, self._last = self._last, number if self._last is None else max(self._last, number)
        self._seen.append(number)
        return last is not None and number > last + 1


class Followers:
    """Those of one process."""

    def __init__(self) -> None:
        self._followers: dict[str, list[Follower]] = defaultdict(list)
        #: Those that want the waveform too.
        self._drawing: list[Follower] = []
        #: The processes whose groups this one has joined, and the calls whose hints it gets.
        self._owners: set[str] = set()
        self._hinted: set[str] = set()
        #: By call, the processes that held its streams when we looked last.
        self._holders: dict[str, set[str]] = {}
        self._numbers: dict[str, Numbers] = {}
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
        """A process tells of its calls. TypeError or KeyError for a letter that is none."""
        owner, number = _text(letter["from"]), letter["number"]
        entries = [(_text(entry["call"]), entry) for entry in letter["streams"]]
        if type(number) is not int:
            raise TypeError("a letter without a number")
        # Of a group that we have left, nothing is missed.
        numbers = self._numbers.setdefault(owner, Numbers()) if owner in self._owners else Numbers()
        if not numbers.is_new(number):
            return
        is_lost = numbers.note(number)
        for sid, entry in entries:
            for follower in self._of(sid):
                _tell(follower, entry)
        if is_lost:
            # Sound shows its hole by its positions; of the rest nobody knows what it was.
            for sid, owners in self._holders.items():
                if owner in owners:
                    self._change(sid)

    def changed(self, letter: Letter) -> None:
        """A hint (calls.server.hints). The call may be on its way to another process, too."""
        self._change(_text(letter["call"]))
        self._wake.set()

    def _change(self, sid: str) -> None:
        for follower in self._of(sid):
            _tell(follower, None)

    def _of(self, sid: str) -> list[Follower]:
        return [*self._followers.get(sid, ())]

    # --- saying what we follow ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Says it for as long as the process lives; at once, when something changes."""
        self._wake = asyncio.Event()
        if self._followers:
            self._wake.set()
        while True:
            # A layer that was restarted has forgotten who is in which group.
            every = AGAIN if post.is_away else EVERY
            with suppress(TimeoutError):
                async with asyncio.timeout(every if self._followers else None):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._say()
            except PostAway:
                # Whoever follows sees it, and the post says so in the log.
                await asyncio.sleep(AGAIN)
            except Exception:
                logger.exception("followers_failed; going on")
                await asyncio.sleep(AGAIN)

    async def _say(self) -> None:
        await self._look()
        wanted = {sid: any(one.listens for one in own) for sid, own in self._followers.items()}
        drawn = {one.call_sid for one in self._drawing}
        by_owner: dict[str, dict[str, bool]] = {owner: {} for owner in self._owners}
        for sid, owners in self._holders.items():
            for owner in owners:
                if sid in wanted:
                    by_owner.setdefault(owner, {})[sid] = wanted[sid]
        await self._join_hints(wanted.keys())
        for owner, calls in by_owner.items():
            await self._say_to(owner, calls, [sid for sid in calls if sid in drawn])

    async def _look(self) -> None:
        """Who holds which of the calls by now. Without a database it is who did."""
        wanted = [*self._followers]
        try:
            found = await look_up(lambda: _holders(wanted))
        except DatabaseError:
            # The recorder says so in the log.
            return
        before, self._holders = self._holders, {sid: set() for sid in wanted}
        for sid, owner in found:
            self._holders[sid].add(owner)
        for sid in wanted:
            # It has ended or moved, and the letter that told of it may be lost.
            if sid in before and before[sid] != self._holders[sid]:
                self._change(sid)

    async def _join_hints(self, wanted: Iterable[str]) -> None:
        for sid in self._hinted - set(wanted):
            await post.leave(hints_of(sid))
            self._hinted.discard(sid)
        for sid in [*wanted]:
            self._hinted.add(sid)
            await post.join(hints_of(sid))

    async def _say_to(self, owner: str, calls: dict[str, bool], drawn: list[str]) -> None:
        if calls:
            self._owners.add(owner)
            await post.join(group(owner))
        else:
            await post.leave(group(owner))
        letter: Letter = {"type": "audience.follow", "from": post.address, "calls": calls, "drawn": drawn}
        # One that has died empties its mailbox no more.
        with suppress(MailboxFull):
            await post.send(mailbox(owner), letter)
        if not calls:
            self._owners.discard(owner)
            self._numbers.pop(owner, None)


def _tell(follower: Follower, entry: dict[str, Any] | None) -> None:
    """One that fails costs the others nothing."""
    try:
        if entry is None:
            follower.changed()
        else:
            follower.told(entry)
    except Exception:
        logger.exception("follower_failed call=%s; going on", follower.call_sid)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {ascii(value)[:80]}")
    return value


def _holders(sids: list[str]) -> list[tuple[str, str]]:
    """Calls and the processes that hold their streams."""
    if not sids:
        return []
    streams = Stream.objects.live().filter(call__sid__in=sids).exclude(lease_owner="")
    return [(sid, owner) for sid, owner in streams.values_list("call__sid", "lease_owner") if sid]


# Those of this process.
followers = Followers()
