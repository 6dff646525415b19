"""One POST to an address of somebody else's, who may be hostile: it ends in time, and little of it is kept."""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from threading import Timer

from calls.media.storable import storable
from calls.notices.destinations import Destination, Refused, Resolver, addresses, look_up, parse


# Seconds for all of it, after the name is looked up: however slowly somebody answers.
PATIENCE = 10.0
# Characters of an answer that are kept, and bytes that are read for them.
KEPT, READ = 500, 2000
# They did not say that they refuse; they may be back in a moment.
AWAY = (429, 502, 503, 504)
GONE = 410


@dataclass(frozen=True)
class Answer:
    """What came of a POST: a status, or an error. Both where the status is not one that takes it."""

    status: int | None = None
    body: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_away(self) -> bool:
        """Whether nobody was there, so that the next one need not be tried at once."""
        return self.status is None or self.status in AWAY


def post(url: str, headers: dict[str, str], body: bytes, *, resolver: Resolver = look_up) -> Answer:
    """Sends it, and says what came of it. Raises nothing."""
    began = time.monotonic()
    try:
        destination = parse(url)
        found = addresses(destination, resolver)
        status, said, where = _exchange(destination, found, headers, body)
    except Refused as refusal:
        return _answer(began, error=str(refusal))
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        return _answer(began, error=_explained(error, time.monotonic() - began))
    return _answer(began, status, said, _objection(status, where))


def _answer(began: float, status: int | None = None, body: str = "", error: str = "") -> Answer:
    # An error is logged, and may quote whoever answers: it is one line.
    line = "".join(character if character.isprintable() else " " for character in error)
    return Answer(status, storable(body, KEPT), storable(line, 300), round(time.monotonic() - began, 3))


def _exchange(destination: Destination, found: list[str], headers: dict[str, str], body: bytes) -> tuple[int, str, str]:
    """The answer's status, the beginning of its body, and where it redirects to."""
    end = time.monotonic() + PATIENCE
    sock = _connect(found, destination.port, end)
    connection = http.client.HTTPSConnection(destination.host, destination.port)
    connection.sock = sock
    with closing(connection), _cut_off(sock, end):
        if destination.scheme == "https":
            connection.sock = _tls().wrap_socket(sock, server_hostname=destination.host)
        sent = {"Host": destination.host_header, "Connection": "close", **headers}
        connection.request("POST", destination.target, body, sent)
        with connection.getresponse() as response:
            said = b""
            # The status is what counts, and that has come.
            with suppress(OSError, http.client.HTTPException, ValueError):
                said = response.read(READ)
            where = response.getheader("Location", "")
    return response.status, said.decode("utf-8", "replace"), where


def _objection(status: int, where: str) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"It answered {status}: redirects are not followed" + (f", this one to {where}." if where else ".")
    if status == GONE:
        return "It answered 410: it wants no more webhooks."
    return f"It answered {status}."


def _connect(found: list[str], port: int, end: float) -> socket.socket:
    """To the first that takes it. These are addresses and no names: nothing is looked up any more."""
    for address in found[:-1]:
        # Whoever drops what he does not want must leave time for the others.
        with suppress(OSError):
            return socket.create_connection((address, port), timeout=max(0.1, (end - time.monotonic()) / 2))
    return socket.create_connection((found[-1], port), timeout=max(0.1, end - time.monotonic()))


@cache
def _tls() -> ssl.SSLContext:
    """Certificates and names are verified; by the system's authorities, or by those of SSL_CERT_FILE."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextmanager
def _cut_off(sock: socket.socket, end: float) -> Iterator[None]:
    """Ends the connection at that time, whatever it is doing: a timeout counts anew from each byte that comes."""
    # A descriptor of its own: TLS takes the other one over, and what is closed is soon another thread's.
    with sock.dup() as same:
        timer = Timer(max(0.1, end - time.monotonic()), _shut, [same])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _explained(error: Exception, seconds: float) -> str:
    if seconds >= PATIENCE - 0.1:
        return f"It did not answer within {PATIENCE:.0f} s."
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"Its certificate cannot be trusted: {error.verify_message}."
    if isinstance(error, socket.gaierror):
        return f"Its name cannot be looked up: {error.strerror}."
    if isinstance(error, ConnectionRefusedError):
        return "Nobody listens there."
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"The connection failed: {said}."
