"""A receiver of webhooks: a real server, which may be away, refuse, or answer in ways that nobody should."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.servers import free_port


@dataclass(frozen=True)
class Letter:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        return self.content["type"]


class Mailbox:
    """On a port of its own, from `open` to `close`, and so again: what came stays in `letters`."""

    def __init__(self, status: int = 204, tls: ssl.SSLContext | None = None) -> None:
        self.status, self.body, self.headers = status, b"", {}
        #: Asked with each letter what to answer; None for `status`.
        self.answer: Callable[[Letter], int | None] = lambda letter: None
        self.letters: list[Letter] = []
        self.tls = tls
        self.port = free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/hook?key=1"

    @property
    def ids(self) -> list[str]:
        return [letter.id for letter in self.letters]

    @property
    def types(self) -> list[str]:
        return [letter.type for letter in self.letters]

    def open(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler(), bind_and_activate=False)
        self._server.daemon_threads = False
        self._server.allow_reuse_address = True
        self._server.server_bind()
        self._server.server_activate()
        self._server.handle_error = lambda *_: None
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _handler(mailbox) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                letter = Letter(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                status = mailbox.answer(letter) or mailbox.status
                mailbox.letters.append(letter)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(mailbox.body)), **mailbox.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(mailbox.body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class Rogue:
    """Answers each connection with what `play(socket)` does, once a request has begun to come."""

    def __init__(self, play: Callable[[socket.socket], None]) -> None:
        self._play = play
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def _serve(self) -> None:
        try:
            line, _ = self._listener.accept()
        except OSError:
            return
        with line:
            line.recv(65536)
            with contextlib.suppress(OSError):
                self._play(line)

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
