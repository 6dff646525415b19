"""A browser's socket to a page of ours: who may have it, and when it is closed.

Its user is looked at when it opens and every half a minute: one who has logged out, was deactivated or has lost a
permission is out within a minute. Whatever is refused is refused alike, so that nobody learns which calls there are.

Plain ASGI: a consumer of Channels' would receive from the layer itself, and end when that is away.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.db import Error as DatabaseError

from calls.post.post import post
from calls.server.switchboard import switchboard
from calls.supervision.browsers import REFUSED, user_of
from calls.supervision.lines import TOO_MUCH, Message, Outgoing, TooMuch, incoming
from calls.supervision.lines import TOO_SLOW as TOO_SLOW
from calls.supervision.lookups import look_up


logger = logging.getLogger(__name__)

# Seconds between two looks at who it is.
LOOK_AGAIN = 30.0
# Sockets of one person and of all in one process, and those of all whose user is being looked at.
MOST_OF_ONE, MOST_OPEN, MOST_OPENING = 50, 1000, 100
# Seconds that a socket has to be closed.
CLOSE_PATIENCE = 2.0

# Why a socket is closed, beside what calls.supervision.lines has.
NO_LONGER, FAILED, GOING_AWAY = 4403, 4500, 4503


class Page:
    """One socket, from its handshake to its end."""

    #: What its user needs, beside being staff.
    permissions: ClassVar[tuple[str, ...]] = ("calls.view_call",)

    def __init__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        self.scope = scope
        self.arguments: dict[str, str] = scope["url_route"]["kwargs"]
        #: The key of its user, once they may have it.
        self.user_key = 0
        self._receive = receive
        self._send = send
        self._session_key: str = getattr(scope.get("session"), "session_key", None) or ""
        self._outgoing = Outgoing(send)
        #: Whether its user could not be looked at the last time.
        self._is_unsure = False

    @classmethod
    def as_asgi(cls) -> Callable[[Message, Any, Any], Awaitable[None]]:
        async def application(scope: Message, receive: Any, send: Any) -> None:
            await cls(scope, receive, send).run()

        return application

    # --- what a page of a kind does -----------------------------------------------------------------------------------

    def find(self, user: User) -> bool:
        """Whether there is something to see for this user, who has the permissions. In a thread, with the database."""
        return True

    async def begin(self) -> None:
        """It is open."""

    def take(self, said: Message) -> None:
        """The browser says something, as JSON."""

    def take_bytes(self, data: bytes) -> None:
        """The browser sends bytes."""

    def end(self) -> None:
        """It is closed, or will be at once."""

    # --- what it is sent ----------------------------------------------------------------------------------------------

    def say(self, **facts: Any) -> None:
        """A message for the page's script, as JSON. Never waits; who does not read is sent away."""
        text = json.dumps(facts)
        self._outgoing.put({"type": "websocket.send", "text": text}, len(text))

    def give(self, data: bytes) -> None:
        """Bytes for the page's script."""
        self._outgoing.put({"type": "websocket.send", "bytes": data}, len(data))

    def close(self, code: int, *, at_once: bool = False) -> None:
        """Behind what waits to be sent, or instead of it; once, with the first code."""
        self._outgoing.close(code, at_once=at_once)

    @property
    def code(self) -> int | None:
        """What it is closed with, once it is; None if the browser has gone of its own accord."""
        return self._outgoing.code

    # --- its life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        if (await self._receive())["type"] != "websocket.connect":
            return
        if not await self._may_open():
            await self._send({"type": "websocket.close", "code": REFUSED})
            return
        pages.add(self)
        try:
            await self._send({"type": "websocket.accept"})
            await self._live()
        finally:
            pages.remove(self)

    async def _live(self) -> None:
        unwatch = post.watch(self._weather)
        reader, writer, looker = (asyncio.create_task(part()) for part in (self._read, self._outgoing.run, self._look))
        try:
            if post.is_away:
                self._weather(is_away=True)
            await self.begin()
            await asyncio.wait((reader, writer, looker), return_when=asyncio.FIRST_COMPLETED)
            # Without a close daphne would keep it open; one who is gone gets none.
            if not reader.done() or reader.exception():
                self.close(FAILED)
                await asyncio.wait((writer,), timeout=CLOSE_PATIENCE)
        finally:
            unwatch()
            self.end()
            for task in (reader, writer, looker):
                task.cancel()
            read, written, looked = await asyncio.gather(reader, writer, looker, return_exceptions=True)
            # The browser is gone: uvicorn raises an OSError, autobahn below daphne a RuntimeError.
            if isinstance(written, OSError | RuntimeError):
                written = None
            for outcome in (read, written, looked):
                if isinstance(outcome, Exception) and not isinstance(outcome, TooMuch):
                    logger.error("page_failed", exc_info=outcome)

    async def _may_open(self) -> bool:
        if not self._session_key or switchboard.leaving or not pages.have_room:
            return False
        pages.opening += 1
        try:
            return await look_up(self._check) and pages.have_room_for(self.user_key)
        except DatabaseError:
            return False
        finally:
            pages.opening -= 1

    def _check(self) -> bool:
        user = user_of(self._session_key)
        if user is None or not user.has_perms(self.permissions):
            return False
        self.user_key = user.pk
        return self.find(user)

    def _weather(self, is_away: bool) -> None:
        self.say(type="away" if is_away else "back")

    async def _read(self) -> None:
        try:
            async for said in incoming(self._receive):
                if isinstance(said, bytes):
                    self.take_bytes(said)
                else:
                    self.take(said)
        except TooMuch:
            self.close(TOO_MUCH)
            raise

    async def _look(self) -> None:
        """Who has lost the right to it is out."""
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            try:
                may_stay = await look_up(self._check)
            except DatabaseError:
                # Nobody is sent away for one look in vain, and nobody stays unseen for longer.
                may_stay, self._is_unsure = not self._is_unsure, True
            else:
                self._is_unsure = False
            if not may_stay:
                self.close(NO_LONGER)


class Pages:
    """Those that are open in this process."""

    def __init__(self) -> None:
        #: Sockets whose user is being looked at.
        self.opening = 0
        self._open: dict[Page, asyncio.Task[Any] | None] = {}
        self._by_user: dict[int, int] = {}

    @property
    def have_room(self) -> bool:
        """Before anybody is asked who it is."""
        return self.opening < MOST_OPENING and len(self._open) < MOST_OPEN

    def have_room_for(self, user: int) -> bool:
        return self._by_user.get(user, 0) < MOST_OF_ONE

    def add(self, page: Page) -> None:
        self._open[page] = asyncio.current_task()
        self._by_user[page.user_key] = self._by_user.get(page.user_key, 0) + 1

    def remove(self, page: Page) -> None:
        del self._open[page]
        self._by_user[page.user_key] -= 1
        if not self._by_user[page.user_key]:
            del self._by_user[page.user_key]

    async def leave(self) -> None:
        """This process ends: browsers open them again, elsewhere."""
        for page in self._open:
            page.close(GOING_AWAY)
        if tasks := [task for task in self._open.values() if task is not None]:
            await asyncio.wait(tasks, timeout=CLOSE_PATIENCE)


# Those of this process.
pages = Pages()
