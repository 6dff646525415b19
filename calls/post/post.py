"""The mailbox of a process, and the one guarded way to others'. A layer that is away costs nobody a call.

Letters cross Channels' layer (Redis; memory, where there is one process only), which loses them silently, delivers
some twice after a fault, and may be away. So none carries state: whoever needs an answer asks for one and waits a
limited time, and what must arrive in full is numbered.

A mailbox has a plain name rather than one of the layer's own for a process: `receive` for these knows one event loop a
process only, and anybody who has read in the database which process holds a call can write to it.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer


logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")
# A letter: `type`, and whatever msgpack knows.
Letter = dict[str, Any]

# Seconds for which the layer may keep whoever writes waiting, and before it is tried again after a fault.
PATIENCE = 2.0
AGAIN = 1.0
# Seconds between two letters of a process to itself while somebody watches: a layer that is frozen fails nothing of its
# own accord, and who waits for letters would hear of it after 15 s only.
PROBE_EVERY = 1.5
PROBE = "post.probe"
# Seconds for which nothing more is logged of what is wrong with letters of one kind: they come many a second.
SILENT = 60.0

# What says something of a letter, and nothing of the layer.
_ITS_OWN_FAULT = (TypeError, ValueError, OverflowError, AssertionError)


class PostAway(Exception):
    """The channel layer does not answer."""


class MailboxFull(PostAway):
    """The layer is there; whoever the letter was meant for has not emptied their mailbox for long."""


def mailbox(owner: str) -> str:
    """Where letters to a process lie. `owner` is its name in the leases of its streams (`recorder.owner`)."""
    return f"mailbox.{owner}"


class Post:
    """One process's."""

    def __init__(self) -> None:
        #: Its mailbox; "" where nobody empties one, as in a management command.
        self.address = ""
        #: Whether the layer was away when it was asked last.
        self.is_away = False
        self._takers: dict[str, Callable[[Letter], None]] = {PROBE: _nothing}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watchers: list[Callable[[bool], None]] = []
        #: Until when nothing is logged of letters of a kind.
        self._silent: dict[str, float] = {}

    def take(self, kind: str, taker: Callable[[Letter], None]) -> None:
        """Letters of that type go to `taker`, in the event loop. It never waits."""
        self._takers[kind] = taker

    def watch(self, watcher: Callable[[bool], None]) -> Callable[[], None]:
        """`watcher` hears that the layer is away (True), and that it is back. Returns what ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    async def run(self, owner: str) -> None:
        """Empties this process's mailbox for as long as the process lives."""
        self.address, self._loop = mailbox(owner), asyncio.get_running_loop()
        try:
            await self._empty()
        finally:
            self.address, self._loop = "", None

    async def _empty(self) -> None:
        while True:
            try:
                letter = await _twice(lambda: _layer().receive(self.address))
            except _ITS_OWN_FAULT:
                if self._may_log("?"):
                    logger.exception("letter_unreadable; going on")
                await asyncio.sleep(0)
            except Exception as error:
                self._note(error)
                await asyncio.sleep(AGAIN)
            else:
                self._note(None)
                self._give(letter)

    async def probe(self) -> None:
        """Finds out that the layer is away before anybody misses a letter, for as long as the process lives."""
        while True:
            await asyncio.sleep(PROBE_EVERY)
            if self._watchers:
                with suppress(PostAway):
                    await self.send(self.address, {"type": PROBE})

    def _give(self, letter: Any) -> None:
        kind = letter.get("type") if isinstance(letter, dict) else None
        taker = self._takers.get(kind) if isinstance(kind, str) else None
        if taker is None:
            # Of a newer version, while an installation is renewed process by process.
            if self._may_log(""):
                logger.info("letter_unknown type=%s", ascii(kind)[:80])
            return
        try:
            taker(letter)
        except Exception:
            if self._may_log(str(kind)):
                logger.exception("letter_failed type=%s; going on", kind)

    def _may_log(self, kind: str) -> bool:
        now = time.monotonic()
        if now < self._silent.get(kind, 0.0):
            return False
        self._silent[kind] = now + SILENT
        return True

    # --- writing ------------------------------------------------------------------------------------------------------

    async def send(self, to: str, letter: Letter) -> None:
        """To one mailbox. PostAway."""
        await self._try(lambda: _layer().send(to, letter))

    async def publish(self, group: str, letter: Letter) -> None:
        """To all mailboxes that have joined. PostAway."""
        await self._try(lambda: _layer().group_send(group, letter))

    async def join(self, group: str) -> None:
        """This process's mailbox gets what is published there, for two minutes: who stays joins again. PostAway."""
        await self._try(lambda: _layer().group_add(group, self.address))

    async def leave(self, group: str) -> None:
        """PostAway."""
        await self._try(lambda: _layer().group_discard(group, self.address))

    async def ask(self, to: str, letter: Letter, patience: float) -> Letter:
        """Sends a letter with an address for the answer in it (`answer_to`), and waits for that.

        TimeoutError after `patience` seconds, PostAway. Works in any process, also without a mailbox.
        """
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            # A thread of this process with a loop of its own: the layer in memory would not wake it.
            asking = asyncio.run_coroutine_threadsafe(self.ask(to, letter, patience), self._loop)
            return await asyncio.wrap_future(asking)
        answer_to = f"answer.{uuid.uuid4().hex}"
        async with asyncio.timeout(patience):
            await self.send(to, {**letter, "answer_to": answer_to})
            try:
                answer: Letter = await _twice(lambda: _layer().receive(answer_to))
            except Exception as error:
                self._note(error)
                raise PostAway(_words(error)) from error
        return answer

    async def _try(self, send: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await _twice(send)
        except ChannelFull as error:
            raise MailboxFull(_words(error)) from error
        except _ITS_OWN_FAULT as error:
            raise PostAway(_words(error)) from error
        except Exception as error:
            self._note(error)
            raise PostAway(_words(error)) from error
        self._note(None)

    def _note(self, error: Exception | None) -> None:
        """One line when it goes, one when it is back."""
        is_away = error is not None
        if is_away == self.is_away:
            return
        self.is_away = is_away
        if error is not None:
            logger.warning("layer_down: %s; live pages poll, calls go on", _words(error))
        else:
            logger.warning("layer_up")
        for watcher in [*self._watchers]:
            try:
                watcher(is_away)
            except Exception:
                logger.exception("watcher_failed; going on")


async def _twice(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Asks the layer; once more, if it fails by a connection that Redis has closed since it was last used."""
    try:
        return await ask()
    except (TimeoutError, *_ITS_OWN_FAULT, ChannelFull):
        raise
    except Exception:
        return await ask()


def _nothing(letter: Letter) -> None:
    """That it came is all that it says."""


def _words(error: Exception) -> str:
    return ascii(str(error) or type(error).__name__)[:200]


def load() -> None:
    """Imports what the layer is made of: 0.3 s that calls would wait for at the first letter."""
    _layer()


def _layer() -> Any:
    return get_channel_layer()


# That of this process.
post = Post()
