"""Real server processes for tests, calls placed to them from a thread, and what was recorded of those calls.

with Server("uvicorn", tmp_path) as server:
    calls = Calls(server, 3, handler="echo")
    calls.talk(1.0)
    server.send(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    reports = calls.result()
"""

import asyncio
import contextlib
import http.client
import io
import itertools
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.models import F, Max, Min
from twilio.request_validator import RequestValidator

from calls.media.audio import SILENCE, read_wav
from calls.models import Gap, Stream
from simulator import Report, Scenario, SimulatedCall, TwilioApi


ROOT = Path(__file__).resolve().parent.parent.parent
SPEECH = read_wav((ROOT / "calls/sounds/caller.wav").read_bytes())
BIN = Path(sys.executable).parent
# Seconds that anything may take before a test gives up on it: far more than it needs, also on a busy machine.
DEADLINE = 30.0

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


# Tests on another database may run at the same time, on ports of their own.
_ports = itertools.count((21000 if connection.vendor == "sqlite" else 26500) + os.getpid() % 250 * 20)


def free_port() -> int:
    """One that nobody listens on, outside of what the kernel hands out to clients."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise AssertionError("unreachable")


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


class Calls:
    """Simulated calls, all at once, in a thread with a loop of its own; with Twilio's API beside them at `api_port`."""

    def __init__(self, server: Server, count: int = 1, *, api_port: int = 0, **facts: Any) -> None:
        numbers = (f"+1415555{number:04d}" for number in itertools.count(100))
        scenarios = [server.scenario(**{"from_number": next(numbers), **facts}) for _ in range(count)]
        self.calls = [SimulatedCall(scenario) for scenario in scenarios]
        self._result: Future[list[Report]] = Future()
        self._thread = threading.Thread(target=self._run, args=(api_port,), name="calls", daemon=True)
        self._thread.start()

    def _run(self, api_port: int) -> None:
        async def place() -> list[Report]:
            return await asyncio.gather(*(call.run() for call in self.calls))

        async def place_with_api() -> list[Report]:
            self.api = TwilioApi(settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKENS[0])
            await self.api.start(api_port)
            try:
                return await asyncio.gather(*(self.api.play(call) for call in self.calls))
            finally:
                await self.api.stop()

        try:
            # Not in debug mode: a slow caller would be taken for a slow server.
            self._result.set_result(asyncio.run(place_with_api() if api_port else place(), debug=False))
        except BaseException as error:
            self._result.set_exception(error)

    def talk(self, seconds: float) -> Self:
        """Waits until every caller has talked to the server for so long."""
        until(lambda: min(call.seconds for call in self.calls) >= seconds or self._result.done(), "the calls to run")
        assert not self._result.done(), f"over already: {[report.errors for report in self._result.result()]}"
        return self

    def reconnect(self) -> Self:
        """Waits until every call is on its second stream, and has been heard there."""
        until(lambda: all(len(call.report.streams) == 2 for call in self.calls), "the calls to be connected again")
        return self.talk(min(call.seconds for call in self.calls) + 0.5)

    def hang_up(self) -> Self:
        for call in self.calls:
            call.hang_up()
        return self

    def result(self, deadline: float = 60) -> list[Report]:
        reports = self._result.result(timeout=deadline)
        self._thread.join()
        return reports


def place(server: Server, count: int = 1, **facts: Any) -> list[Report]:
    """Calls from their first ring until their last frame is stored; they have to succeed."""
    reports = Calls(server, count, **facts).result()
    assert [error for report in reports for error in report.errors] == [], server.log
    stored_to_the_end(reports)
    return reports


# --- what was recorded ------------------------------------------------------------------------------------------------


def lane(stream: Stream, track: str) -> bytes:
    """A track of a stream as it is stored: gaps are silence."""
    end = stream.chunks.filter(track=track).aggregate(end=Max(F("start") + F("length")))["end"] or 0
    audio = bytearray(SILENCE * end)
    for start, payload in stream.chunks.filter(track=track).values_list("start", "payload"):
        audio[start : start + len(payload)] = payload
    return bytes(audio)


@dataclass(frozen=True)
class Loss:
    """What a recording lacks, in ms of the worst stream: holes inside it, and what was sent behind its end."""

    holes: int = 0
    tail: int = 0

    def __or__(self, other: "Loss") -> "Loss":
        return Loss(max(self.holes, other.holes), max(self.tail, other.tail))


def loss(reports: list[Report]) -> Loss:
    """Compares what the callers said with what is stored of it; what is stored has to be it, sample for sample."""
    worst = Loss()
    for said in (stream for report in reports for stream in report.streams):
        stored = Stream.objects.filter(sid=said.sid).first()
        audio = lane(stored, "inbound")[_begin(stored) :] if stored else b""
        assert len(audio) <= len(said.sent), f"{said.sid}: more is stored than was said"
        wrong = sum(1 for a, b in zip(audio, said.sent, strict=False) if a != b)
        worst |= Loss(wrong // 8, (len(said.sent) - len(audio)) // 8)
    return worst


def _begin(stream: Stream) -> int:
    """Where the caller's audio begins: behind a gap, if the first frame came late."""
    return stream.chunks.filter(track="inbound").aggregate(start=Min("start"))["start"] or 0


def echo_delay(report: Report) -> int:
    """How late an echo was at its worst, in ms, by the caller's own ears."""
    worst = at = 0
    for position, audio in report.heard:
        worst = max(worst, position - at)
        at += len(audio)
    return worst // 8


def worst_silence() -> float:
    """Seconds between a call's last sample on one stream and its next stream, of all calls that were reconnected."""
    worst = 0.0
    for _, streams in itertools.groupby(Stream.objects.order_by("call", "started_at"), lambda stream: stream.call_id):
        for one, two in itertools.pairwise(streams):
            between = (two.started_at - one.started_at).total_seconds() - len(lane(one, "inbound")) / 8000
            worst = max(worst, between)
    return worst


def stored_to_the_end(reports: list[Report]) -> None:
    """Waits until the last frame of these calls is stored: the recorder is done a moment after the caller."""
    sids = [sid for report in reports for sid in report.stream_sids]
    ended = Stream.objects.filter(sid__in=sids, ended_at__isnull=False)
    until(lambda: ended.count() == len(sids), "every stream to be stored to its end")


def verify() -> None:
    """Every stream has ended, and of each one every sample is stored or explained."""
    live = list(Stream.objects.live().values_list("sid", flat=True))
    assert live == [], "streams without an end"
    output = io.StringIO()
    try:
        call_command("verify_calls", all=True, stdout=output, stderr=output)
    except CommandError as error:
        raise AssertionError(f"{error}\n{output.getvalue()}") from None


def gaps(**facts: Any) -> list[tuple[str, str, int]]:
    """(track, reason, ms) of every gap but those of a clear."""
    found = Gap.objects.filter(**facts).exclude(reason="cleared").order_by("stream", "start")
    return [(track, reason, length // 8) for track, reason, length in found.values_list("track", "reason", "length")]


# --- in front of servers ----------------------------------------------------------------------------------------------


class Balancer:
    """One address in front of several servers, as production's proxy is: a connection goes to one that is ready.

    Requests are answered one a connection, so that each is sent where somebody takes it.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.targets: list[int] = []
        #: Where the next connections go, ready or not: a real proxy finds out within a second.
        self.unaware: list[int] = []

    def __enter__(self) -> Self:
        started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._loop.set_debug(False)
        self._thread = threading.Thread(target=self._run, args=(started,), name="balancer", daemon=True)
        self._thread.start()
        started.wait(DEADLINE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, started: threading.Event) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve(started))

    async def _serve(self, started: threading.Event) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
        started.set()
        await self._stop.wait()
        server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"upgrade: websocket" not in head.lower():
                head = head[:-2] + b"Connection: close\r\n\r\n"
            if (port := await self._ready()) is None:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            there, back = await asyncio.open_connection("127.0.0.1", port)
            back.write(head)
            await asyncio.gather(_pipe(reader, back), _pipe(there, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _ready(self) -> int | None:
        """Asks each in turn, again and again for 8 s, as production's proxy does."""
        if self.unaware:
            return self.unaware.pop(0)
        give_up = time.monotonic() + 8
        while time.monotonic() < give_up:
            for port in [*self.targets]:
                if await _is_ready(port):
                    return port
            await asyncio.sleep(0.1)
        return None


async def _is_ready(port: int) -> bool:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /healthz/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    return False


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        # Also when it breaks: the other side hears of it, as of a connection of its own.
        writer.close()
