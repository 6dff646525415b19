"""The mailbox of a process, and the one guarded way to others'. A layer that is away costs nobody a call.

Letters cross Channels' layer (Redis; memory, where there is one process only), which loses them silently, delivers
some twice after a fault, and may be away. So none carries state: whoever needs an answer asks for one and waits a
limited time, and what must arrive in full is numbered.

A mailbox has a plain name rather than one of the layer's own for a process: `receive` for these knows one event loop a
process only, and anybody who has read in the database which process holds a call can write to it.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from channels.layers import get_channel_layer


logger = logging.getLogger(__name__)

# A letter: `type`, and whatever msgpack knows.
Letter = dict[str, Any]

# Seconds for which the layer may keep whoever writes waiting, and before it is tried again after a fault.
PATIENCE = 2.0
AGAIN = 1.0


class PostAway(Exception):
    """The channel layer does not answer."""


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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._takers: dict[str, Callable[[Letter], None]] = {}
        self._watchers: list[Callable[[bool], None]] = []

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
                letter = await _layer().receive(self.address)
            except Exception as error:
                self._note(error)
                await asyncio.sleep(AGAIN)
            else:
                self._note(None)
                self._give(letter)

    def _give(self, letter: Letter) -> None:
        taker = self._takers.get(letter.get("type", ""))
        if taker is None:
            # Of a newer version, while an installation is renewed process by process.
            logger.info("letter_unknown type=%s", ascii(letter.get("type"))[:80])
            return
        try:
            taker(letter)
        except Exception:
            logger.exception("letter_failed type=%s; going on", letter["type"])

    # --- writing ------------------------------------------------------------------------------------------------------

    async def send(self, to: str, letter: Letter) -> None:
        """To one mailbox. PostAway."""
        await self._try(_layer().send(to, letter))

    async def publish(self, group: str, letter: Letter) -> None:
        """To all mailboxes that have joined. PostAway."""
        await self._try(_layer().group_send(group, letter))

    async def join(self, group: str) -> None:
        """This process's mailbox gets what is published there, for two minutes: who stays joins again. PostAway."""
        await self._try(_layer().group_add(group, self.address))

    async def leave(self, group: str) -> None:
        """PostAway."""
        await self._try(_layer().group_discard(group, self.address))

    async def ask(self, to: str, letter: Letter, patience: float) -> Letter:
        """Sends a letter with an address for the answer in it (`answer_to`), and waits for that.

        TimeoutError after `patience` seconds, PostAway. Works in any process, also without a mailbox.
        """
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            # A thread of this process with a loop of its own: the layer in memory would not wake it.
            asking = asyncio.run_coroutine_threadsafe(self.ask(to, letter, patience), self._loop)
            return await asyncio.wrap_future(asking)
        layer, answer_to = _layer(), f"answer.{uuid.uuid4().hex}"
        async with asyncio.timeout(patience):
            await self.send(to, {**letter, "answer_to": answer_to})
            try:
                answer: Letter = await layer.receive(answer_to)
            except Exception as error:
                self._note(error)
                raise PostAway(_words(error)) from error
        return answer

    async def _try(self, sending: Any) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await sending
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
            with suppress(Exception):
                watcher(is_away)


def _words(error: Exception) -> str:
    return ascii(str(error) or type(error).__name__)[:200]


def _layer() -> Any:
    return get_channel_layer()


# That of this process.
post = Post()
