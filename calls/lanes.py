"""Which threads answer a request: what may take long, or comes from strangers, holds up nobody else's pages.

Measured with one thread for all of them: 20 connections that guessed passwords made a page take 5.5 s, and four
requests to a silent Twilio API 19.7 s.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from django.urls import Resolver404, resolve

from calls.admin.outbound import asks_twilio
from calls.logins import COOKIE, impatient
from calls.threads import SharedThreads


# Threads for all pages of the admin's: one more, so that a slow query leaves the others something.
STAFF_THREADS = 2
# A hash takes half a second of a core: one after the other, at most 5 s in all, and at most a fifth of it one client's.
LOGIN_THREADS, MOST_LOGINS, MOST_LOGINS_OF_ONE = 1, 10, 2
# Twilio has 5 s to answer: whoever comes last waits for three others. Half of it is for one client, or one office.
TWILIO_THREADS, MOST_TWILIO, MOST_TWILIO_OF_ONE = 3, 12, 6
# Bytes of a form that is sent there.
MOST_BODY = 65536

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Lanes:
    """Around Django: the threads of one process, and which of them a request is answered in."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._staff = SharedThreads(STAFF_THREADS)
        self._logins = SharedThreads(LOGIN_THREADS, MOST_LOGINS, MOST_LOGINS_OF_ONE)
        self._twilio = SharedThreads(TWILIO_THREADS, MOST_TWILIO, MOST_TWILIO_OF_ONE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        # Webhooks keep a thread each, as Django has it: no query of the admin's may hold them up.
        if not path.startswith("/admin/"):
            await self._application(scope, receive, send)
            return
        name = _page(path)
        if name == "admin:login" and method == "POST":
            words = "Too many people are logging in just now. Go back, and try again in a few seconds."
            await self._if_there_is_room(self._logins, scope, receive, send, 429, words)
        elif asks_twilio(name, method):
            words = "Twilio is slow to answer, and others wait for it already. Nothing was done: try again later."
            await self._if_there_is_room(self._twilio, scope, receive, send, 503, words)
        else:
            with self._staff.thread():
                await self._application(scope, receive, send)

    async def _if_there_is_room(
        self, threads: SharedThreads, scope: Scope, receive: Receive, send: Send, status: int, words: str
    ) -> None:
        # First the whole form: one that is sent a byte at a time would keep its place for ever.
        whole = await _whole(receive)
        # uvicorn puts the proxy's client there.
        client = (scope.get("client") or [""])[0]
        if whole is None:
            await _refuse(send, 413, "That is more than this form takes.")
        elif threads is self._logins and (seconds := _has_to_wait(scope, client, whole.body)):
            words = f"Too many attempts to log in. Wait {seconds} s, then try again."
            await _refuse(send, 429, words, seconds)
        elif not threads.have_room_for(client):
            await _refuse(send, status, words)
        else:
            with threads.thread(client):
                await self._application(scope, whole, send)


class _Whole:
    """A request all of which is here, to be received once more."""

    def __init__(self, messages: list[dict[str, Any]], receive: Receive) -> None:
        self.body = b"".join(message.get("body", b"") for message in messages)
        self._messages = messages
        self._receive = receive

    async def __call__(self) -> dict[str, Any]:
        return self._messages.pop(0) if self._messages else await self._receive()


async def _whole(receive: Receive) -> _Whole | None:
    """The same request, all of which is here; None if it is too large."""
    messages: list[dict[str, Any]] = []
    size = 0
    while not messages or (messages[-1]["type"] == "http.request" and messages[-1].get("more_body")):
        messages.append(await receive())
        size += len(messages[-1].get("body", b""))
        if size > MOST_BODY:
            return None
    return _Whole(messages, receive)


def _has_to_wait(scope: Scope, client: str, body: bytes) -> int:
    """The seconds, of somebody who floods us with guesses from a browser that we do not know."""
    if any(name == b"cookie" and f"{COOKIE}=".encode() in value for name, value in scope["headers"]):
        return 0
    # As much of a form as a browser sends; whoever sends more is not spared the page.
    names = parse_qs(body.decode("latin-1")).get("username", [""]) if len(body) < 4096 else [""]
    return impatient(client, names[-1])


async def _refuse(send: Send, status: int, words: str, seconds: int = 5) -> None:
    wait = str(seconds).encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", wait), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{words}\n".encode()})


def _page(path: str) -> str:
    try:
        return resolve(path).view_name
    except Resolver404:
        return ""
