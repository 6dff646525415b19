"""How Twilio's requests and sockets travel to a server: over TCP (simulator.tcp), or in memory (simulator.asgi)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


# What a socket ends with that has no code of its own: a close frame without one, and no close frame.
NO_STATUS, ABNORMAL = 1005, 1006


Fields = Mapping[str, str]


class CallFailed(Exception):
    """The call cannot go on; the text is the one line that says why."""


class Unreachable(CallFailed):
    """Nobody listens at the server's address."""


class Refused(CallFailed):
    """The handshake of a socket failed; `code` is Twilio's (319xx), for the stream's status callback."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    body: bytes

    @property
    def first_line(self) -> str:
        """Of a plain answer, to quote; nothing of an HTML page."""
        if "html" in self.content_type or "xml" in self.content_type:
            return ""
        return self.body.decode(errors="replace").strip().partition("\n")[0][:120]


class Listener(Protocol):
    """What hears a socket. Called in the event loop, by nobody once it was told that the socket has closed."""

    def received(self, data: str | bytes) -> None: ...

    def closed(self, code: int, error: Exception | None) -> None:
        """Once. `error` is a TimeoutError if a ping was not answered, a ProtocolError, or whatever broke the line."""


class ProtocolError(Exception):
    """The server broke RFC 6455."""


class Connection(Protocol):
    """A socket that is open. Nothing here waits or raises; once the socket has closed, nothing happens."""

    @property
    def backlog(self) -> int:
        """Bytes that were sent and that the server has not taken yet."""

    def send(self, text: str) -> None: ...

    def close(self, code: int | None) -> None:
        """Sends a close frame. The listener hears that it has closed when the server has answered."""

    def release(self) -> None:
        """Gives up the TCP connection, after what was sent."""

    def abort(self) -> None:
        """Resets the TCP connection: no close frame, and nothing of what still waits."""


class Carrier(Protocol):
    """`async with carrier:` requests and sockets of one call."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def exchange(self, method: str, url: str, form: Fields | None, headers: Fields) -> Answer:
        """One request. Unreachable without a connection, and Twilio tries again; CallFailed without an answer."""

    async def upgrade(self, url: str, headers: Fields, listener: Listener, heartbeat: float | None) -> Connection:
        """A socket. Refused says why not. `heartbeat`: seconds of quiet after which the server is pinged."""
