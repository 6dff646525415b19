"""How large a request may be: what is too large is refused before Django has it.

Django writes every body to a temporary file first, which in a container is memory, and parses a form on the event loop
that carries the calls: 1 MB of `a=%41%41...` held it for 110 ms. Of the admin's forms it holds up a thread of staff's.
Whoever sends it is not known at that time: Twilio signs a form's fields, and Django looks for a CSRF token there before
it asks who somebody is. What is left to an anonymous client stands in SECURITY.md.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings

from calls.addresses import ADMIN
from calls.sounds.conversion import MOST_BYTES


# Twilio's own requests are below 8 KB, and so are the admin's forms ...
BODY_BYTES = 65_536
# ... but a few: notes, reviews and scorecards may be as long as DATA_UPLOAD_MAX_MEMORY_SIZE, if they are staff's
# (calls/process/pools.py).
_NOTES = re.compile(rf"/{ADMIN}calls/(call/[^/]+/(change|review/\d+)|scorecard/(add|\d+/change))/")
# A sound is uploaded as a file, and nothing else is: Django writes it aside piece by piece, and parses none of it.
# deploy/Caddyfile lets them through by the same words.
SOUNDS = rf"/{ADMIN}calls/(sound/add|call/[0-9]+/step-in/play)/"
_SOUNDS = re.compile(SOUNDS)
_FILES = b"multipart/form-data"
UPLOAD_BYTES = MOST_BYTES + BODY_BYTES
QUERY_BYTES = 16_384

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class LimitedBodies:
    """An ASGI application whose requests are small: 413 if the body is too large, 414 if the address is."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
        elif len(scope["query_string"]) > QUERY_BYTES:
            await _refuse(send, 414)
        else:
            await _Request(scope, receive, send).answer(self._application)


class _Request:
    """One request, whose body is counted while it comes: a chunked one does not say how large it will be."""

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._left = _most(scope)

    async def answer(self, application: Application) -> None:
        if stated(self._scope, 0) > self._left:
            await _refuse(self._send, 413)
            return
        await application(self._scope, self._counted, self._send)
        if self._left < 0:
            await _refuse(self._send, 413)

    async def _counted(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        # For Django the client has gone: it stops reading, and answers nothing.
        return message if self._left >= 0 else {"type": "http.disconnect"}


def is_long(scope: Mapping[str, Any]) -> bool:
    """Whether this is, or may be, one of those forms, and more than the others may have."""
    return scope["method"] == "POST" and _most(scope) > BODY_BYTES and not 0 <= stated(scope, -1) <= BODY_BYTES


def _most(scope: Mapping[str, Any]) -> int:
    """Bytes that this request's body may have."""
    if _NOTES.fullmatch(scope["path"]):
        most: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        return most
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    is_upload = _SOUNDS.fullmatch(scope["path"]) and kind.startswith(_FILES) and stated(scope, 0)
    return UPLOAD_BYTES if is_upload else BODY_BYTES


def stated(scope: Mapping[str, Any], unknown: int) -> int:
    """How large a request says that its body is."""
    found = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    return int(found) if found.isdigit() else unknown


async def _refuse(send: Send, status: int) -> None:
    # What is still to come of it is not read.
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"This request is too large.\n"})
