"""Twilio's end of a media socket, straight on the ASGI application: its JSON goes in and ours comes out as text."""

import asyncio
import contextlib
import json
import sqlite3
import time
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self, TypeVar

import psycopg
from django.db import connections
from twilio.request_validator import RequestValidator

from calls.routing import websocket
from calls.security import StreamToken
from tests.support.factories import sid


T = TypeVar("T")

ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
# Nothing here takes long; what does not come within this many seconds does not come.
PATIENCE = 8

CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'
START = (
    '{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",'
    '"streamSid":"%(stream)s","callSid":"%(call)s","tracks":%(tracks)s,'
    '"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},'
    '"customParameters":{"token":"%(token)s"%(more)s}},"streamSid":"%(stream)s"}'
)
MEDIA = (
    '{"event":"media","sequenceNumber":"%(number)s","media":{"track":"%(track)s","chunk":"%(chunk)s",'
    '"timestamp":"%(timestamp)s","payload":"%(payload)s"},"streamSid":"%(stream)s"}'
)
DTMF = (
    '{"event":"dtmf","streamSid":"%(stream)s","sequenceNumber":"%(number)s",'
    '"dtmf":{"track":"inbound_track","digit":"%(digit)s"}}'
)
MARK = '{"event":"mark","sequenceNumber":"%(number)s","streamSid":"%(stream)s","mark":{"name":"%(name)s"}}'
STOP = (
    '{"event":"stop","sequenceNumber":"%(number)s","streamSid":"%(stream)s",'
    '"stop":{"accountSid":"AC3f0c6a1d2b4e58790f1e2d3c4b5a6978","callSid":"%(call)s"}}'
)


def signature(url: str = "wss://voice.example.org/connection", token: str = "0123456789abcdef0123456789abcdef") -> str:
    """What Twilio's own library signs a handshake with."""
    return RequestValidator(token).compute_signature(url, {})


class Line:
    """One socket. `async with Line(handler="echo") as line:` is a stream that has started."""

    def __init__(self, handler: str = "echo", **facts: Any) -> None:
        self.call_sid = facts.pop("call_sid", None) or sid("CA")
        self.stream_sid = facts.pop("stream_sid", None) or sid("MZ")
        self.path = facts.pop("path", "/connection")
        self.headers: dict[str, str] = {"x-twilio-signature": signature(), **facts.pop("headers", {})}
        self.tracks = facts.pop("tracks", '["inbound"]')
        self.more = facts.pop("more", "")
        self.token = (
            facts.pop("token", None)
            or StreamToken(**{"call_sid": self.call_sid, "handler": handler, "account_sid": ACCOUNT, **facts}).sign()
        )
        self.number = 1
        self.chunk = 0
        #: Awaited when the application closes, before it can go on.
        self.at_close: Callable[[], Awaitable[None]] | None = None
        #: A peer that has stopped reading: what is sent to it is never sent.
        self.is_stuck = False
        #: Where the caller's audio has come to, in ms of Twilio's own clock.
        self.timestamp = 100
        self.closed: dict[str, Any] | None = None
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    # --- the socket --------------------------------------------------------------------------------------------------

    async def dial(self) -> dict[str, Any]:
        """Shakes hands, and returns what the application says to that."""
        scope = {
            "type": "websocket",
            "path": self.path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in self.headers.items() if value],
            "subprotocols": [],
        }
        self._task = asyncio.create_task(websocket(scope, self._to_app.get, self._take))  # type: ignore[arg-type]
        self._to_app.put_nowait({"type": "websocket.connect"})
        return await self.answer()

    async def _take(self, message: dict[str, Any]) -> None:
        assert self.closed is None, f"sent after the close: {message}"
        if self.is_stuck:
            await asyncio.Event().wait()
        if message["type"] == "websocket.close":
            self.closed = message
            if self.at_close is not None:
                await self.at_close()
            # Twilio closes too, at once.
            self._to_app.put_nowait({"type": "websocket.disconnect", "code": message["code"]})
        self._from_app.put_nowait(message)

    async def answer(self) -> dict[str, Any]:
        """The next thing that the application does with the socket."""
        async with asyncio.timeout(PATIENCE):
            return await self._from_app.get()

    async def heard(self) -> dict[str, Any]:
        """The next message for Twilio."""
        return json.loads((await self.answer())["text"])

    def left(self) -> list[dict[str, Any]]:
        """What the application has done that nobody has looked at."""
        return [self._from_app.get_nowait() for _ in range(self._from_app.qsize())]

    def send(self, text: str) -> None:
        self._to_app.put_nowait({"type": "websocket.receive", "text": text})

    def send_bytes(self, data: bytes) -> None:
        self._to_app.put_nowait({"type": "websocket.receive", "bytes": data})

    def drop(self, code: int = 1006) -> None:
        """The socket is gone without a word."""
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": code})

    async def gone(self) -> None:
        """Waits until the application has let go of the socket: everything is stored by then."""
        async with asyncio.timeout(PATIENCE):
            await self._task

    async def __aenter__(self) -> Self:
        assert (await self.dial())["type"] == "websocket.accept"
        self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        if not self._task.done():
            if exception[0] is None:
                self.stop()
            else:
                self._task.cancel()
        await asyncio.wait({self._task}, timeout=PATIENCE)
        if exception[0] is None:
            await self.gone()

    # --- Twilio's messages -------------------------------------------------------------------------------------------

    def fill(self, template: str, **values: object) -> str:
        """One of the messages above, with its number; `values` say what is not as usual."""
        self.number += 1
        usual = {"track": "inbound", "chunk": 1, "timestamp": self.timestamp, "payload": "AAAA"}
        return template % {**usual, "number": self.number, "stream": self.stream_sid, "call": self.call_sid, **values}

    @property
    def opening(self) -> dict[str, str]:
        """What `start` says."""
        return {
            "stream": self.stream_sid,
            "call": self.call_sid,
            "tracks": self.tracks,
            "more": self.more,
            "token": self.token,
        }

    def start(self) -> None:
        self.send(CONNECTED)
        self.send(START % self.opening)

    def say(self, payload: bytes = b"\x20" * 160, *, track: str = "inbound", timestamp: int | None = None) -> None:
        """Caller audio, directly after what came before."""
        self.chunk += 1
        at = self.timestamp if timestamp is None else timestamp
        encoded = b64encode(payload).decode()
        self.send(self.fill(MEDIA, chunk=self.chunk, timestamp=at, payload=encoded, track=track))
        self.timestamp = at + len(payload) // 8

    def press(self, digits: str) -> None:
        for digit in digits:
            self.send(self.fill(DTMF, digit=digit))

    def return_mark(self, name: str) -> None:
        self.send(self.fill(MARK, name=name))

    def stop(self) -> None:
        self.send(self.fill(STOP))

    # --- what a phone does -------------------------------------------------------------------------------------------

    async def play_out(self) -> bytes:
        """Plays until the next mark, gives it back, and returns what was played."""
        audio = b""
        while (message := await self.heard())["event"] == "media":
            audio += payload(message)
        assert message["event"] == "mark", message
        self.return_mark(message["mark"]["name"])
        return audio

    async def sync(self) -> None:
        """On an echo stream: what was sent before has been taken."""
        self.say(b"\x55" * 160)
        while payload(await self.heard()) != b"\x55" * 160:
            pass


def payload(message: dict[str, Any]) -> bytes:
    return b64decode(message["media"]["payload"], validate=True)


async def stored(question: Callable[[], T]) -> T:
    """Asks the database, in a thread and over a connection that do not outlive the question."""

    def ask() -> T:
        try:
            return question()
        finally:
            connections.close_all()

    return await asyncio.to_thread(ask)


async def until(question: Callable[[], T]) -> T:
    """Asks the database again and again until the answer is true."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := await stored(question)):
        assert time.monotonic() < deadline, "it never became true"
        await asyncio.sleep(0.01)
    return answer


@contextlib.contextmanager
def database_busy() -> Iterator[None]:
    """Somebody else holds what every write of ours needs, and does not let go."""
    facts = connections["default"].settings_dict
    if connections["default"].vendor == "sqlite":
        with contextlib.closing(sqlite3.connect(facts["NAME"], isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        return
    address = {"host": facts["HOST"], "port": facts["PORT"], "user": facts["USER"], "password": facts["PASSWORD"]}
    with psycopg.connect(dbname=facts["NAME"], **address) as other:
        other.execute("LOCK TABLE calls_call IN ACCESS EXCLUSIVE MODE")
        yield
        other.rollback()
