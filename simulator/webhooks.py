"""Twilio's HTTP client: every address is signed as the public one and dialled at the server under test."""

import asyncio
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

import aiohttp
from twilio.request_validator import RequestValidator
from yarl import URL

from simulator.sockets import Socket


# https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides: connect 5 s twice, 15 s in all.
TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
CONNECT_ATTEMPTS = 2


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


def signed_url(url: str) -> str:
    """The address as Twilio signs it: no userinfo, no fragment, and with https no port.

    https://www.twilio.com/docs/usage/security#validating-requests
    """
    scheme, netloc, path, query, _ = urlsplit(url)
    host = netloc.rpartition("@")[2]
    if scheme == "https":
        host = re.sub(r":\d+$", "", host)
    return urlunsplit((scheme, host, path, query, ""))


class Web:
    """`async with Web(…) as web`: webhooks and sockets of one call."""

    def __init__(self, server: str, auth_token: str, insecure: bool = False) -> None:
        self._server = urlsplit(server)
        self._validator = RequestValidator(auth_token)
        self._insecure = insecure

    async def __aenter__(self) -> Self:
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_refuse_redirect)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=not self._insecure),
            timeout=TIMEOUT,
            trace_configs=[trace],
            ws_response_class=Socket,
            headers={"User-Agent": "TwilioProxy/1.1", "Accept": "*/*"},
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
        return URL(urlunsplit((scheme, host, path or "/", query, "")), encoded=True)

    def sign(self, url: str, parameters: Mapping[str, str]) -> str:
        return cast(str, self._validator.compute_signature(signed_url(url), dict(parameters)))

    async def request(self, url: str, parameters: Mapping[str, str], method: str = "POST") -> Answer:
        """One signed webhook. Repeated once if there is no connection; CallFailed if there is no answer in 15 s."""
        form: dict[str, str] | None = dict(parameters)
        if method.upper() == "GET":
            url += ("&" if urlsplit(url).query else "?") + urlencode(parameters)
            form = None
        headers = {"X-Twilio-Signature": self.sign(url, form or {}), "I-Twilio-Idempotency-Token": str(uuid.uuid4())}
        for attempt in range(CONNECT_ATTEMPTS):
            try:
                return await self._exchange(method, url, form, headers)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                if attempt == CONNECT_ATTEMPTS - 1:
                    raise _unreachable(self.dialled(url), error) from error
        raise AssertionError("the last attempt returns or raises")

    async def _exchange(self, method: str, url: str, form: dict[str, str] | None, headers: dict[str, str]) -> Answer:
        where = f"{method.upper()} {urlsplit(url).path}"
        try:
            async with self._session.request(
                method.upper(), self.dialled(url), data=form, headers=headers, allow_redirects=False
            ) as response:
                return Answer(response.status, response.headers.get("Content-Type", ""), await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise
        except TimeoutError as error:
            raise CallFailed(f"the server did not answer {where} within {TIMEOUT.total:g} s") from error
        except aiohttp.ClientError as error:
            raise CallFailed(f"the server broke {where} off without an answer ({_words(error)})") from error

    async def socket(self, url: str, heartbeat: float | None) -> Socket:
        """The upgraded socket; Refused says why not. `heartbeat`: seconds of quiet after which it pings."""
        headers = {"x-twilio-signature": self.sign(url, {})}
        try:
            socket = await self._session.ws_connect(
                self.dialled(url), headers=headers, autoclose=False, heartbeat=heartbeat, max_msg_size=32 * 1024 * 1024
            )
        except aiohttp.WSServerHandshakeError as error:
            raise Refused(f"the socket {url} was refused: HTTP {error.status}", "31920 Handshake Error") from error
        except aiohttp.ClientConnectorSSLError as error:
            raise Refused(f"the socket {url} was refused: {_words(error)}", "31910 TLS Error") from error
        except aiohttp.ClientConnectorError as error:
            raise Refused(f"the socket {url} was refused: {_words(error)}", "31902 Connection Refused") from error
        except TimeoutError as error:
            raise Refused(f"the socket {url} got no answer", "31901 Connection Timeout") from error
        except aiohttp.ClientError as error:
            raise Refused(f"the socket {url} was broken off ({_words(error)})", "31900 Unknown Error") from error
        return cast(Socket, socket)


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


async def _refuse_redirect(_session: object, _context: object, parameters: Any) -> None:
    """A handshake is not redirected: Twilio takes anything but 101 as an error (31920). Webhooks never come here."""
    await asyncio.sleep(0)
    response = parameters.response
    reason = f"the socket was refused: HTTP {response.status} to {response.headers.get('Location')}"
    raise Refused(reason, "31920 Handshake Error")
