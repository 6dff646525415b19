"""A browser's socket to a page of ours: who may have it, what it is sent, and when it is closed.

Its user is looked at when it opens and every half a minute: one who has logged out, was deactivated or has lost a
permission is out within a minute. Whatever is refused is refused alike, so that nobody learns which calls there are.

Plain ASGI: a consumer of Channels' would receive from the layer itself, and end when that is away.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, ClassVar, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import AnonymousUser, User
from django.db import Error as DatabaseError
from django.http import HttpRequest
from django.utils.module_loading import import_string

from calls.post.post import post


logger = logging.getLogger(__name__)

Message = dict[str, Any]

# Seconds between two looks at who it is.
LOOK_AGAIN = 30.0
# Messages that wait for a browser that does not read.
MOST_WAITING = 200

# Why a socket is closed: for the page's script.
REFUSED, NO_LONGER, TOO_SLOW = 4404, 4403, 4429


class Page:
    """One socket, from its handshake to its end."""

    #: What its user needs, beside being staff.
    permissions: ClassVar[tuple[str, ...]] = ("calls.view_call",)

    def __init__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        self.scope = scope
        self.arguments: dict[str, str] = scope["url_route"]["kwargs"]
        self._receive = receive
        self._send = send
        self._session_key: str = getattr(scope.get("session"), "session_key", None) or ""
        self._waiting: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._code = 1000
        self._is_closing = False
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
        self._put({"type": "websocket.send", "text": json.dumps(facts)})

    def give(self, data: bytes) -> None:
        """Bytes for the page's script."""
        self._put({"type": "websocket.send", "bytes": data})

    def close(self, code: int) -> None:
        """Once, with the first code."""
        if not self._is_closing:
            self._is_closing, self._code = True, code
            self._wake.set()

    def _put(self, message: Message) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.clear()
            self.close(TOO_SLOW)
            return
        self._waiting.append(message)
        self._wake.set()

    # --- its life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        if (await self._receive())["type"] != "websocket.connect":
            return
        if not await self._may_open():
            await self._send({"type": "websocket.close", "code": REFUSED})
            return
        await self._send({"type": "websocket.accept"})
        unwatch = post.watch(self._weather)
        tasks = [asyncio.create_task(part()) for part in (self._read, self._write, self._look)]
        try:
            if post.is_away:
                self._weather(is_away=True)
            await self.begin()
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            unwatch()
            self.end()
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                    logger.error("page_failed", exc_info=outcome)

    async def _may_open(self) -> bool:
        try:
            return await sync_to_async(self._check)()
        except DatabaseError:
            return False

    def _check(self) -> bool:
        user = user_of(self._session_key)
        return user is not None and user.has_perms(self.permissions) and self.find(user)

    def _weather(self, is_away: bool) -> None:
        self.say(type="away" if is_away else "back")

    async def _read(self) -> None:
        while (message := await self._receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text is None:
                self.take_bytes(message.get("bytes") or b"")
                continue
            try:
                said = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(said, dict):
                self.take(said)

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._send(self._waiting.popleft())
            if self._is_closing:
                await self._send({"type": "websocket.close", "code": self._code})
                return

    async def _look(self) -> None:
        """Who has lost the right to it is out."""
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            try:
                may_stay = await sync_to_async(self._check)()
            except DatabaseError:
                # Nobody is sent away for one look in vain, and nobody stays unseen for longer.
                may_stay, self._is_unsure = not self._is_unsure, True
            else:
                self._is_unsure = False
            if not may_stay:
                self.close(NO_LONGER)


def user_of(session_key: str) -> User | None:
    """The member of staff whose session that is by now; None if it is over, or if they are not one any more."""
    if not session_key:
        return None
    session = import_string(f"{settings.SESSION_ENGINE}.SessionStore")(session_key)
    user = auth.get_user(cast(HttpRequest, SimpleNamespace(session=session, META={})))
    if isinstance(user, AnonymousUser) or not (user.is_active and user.is_staff):
        return None
    return user
