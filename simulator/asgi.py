"""Carries a call straight into an ASGI application, in memory: no server, no port, no socket.

What the application sees is what a server shows it (uvicorn's ways, where the specification leaves room:
https://asgi.readthedocs.io/en/stable/specs/www.html), and what it does wrong comes out as it would on the line.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import unquote, urlencode, urlsplit

from simulator.carrier import ABNORMAL, NO_STATUS, Answer, CallFailed, Fields, Listener, Refused
from simulator.lifespan import LAST_WORDS, Application, Lifespan, Message, first


Failure = tuple[str, BaseException]

# Seconds for an answer: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides.
PATIENCE = 15.0


class Disconnected(OSError):
    """What `send` raises once the other side is gone."""


class Asgi:
    """`async with Asgi(application) as carrier`: a Carrier for any ASGI 3 application.

    With `lifespan` it is started before and stopped behind; one that knows no lifespan is used without.
    """

    def __init__(self, application: Application, *, lifespan: bool = True) -> None:
        self._application = application
        self._lifespan = Lifespan(application) if lifespan else None
        self._tasks: set[asyncio.Task[None]] = set()
        self._users = 0
        #: What the application has raised: (what it was asked, the exception).
        self.failures: list[Failure] = []
        #: The same, of what nobody waited for any more: the answer was given, the socket closed.
        self.late_failures: list[Failure] = []

    async def __aenter__(self) -> Self:
        self._users += 1
        if self._lifespan is not None and self._users == 1:
            await self._lifespan.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_WORDS)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._users -= 1
        if self._lifespan is not None and not self._users:
            await self._lifespan.stop()

    async def exchange(self, method: str, url: str, form: Fields | None, headers: Fields) -> Answer:
        """One request. CallFailed if there is no answer, or none within 15 s."""
        where = f"{method.upper()} {urlsplit(url).path}"
        body = b"" if form is None else urlencode(form).encode()
        if form is not None:
            headers = {**headers, "Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
        request = _Request(body)
        scope = self._scope("http", url, {"Accept": "*/*", **headers}) | {"method": method.upper()}
        task = self._run(where, scope, request)
        await first(task, request.answered, timeout=PATIENCE)
        request.leave()
        if request.answered.done():
            return request.answered.result()
        if not task.done():
            raise CallFailed(f"the server did not answer {where} within {PATIENCE:g} s")
        if request.status is None:
            # Raised or returned without a word, which servers answer for it.
            return Answer(500, "text/plain; charset=utf-8", b"Internal Server Error")
        raise CallFailed(f"the server broke {where} off without an answer")

    async def upgrade(
        self, url: str, headers: Fields, listener: Listener, heartbeat: float | None = None
    ) -> "AsgiConnection":
        """A socket that the application has accepted; Refused if it has not. No ping: a server answers those itself."""
        socket = AsgiConnection(listener)
        upgrading = {
            **{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        scope = self._scope("websocket", url, {**upgrading, **headers})
        scope |= {"subprotocols": [], "extensions": {"websocket.http.response": {}}}
        task = self._run(f"the socket {urlsplit(url).path}", scope, socket)
        task.add_done_callback(socket.leave)
        try:
            async with asyncio.timeout(PATIENCE):
                status = await asyncio.shield(socket.answer)
        except TimeoutError:
            task.cancel()
            raise Refused(f"the socket {url} got no answer", "31901 Connection Timeout") from None
        if status != HTTPStatus.SWITCHING_PROTOCOLS:
            raise Refused(f"the socket {url} was refused: HTTP {status}", "31920 Handshake Error")
        return socket

    def _scope(self, kind: str, url: str, headers: Fields) -> dict[str, Any]:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
        everybody = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": "TwilioProxy/1.1", **headers}
        return {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": parts.scheme,
            "path": unquote(parts.path or "/"),
            "raw_path": (parts.path or "/").encode("ascii"),
            "query_string": parts.query.encode("ascii"),
            "root_path": "",
            "headers": [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in everybody.items()],
            "client": ("127.0.0.1", 50_000),
            "server": (parts.hostname or "", port),
            **({} if self._lifespan is None else {"state": dict(self._lifespan.state)}),
        }

    def _run(self, what: str, scope: dict[str, Any], exchange: "_Request | AsgiConnection") -> "asyncio.Task[None]":
        async def run() -> None:
            try:
                await self._application(scope, exchange.give, exchange.take)
            except Disconnected:
                pass  # it talked to a caller who has hung up
            except Exception as error:
                (self.late_failures if exchange.is_over else self.failures).append((what, error))

        task = asyncio.create_task(run(), name=what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Request:
    """One request and its answer, as the application sees them."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._gone = asyncio.Event()
        self._content_type, self._said = "", bytearray()
        self.status: int | None = None
        self.answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        return self.answered.done()

    async def give(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = {bytes(name).lower(): bytes(text) for name, text in message.get("headers", [])}
            self.status = message["status"]
            self._content_type = headers.get(b"content-type", b"").decode("latin-1")
        elif self.status is None:
            raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{message['type']}'.")
        elif message["type"] == "http.response.body":
            self._said += message.get("body", b"")
            if not message.get("more_body", False):
                self._finish(Answer(self.status, self._content_type, bytes(self._said)))

    def _finish(self, answer: Answer) -> None:
        if not self.answered.done():
            self.answered.set_result(answer)
        self._gone.set()

    def leave(self) -> None:
        """Nobody waits any more."""
        self._gone.set()


class AsgiConnection:
    """A WebSocket: what the application has for `receive` and `send`, and the Connection at its other end."""

    backlog = 0  # whatever the application has not read yet is in its queue

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._queue.put_nowait({"type": "websocket.connect"})
        #: What the handshake was answered with: 101, or why not.
        self.answer: asyncio.Future[int] = self._loop.create_future()
        self._denial = 0
        #: The other side is gone, or has closed: the application cannot send. It has closed itself: it must not.
        self._is_gone = self._is_closed = False

    @property
    def is_over(self) -> bool:
        return self._is_gone or self._is_closed

    # --- the application's side

    async def give(self) -> Message:
        return await self._queue.get()

    async def take(self, message: Message) -> None:
        if self._is_gone:
            raise Disconnected("the other side has closed the socket")
        if self.answer.done():
            self._take(message)
        else:
            self._shake_hands(message)

    def _shake_hands(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self.answer.set_result(HTTPStatus.SWITCHING_PROTOCOLS)
        elif kind == "websocket.close":
            self._deny(HTTPStatus.FORBIDDEN)
        elif kind == "websocket.http.response.start":
            self._denial = message["status"]
        elif kind == "websocket.http.response.body" and self._denial:
            if not message.get("more_body", False):
                self._deny(self._denial)
        else:
            raise RuntimeError(f"Expected 'websocket.accept', 'websocket.close' or a response, but got {kind!r}.")

    def _deny(self, status: int) -> None:
        self.answer.set_result(status)
        self._is_closed = True
        self._tell_gone(ABNORMAL)

    def _take(self, message: Message) -> None:
        if self._is_closed:
            raise RuntimeError(f"Unexpected ASGI message {message['type']!r}, after sending 'websocket.close'.")
        if message["type"] == "websocket.send":
            text = message.get("text")
            self._listener.received(message.get("bytes") or b"" if text is None else text)
        elif message["type"] == "websocket.close":
            self._is_closed = True
            self._end(message.get("code", 1000))
        else:
            raise RuntimeError(f"Expected 'websocket.send' or 'websocket.close', but got {message['type']!r}.")

    def _end(self, code: int) -> None:
        """Both sides hear of the end, once."""
        self._tell_gone(code)
        self._loop.call_soon(self._listener.closed, code, None)

    def _tell_gone(self, code: int) -> None:
        self._queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})

    def leave(self, _: "asyncio.Task[None]") -> None:
        """The application has returned, or failed: a server closes the connection, without a close frame."""
        if not self.answer.done():
            self._deny(HTTPStatus.INTERNAL_SERVER_ERROR)
        else:
            self.abort()

    # --- the caller's side

    def send(self, text: str) -> None:
        if not self.is_over:
            self._queue.put_nowait({"type": "websocket.receive", "text": text})

    def close(self, code: int | None) -> None:
        """A server answers a close frame by itself, whatever its application does."""
        if not self.is_over:
            self._is_gone = True
            self._end(code or NO_STATUS)

    def release(self) -> None:
        self.abort()

    def abort(self) -> None:
        self.close(ABNORMAL)
