"""Which threads answer a request: what may take long, or comes from strangers, holds up nobody else's pages.

Measured with one thread for all of them: 20 connections that guessed passwords made a page take 5.5 s, and four
requests to a silent Twilio API 19.7 s.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import SuspiciousOperation
from django.db import close_old_connections
from django.http import HttpResponse, QueryDict, parse_cookie
from django.urls import Resolver404, ResolverMatch, resolve

from calls.access.logins import COOKIE, Guess, network
from calls.addresses import ADMIN, API
from calls.admin.base import waits_for_twilio, waits_for_worker
from calls.api.answers import refusal
from calls.process.bodies import BODY_BYTES, is_long, stated
from calls.process.threads import SharedThreads


# Threads for all pages of the admin: one more, so that a slow query leaves something to the others. One office may have
# this many requests at once, with recordings that are listened to; a stranger's hold up a thread for 0.2 s.
STAFF_THREADS, MOST_STAFF_OF_ONE = 2, 60
# A hash takes half a second of a core: one after the other, at most 5 s in all, and at most a fifth of it one client's.
# As much again is for browsers in which somebody has logged in before, where no stranger can take it.
LOGIN_THREADS, MOST_LOGINS, MOST_LOGINS_OF_ONE = 1, 10, 2
# Bytes of a login form, most of which say where to go from there.
MOST_LOGIN = 8192
# Twilio has 5 s to answer: whoever comes last waits for three others. Half of it is for one client, or one office.
TWILIO_THREADS, MOST_TWILIO, MOST_TWILIO_OF_ONE = 3, 12, 6
# Who steps into a call waits up to 3 s for the process that holds it, and an upload for its conversion: threads that
# stand still meanwhile. An async view would hold one as well, since WhiteNoise's middleware is synchronous, and would
# be out of reach of the admin's own checks.
STEP_THREADS, MOST_STEPS, MOST_STEPS_OF_ONE = 4, 16, 12
# One thread for all programs, however many connections they have: what they read keeps nobody waiting who calls or
# looks at calls. A recording counts for as long as it is being read.
API_THREADS, MOST_API, MOST_API_OF_ONE = 1, 32, 8
# Seconds that a program waits for a refusal, and takes no place meanwhile. Fifty connections that asked again at once
# got 17,000 of them a second, and callers' echo took 4 ms instead of 0.1.
REFUSED_AFTER = 1.0
FORM = b"application/x-www-form-urlencoded"
# These ask the provider of single sign-on, and so wait as well.
SSO = ("admin:sso_start", "admin:sso_callback", "admin:sso_leave")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Pools:
    """Around Django: the threads of one process, and which of them a request is answered in."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._staff = SharedThreads(STAFF_THREADS, most_of_one=MOST_STAFF_OF_ONE)
        self._logins = SharedThreads(LOGIN_THREADS, MOST_LOGINS, MOST_LOGINS_OF_ONE)
        self._known = SharedThreads(LOGIN_THREADS, MOST_LOGINS, MOST_LOGINS_OF_ONE)
        self._api = SharedThreads(API_THREADS, MOST_API, MOST_API_OF_ONE)
        self._steps = SharedThreads(STEP_THREADS, MOST_STEPS, MOST_STEPS_OF_ONE)
        self._twilio = SharedThreads(TWILIO_THREADS, MOST_TWILIO, MOST_TWILIO_OF_ONE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        # Webhooks keep a thread each, as Django has it: no query of the admin's may hold them up.
        if not path.startswith((f"/{ADMIN}", f"/{API}")):
            await self._application(scope, receive, send)
            return
        # uvicorn puts the proxy's client there.
        address = (scope.get("client") or [""])[0]
        client = network(address)
        if path.startswith(f"/{API}"):
            await self._answer_program(client, scope, receive, send)
            return
        page = _page(path)
        if page and page.view_name == "admin:login" and method == "POST":
            await self._log_in(address, scope, receive, send)
        elif page and waits_for_twilio(page.func, method):
            await self._ask_twilio(client, scope, receive, send)
        elif page and (waits_for_worker(page.func, method) or page.view_name in SSO):
            await self._ask_worker(client, scope, receive, send)
        else:
            words = "Too much comes from your address at once. Try again in a few seconds."
            await self._if_there_is_room(self._staff, client, scope, receive, send, 429, words)

    async def _answer_program(self, client: str, scope: Scope, receive: Receive, send: Send) -> None:
        # Django waits for a body before it asks who sends it, and would have a place taken for as long.
        if stated(scope, 0) or _header(scope, b"transfer-encoding"):
            await _send(send, refusal(413, "no_body", "Nothing here takes a body."))
        elif not self._api.have_room_for(client):
            words = "Wait until earlier requests are answered: too many are, just now."
            await asyncio.sleep(REFUSED_AFTER)
            await _send(send, refusal(429, "too_many", words, wait=1))
        else:
            answer = _Answer(send)
            with self._api.thread(client):
                await self._application(scope, receive, answer.send)
            await answer.end()

    async def _log_in(self, address: str, scope: Scope, receive: Receive, send: Send) -> None:
        whole = await _whole(receive, send, MOST_LOGIN)
        if whole is None:
            return
        if not _header(scope, b"content-type").startswith(FORM):
            await _refuse(send, 415, "That is not how this form is sent.")
            return
        guess = _guess(address, scope, whole.body)
        if seconds := guess.impatience:
            words = f"Too many attempts to log in. Wait {seconds} s, then try again."
            await _refuse(send, 429, words, seconds)
            return
        words = "Too many people are logging in just now. Go back, and try again in a few seconds."
        threads, who = (self._known, guess.known) if guess.known else (self._logins, guess.address)
        await self._if_there_is_room(threads, who, scope, whole, send, 429, words)

    async def _ask_twilio(self, client: str, scope: Scope, receive: Receive, send: Send) -> None:
        words = "Twilio is slow to answer, and others wait for it already. Nothing was done: try again later."
        if whole := await _whole(receive, send, BODY_BYTES):
            await self._if_there_is_room(self._twilio, client, scope, whole, send, 503, words)

    async def _ask_worker(self, client: str, scope: Scope, receive: Receive, send: Send) -> None:
        words = (
            "Processes are slow to answer, and others wait for them already. Nothing was done: try again in a moment."
        )
        # Uploads are not kept in memory: who sends one is known, or it is not taken.
        whole = receive if is_long(scope) else await _whole(receive, send, BODY_BYTES)
        if whole:
            await self._if_there_is_room(self._steps, client, scope, whole, send, 503, words)

    async def _if_there_is_room(
        self, threads: SharedThreads, client: str, scope: Scope, receive: Receive, send: Send, status: int, words: str
    ) -> None:
        if not threads.have_room_for(client):
            await _refuse(send, status, words)
            return
        with threads.thread(client):
            # Django would look for a CSRF token in the form before it asks who sends it. To parse 1 MB takes 0.1 s, and
            # every call hears it.
            if is_long(scope) and not await sync_to_async(_is_logged_in)(scope):
                await _refuse(send, 413, "That is more than this form takes from somebody who is not logged in.")
            else:
                await self._application(scope, receive, send)


class _Answer:
    """An answer to a program: sent as it comes, but for a refusal, which is kept until `end`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._kept: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        if self._kept or message.get("status") in (401, 429):
            self._kept.append(message)
        else:
            await self._send(message)

    async def end(self) -> None:
        if self._kept:
            await asyncio.sleep(REFUSED_AFTER)
        for message in self._kept:
            await self._send(message)


class _Whole:
    """A request all of which is here, to be received once more."""

    def __init__(self, messages: list[dict[str, Any]], receive: Receive) -> None:
        self.body = b"".join(message.get("body", b"") for message in messages)
        self._messages = messages
        self._receive = receive

    async def __call__(self) -> dict[str, Any]:
        return self._messages.pop(0) if self._messages else await self._receive()


async def _whole(receive: Receive, send: Send, most: int) -> _Whole | None:
    """The same request, all of which is here; None if it is too large, and has been refused.

    One that is sent a byte at a time would keep its place among the others for ever.
    """
    messages: list[dict[str, Any]] = []
    size = 0
    while not messages or (messages[-1]["type"] == "http.request" and messages[-1].get("more_body")):
        messages.append(await receive())
        size += len(messages[-1].get("body", b""))
        if size > most:
            await _refuse(send, 413, "That is more than this form takes.")
            return None
    return _Whole(messages, receive)


def _guess(address: str, scope: Scope, body: bytes) -> Guess:
    """Whom somebody says that they are, before Django is asked."""
    try:
        username = QueryDict(body).get("username") or ""
    except SuspiciousOperation:
        # So many fields that Django will not read them either.
        username = ""
    return Guess(address, username, _cookie(scope, COOKIE))


def _is_logged_in(scope: Scope) -> bool:
    """Whether the request's session is somebody's, as far as can be seen without its form."""
    try:
        return SESSION_KEY in SessionStore(_cookie(scope, settings.SESSION_COOKIE_NAME))
    finally:
        close_old_connections()


def _cookie(scope: Scope, name: str) -> str:
    return parse_cookie(_header(scope, b"cookie").decode("latin-1")).get(name, "")


def _header(scope: Scope, name: bytes) -> bytes:
    """A header's value; several are joined as Django joins cookies."""
    return b"; ".join(value for header, value in scope["headers"] if header == name)


async def _send(send: Send, response: HttpResponse) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})


async def _refuse(send: Send, status: int, words: str, seconds: int = 5) -> None:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Retry-After": str(seconds), "Connection": "close"}
    await _send(send, HttpResponse(f"{words}\n", status=status, headers=headers))


def _page(path: str) -> ResolverMatch | None:
    try:
        return resolve(path)
    except Resolver404:
        return None
