"""Requests and sockets over TCP: aiohttp has the requests; picows, which is written in C, the sockets."""

import asyncio
import logging
import socket
import ssl
import struct
from contextlib import suppress
from functools import cached_property
from typing import Self, cast
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from picows import (
    WSCloseCode,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSProtocolError,
    WSTransport,
    ws_connect,
)
from yarl import URL

from simulator.carrier import (
    ABNORMAL,
    NO_STATUS,
    Answer,
    CallFailed,
    Fields,
    Listener,
    ProtocolError,
    Refused,
    Unreachable,
)


# https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides: connect 5 s, 15 s in all.
TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
HANDSHAKE_TIMEOUT = 15.0
LARGEST_MESSAGE = 32 * 1024 * 1024
USER_AGENT = "TwilioProxy/1.1"

# What picows has to say about a server, its listener hears.
_quiet = logging.Logger("picows.client", logging.CRITICAL + 1)


class Tcp:
    """Everything is dialled at `server`, whatever host an address names; with "" each is dialled as it stands.

    But a host that has answered http:// there has no TLS, and its wss:// is dialled as ws://: Twilio knows no other.
    """

    def __init__(self, server: str, insecure: bool = False) -> None:
        self._server, self._insecure = urlsplit(server), insecure
        self._without_tls: set[str] = set()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=not self._insecure),
            timeout=TIMEOUT,
            headers={"User-Agent": USER_AGENT, "Accept": "*/*"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def dialled(self, url: str) -> URL:
        """The same path and query at the server under test, if there is one for all addresses."""
        scheme, host, path, query, _ = urlsplit(url)
        if self._server.netloc:
            ours = self._server.scheme
            scheme, host = ours.replace("http", "ws") if scheme.startswith("ws") else ours, self._server.netloc
        elif scheme == "wss" and host in self._without_tls:
            scheme = "ws"
        return URL(urlunsplit((scheme, host, path or "/", query, "")), encoded=True)

    async def exchange(self, method: str, url: str, form: Fields | None, headers: Fields) -> Answer:
        where, dialled = f"{method.upper()} {urlsplit(url).path}", self.dialled(url)
        try:
            async with self._session.request(
                method.upper(), dialled, data=form, headers=headers, allow_redirects=False
            ) as response:
                if dialled.scheme == "http":
                    self._without_tls.add(urlsplit(url).netloc)
                return Answer(response.status, response.headers.get("Content-Type", ""), await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _unreachable(dialled, error) from error
        except TimeoutError as error:
            raise CallFailed(f"the server did not answer {where} within {TIMEOUT.total:g} s") from error
        except aiohttp.ClientError as error:
            raise CallFailed(f"the server broke {where} off without an answer ({_words(error)})") from error

    async def upgrade(self, url: str, headers: Fields, listener: Listener, heartbeat: float | None) -> "TcpConnection":
        refused, dialled = f"the socket {url} was refused", self.dialled(url)
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                return await self._connect(str(dialled), headers, listener, heartbeat)
        except WSHandshakeError as error:
            raise Refused(f"{refused}: {_answer(error)}", "31920 Handshake Error") from error
        except ssl.SSLError as error:
            raise Refused(f"{refused}: {_words(error)}", "31910 TLS Error") from error
        except TimeoutError as error:
            raise Refused(f"the socket {url} got no answer", "31901 Connection Timeout") from error
        except ConnectionResetError as error:
            raise Refused(f"the socket {url} was broken off ({_words(error)})", "31900 Unknown Error") from error
        except OSError as error:
            raise Refused(f"{refused}: {_words(error)}", "31902 Connection Refused") from error

    async def _connect(self, url: str, headers: Fields, listener: Listener, heartbeat: float | None) -> "TcpConnection":
        ears = _Ears(listener)
        transport, _ = await ws_connect(
            lambda: ears,
            url,
            ssl_context=self._tls if url.startswith("wss:") else None,
            websocket_handshake_timeout=HANDSHAKE_TIMEOUT,
            logger_name=_quiet,
            enable_auto_ping=heartbeat is not None,
            auto_ping_idle_timeout=heartbeat or 0,
            auto_ping_reply_timeout=(heartbeat or 0) / 2,
            max_frame_size=LARGEST_MESSAGE,
            extra_headers={"User-Agent": USER_AGENT, **headers},
            max_redirects=0,
        )
        if transport is None or (transport.is_disconnected and not ears.was_open):
            raise ConnectionResetError("no answer to the handshake")
        return ears.connection

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl._create_unverified_context() if self._insecure else ssl.create_default_context()


class TcpConnection:
    """A socket of picows."""

    def __init__(self, transport: WSTransport) -> None:
        self.transport = transport
        self._send = transport.send
        self._size = transport.underlying_transport.get_write_buffer_size
        self._is_closing = False

    @property
    def backlog(self) -> int:
        return self._size()

    def send(self, text: str) -> None:
        if not self._is_closing:
            self._send(WSMsgType.TEXT, text)

    def close(self, code: int | None) -> None:
        """Without a code it is the frame that servers see from Twilio (1005)."""
        if not self._is_closing:
            self._is_closing = True
            self._send(WSMsgType.CLOSE, struct.pack("!H", code) if code else b"")

    def release(self) -> None:
        self._is_closing = True
        self.transport.disconnect()

    def abort(self) -> None:
        self._is_closing = True
        line = self.transport.underlying_transport
        if not line.is_closing() and (opened := line.get_extra_info("socket")):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.abort()


class _Ears(WSListener):
    """Puts frames together, and tells the stream what is not for the socket itself."""

    connection: TcpConnection

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener
        self._parts: list[bytes] = []
        self._kind = WSMsgType.TEXT
        self._code: int | None = None
        self._fault: Exception | None = None
        self.was_open = self._is_orderly = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.connection, self.was_open = TcpConnection(transport), True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        try:
            self._take(frame)
        except UnicodeDecodeError as error:
            raise WSProtocolError(WSCloseCode.INVALID_TEXT, "a text that is not UTF-8") from error
        except WSProtocolError:
            raise
        except Exception as error:  # ours: picows would only log it
            self._fault = error
            raise

    def _take(self, frame: WSFrame) -> None:
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "a frame with reserved bits")
        if kind == WSMsgType.TEXT and frame.fin and not self._parts:
            self._listener.received(frame.get_payload_as_utf8_text())
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._take_part(kind, frame)
        elif kind == WSMsgType.CLOSE:
            self._answer(frame)

    def _take_part(self, kind: WSMsgType, frame: WSFrame) -> None:
        if (kind == WSMsgType.CONTINUATION) != bool(self._parts):
            raise WSProtocolError(WSCloseCode.PROTOCOL_ERROR, "a frame that does not follow from the one before it")
        if not self._parts:
            self._kind = kind
        self._parts.append(frame.get_payload_as_bytes())
        if frame.fin:
            whole = b"".join(self._parts)
            self._parts = []
            self._listener.received(whole.decode() if self._kind == WSMsgType.TEXT else whole)

    def _answer(self, frame: WSFrame) -> None:
        """A close frame, the server's first one or its answer to ours, which says nothing new."""
        given = cast(int, frame.get_close_code())
        self._code = given or NO_STATUS
        self._is_orderly = _what_broke(self.connection.transport) is None
        self.connection.close(given or None)
        self.connection.release()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        code = ABNORMAL if self._code is None else self._code
        if broke := self._fault or _what_broke(transport):
            _hear_out(transport)
        # What comes behind a close frame is nobody's business: Werkzeug's server sends an HTTP response there.
        self._listener.closed(code, None if self._is_orderly else broke)

    def pause_writing(self) -> None:
        """A server that reads too slowly: the stream looks at the backlog itself."""

    def resume_writing(self) -> None:
        """It reads again."""


def _hear_out(transport: WSTransport) -> None:
    """Takes what picows keeps for who waits for the end, so that it is not reported as forgotten."""

    async def hear() -> None:
        with suppress(Exception):  # the listener has it already
            await transport.wait_disconnected()

    task = asyncio.create_task(hear())
    _endings.add(task)
    task.add_done_callback(_endings.discard)


_endings: set["asyncio.Task[None]"] = set()


def _what_broke(transport: WSTransport) -> Exception | None:
    """The protocol, or a server that answered no ping: the close frames that picows sends by itself."""
    handshake = transport.close_handshake
    if handshake is None or handshake.sent is None:
        return None
    if handshake.sent.code == WSCloseCode.GOING_AWAY:
        return TimeoutError("no answer to a ping")
    return ProtocolError(handshake.sent.reason or "the server broke RFC 6455")


def _answer(error: WSHandshakeError) -> str:
    """What came instead of 101: Twilio takes anything else as an error (31920), redirects too."""
    response = error.response
    if response is None or int(response.status) == 101:
        return _words(error)
    where = response.headers.get("Location") if 300 <= response.status < 400 else None
    return f"HTTP {int(response.status)}" + (f" to {where}" if where else "")


def _unreachable(dialled: URL, error: Exception) -> Unreachable:
    address = dialled.origin()
    if isinstance(error, aiohttp.ClientConnectorSSLError | aiohttp.ClientConnectorCertificateError):
        return Unreachable(f"no TLS with {address}: {_words(error)}; --insecure accepts a self-signed certificate")
    return Unreachable(f"no server at {address} ({_words(error)})")


def _words(error: Exception) -> str:
    """An error in a few words: the operating system's own where there are some."""
    if isinstance(error, ConnectionRefusedError) or isinstance(
        getattr(error, "os_error", None), ConnectionRefusedError
    ):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no connection within 5 s"
    return " ".join(str(error).split())[:160] or type(error).__name__
