"""Real server processes for tests, on the tests' database and on ports that nobody else has."""

import contextlib
import fcntl
import http.client
import itertools
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.db import connections
from twilio.request_validator import RequestValidator

from calls.media.audio import read_wav
from simulator import Scenario


ROOT = Path(__file__).resolve().parent.parent.parent
SPEECH = read_wav((ROOT / "calls/sounds/caller.wav").read_bytes())
BIN = Path(sys.executable).parent
# Seconds that anything may take before a test gives up on it: far more than it needs, also on a busy machine.
DEADLINE = 90.0

UVICORN = "uvicorn config.asgi:application --host 127.0.0.1 --port {port} --loop uvloop --http httptools"
UVICORN += (
    " --ws calls.sockets.uvicorn:MediaWebSocket --ws-max-size 1048576 --ws-per-message-deflate false --no-access-log"
)
UVICORN += " --timeout-graceful-shutdown 30"
COMMANDS = {
    "uvicorn": UVICORN,
    "workers": UVICORN + " --workers 2",
    "daphne": "daphne -b 127.0.0.1 -p {port} config.asgi:application",
    "runserver": "python manage.py runserver --noreload 127.0.0.1:{port}",
}


def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Waits for a condition, and returns what it gave."""
    give_up = time.monotonic() + deadline
    while not (found := condition()):
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        time.sleep(0.02)
    return found


# Below what the kernel hands out to clients. Where a process begins to look, so that it seldom meets another one.
PORTS = range(21000, 32000)
_looked_at = itertools.count(os.getpid() * 20)


def free_port() -> int:
    """One that nobody listens on, and that no other process which tests is given while this one runs."""
    folder = Path(tempfile.gettempdir()) / "callstream-ports"
    folder.mkdir(exist_ok=True)
    for number in _looked_at:
        port = PORTS[number % len(PORTS)]
        if _claimed(folder / str(port)) and _is_free(port):
            return port
    raise AssertionError("unreachable")


def _claimed(path: Path) -> bool:
    """Takes a lock that the kernel gives back when this process ends."""
    claim = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(claim)
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


def database_url(host: str = "", port: int = 0) -> str:
    """The database that the tests run on, as a child process finds it; through another address if one is given."""
    facts = connections["default"].settings_dict
    if connections["default"].vendor == "sqlite":
        return f"sqlite:///{facts['NAME']}"
    user = facts["USER"] + (f":{facts['PASSWORD']}" if facts["PASSWORD"] else "")
    return f"postgres://{user}@{host or facts['HOST']}:{port or facts['PORT'] or 5432}/{facts['NAME']}"


class Server:
    """A server process on the tests' database. Its log is a file; leaving the block ends it, whatever it is doing."""

    def __init__(
        self, kind: str, folder: Path, *, public_url: str = "", port: int = 0, root: Path = ROOT, **environment: str
    ) -> None:
        self.kind = kind
        self.root = root
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.public_url = public_url or self.url
        self.log_path = folder / f"{kind}-{self.port}-{secrets.token_hex(2)}.log"
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": database_url(),
            "PUBLIC_URL": self.public_url,
            "SPOOL_DIR": str(folder / "spool"),
            "CHORES": "false",
            "STREAM_HANDLERS": "",
            "DRAIN_SECONDS": "0.5",
            **environment,
        }
        # A child in asyncio's debug mode would be measured, not the server.
        for name in ("PYTHONDEVMODE", "PYTHONWARNINGS", "PYTHONASYNCIODEBUG"):
            self.environment.pop(name, None)

    def start(self) -> Self:
        program, *arguments = COMMANDS[self.kind].format(port=self.port).split()
        with self.log_path.open("ab") as log:
            # A group of its own: workers and all can be killed together.
            self.process = subprocess.Popen(
                [BIN / program, *arguments],
                cwd=self.root,
                env=self.environment,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        try:
            until(self._is_up, f"{self.kind} to answer")
        except BaseException:
            self.kill()
            raise
        return self

    def _is_up(self) -> bool:
        assert self.process.poll() is None, f"{self.kind} did not start:\n{self.log}"
        return self.get("/healthz") == 200

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def get(self, path: str) -> int:
        """The status of a GET; 0 if nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def post(self, path: str, **form: str) -> int:
        """The status of a webhook, signed as Twilio does."""
        signature = RequestValidator(settings.TWILIO_AUTH_TOKENS[0]).compute_signature(self.public_url + path, form)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
        try:
            connection.request("POST", path, "&".join(f"{name}={value}" for name, value in form.items()), headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def half_open(self) -> list[socket.socket]:
        """A request that is sent half, and a handshake that nobody goes on with."""
        lines = (b"POST /incoming HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nCall", self._handshake())
        sockets = []
        for line in lines:
            sockets.append(socket.create_connection(("127.0.0.1", self.port)))
            sockets[-1].sendall(line)
        return sockets

    def _handshake(self, path: str = "/connection") -> bytes:
        url = self.public_url.replace("http", "ws", 1) + path
        signature = RequestValidator(settings.TWILIO_AUTH_TOKENS[0]).compute_signature(url, {})
        return (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"X-Twilio-Signature: {signature}\r\n\r\n"
        ).encode()

    def shake_hands(self, path: str = "/connection") -> int:
        """The status that answers a handshake: 101 if the socket is taken; 0 if the connection is."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
                line.sendall(self._handshake(path))
                answer = line.recv(100)
        except OSError:
            return 0
        return int(answer.split()[1]) if answer else 0

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, deadline: float = DEADLINE) -> int:
        """The exit code, negative for a signal."""
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.kind} does not end; its log:\n{self.log}") from None

    def kill(self) -> None:
        """kill -9, with its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def errors(self) -> list[str]:
        """The lines of the log that should not be there in an orderly life."""
        return [line for line in self.log.splitlines() if re.search(r"Traceback|CRITICAL|Exception|SIGSEGV", line)]

    def scenario(self, **facts: Any) -> Scenario:
        return Scenario(
            **{
                "public_url": self.public_url,
                "server": self.public_url,
                "account_sid": settings.TWILIO_ACCOUNT_SID,
                "auth_token": settings.TWILIO_AUTH_TOKENS[0],
                "audio": SPEECH,
                **facts,
            }
        )
