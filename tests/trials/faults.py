"""`make faults`: the promises of the recording under real faults, with many streams and many times, as a table.

    python -m tests.trials.faults [--streams 30] [--times 20] [--away 30] [--keys] [row …]

On SQLite, and on PostgreSQL and Redis where they answer (or on what DATABASE_URL names).
"""

import argparse
import base64
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
POSTGRES = os.environ.get("TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/test")
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
KEYS = f"trial:{base64.b64encode(os.urandom(32)).decode()}"
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Row:
    """A line of the table: the fault, and the worst of everything that was measured under it."""

    fault: str
    promise: str
    inside: int = 0  # ms that are missing inside a stream
    behind: int = 0  # ms that were said after the end of what is stored
    late: int = 0  # ms that an echo was late
    silence: float = 0.0  # s between two streams of a call
    codes: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.faults.append(what)

    def __str__(self) -> str:
        verdict = "; ".join(dict.fromkeys(self.faults)) or "ok"
        codes = ",".join(map(str, sorted(self.codes))) or "-"
        measured = f"{self.inside:>5} ms {self.behind:>5} ms {self.late or '-':>7} {self.silence or '-':>8} {codes:>6}"
        return f"{self.fault:<46} {measured}  {verdict}  (promised: {self.promise})"


HEADER = f"{'fault':<46} {'missing':>8} {'behind':>8} {'late ms':>7} {'silent s':>8} {'exit':>6}  verdict"


def measure(row: Row, reports: list[Any], *, echo: bool = True) -> None:
    """Adds what these calls say, and that every sample is stored or explained."""
    from calls.models import Stream
    from tests.support.recorded import echo_delay, loss, verify, worst_silence
    from tests.support.servers import until

    with contextlib.suppress(AssertionError):
        until(lambda: not Stream.objects.live().exists(), "every stream to be stored to its end", 40)
    try:
        found = loss(reports)
        row.inside, row.behind = max(row.inside, found.holes), max(row.behind, found.tail)
        verify()
    except AssertionError as error:
        row.faults.append(str(error).splitlines()[0])
    row.silence = max(row.silence, round(worst_silence(), 2))
    if echo:
        row.late = max(row.late, *(echo_delay(report) for report in reports))
    row.faults += [error for report in reports for error in report.errors]


def forget() -> None:
    from django.core.management import call_command

    call_command("flush", interactive=False, verbosity=0)


class Run:
    """The rows. Each method is one, and yields when it has something to print."""

    def __init__(self, streams: int, times: int, away: int, folder: Path) -> None:
        self.streams, self.times, self.away, self.folder = streams, times, away, folder

    def minute(self) -> Iterator[Row]:
        from calls.models import Stream
        from tests.support.callers import Calls
        from tests.support.recorded import lane
        from tests.support.servers import SPEECH, Server

        for kind in ("runserver", "uvicorn"):
            row = Row(f"none: 60 s of speech, {kind}", "every sample")
            with Server(kind, self.folder) as server:
                reports = Calls(server, handler="echo", audio=(SPEECH * 10)[: 60 * 8000]).result(120)
            stored = lane(Stream.objects.get(), "inbound")
            row.check(stored == reports[0].sent and len(stored) >= 60 * 8000, "not sample for sample")
            measure(row, reports)
            yield row

    def none(self) -> Iterator[Row]:
        from tests.support.callers import Calls
        from tests.support.servers import SPEECH, Server

        row = Row(f"none: {self.streams} streams", "the echo's own lateness on this machine")
        with Server("uvicorn", self.folder) as server:
            measure(row, Calls(server, self.streams, handler="echo", audio=SPEECH).result())
        yield row

    def sigterm(self) -> Iterator[Row]:
        for kind, code in (("daphne", 0), ("uvicorn", -signal.SIGTERM)):
            row = Row(f"SIGTERM x{self.times}, {kind}", "0 ms missing, silence 1.5 s")
            for reports, server in self._two_workers(kind, signal.SIGTERM):
                row.codes.add(server.process.returncode)
                row.check(server.process.returncode == code, f"exit code {server.process.returncode}")
                row.check(not server.errors, f"in the log: {server.errors[:1]}")
                measure(row, reports, echo=False)
                forget()
            row.check(row.inside == 0, "audio is missing")
            row.check(row.silence <= 1.5, "the silence was longer")
            yield row

    def kill(self) -> Iterator[Row]:
        from calls.models import Stream
        from tests.support.recorded import gaps

        row = Row(f"kill -9 x{self.times}, uvicorn", "500 ms, explained; silence 1.5 s")
        everything = []
        for reports, server in self._two_workers("uvicorn", signal.SIGKILL):
            everything += reports
            row.codes.add(server.process.returncode)
        dead = Stream.objects.filter(end_reason="interrupted")
        row.check(dead.count() == self.times * self.streams, f"{dead.count()} streams were closed as interrupted")
        crashes = [gap for gap in gaps(stream__in=dead) if gap[1] == "crash"]
        row.check(len(crashes) == dead.count(), f"{len(crashes)} gaps explain {dead.count()} crashes")
        measure(row, everything, echo=False)
        row.check(row.inside == 0 and row.behind <= 500, "more is missing")
        row.check(row.silence <= 1.5, "the silence was longer")
        forget()
        yield row

    def _two_workers(self, kind: str, number: int) -> Iterator[tuple[list[Any], Any]]:
        """Again and again: calls on one of two workers, which is ended; they go on at the other one."""
        from calls.models import Stream
        from tests.support.balancer import Balancer
        from tests.support.callers import Calls
        from tests.support.servers import SPEECH, Server, until

        with Balancer() as front, contextlib.ExitStack() as stack:
            first = stack.enter_context(Server(kind, self.folder, public_url=front.url))
            front.targets.append(first.port)
            for time_ in range(1, self.times + 1):
                calls = Calls(first, self.streams, handler="echo", audio=SPEECH, hang_up_after=60.0)
                second = stack.enter_context(Server(kind, self.folder, public_url=front.url))
                front.targets.append(second.port)
                calls.talk(1.0)
                stop = threading.Event()
                handshakes = threading.Thread(target=_shake, args=(first, stop))
                handshakes.start()
                half_open = first.half_open()
                first.send(number)
                first.wait(60)
                stop.set()
                handshakes.join()
                front.targets.remove(first.port)
                for line in half_open:
                    line.close()
                reports = calls.reconnect().hang_up().result(120)
                say(f"  {kind} {time_}/{self.times}")
                if number == signal.SIGKILL and time_ == self.times:
                    with contextlib.suppress(AssertionError):
                        until(lambda: not Stream.objects.live().exists(), "the orphans to be closed", 30)
                yield reports, first
                first = second

    def peer(self) -> Iterator[Row]:
        """Half-open connections: the other side is gone, and nothing says so."""
        from calls.models import Stream
        from tests.support.callers import Calls
        from tests.support.proxy import Proxy
        from tests.support.recorded import loss, verify
        from tests.support.servers import SPEECH, Server, until

        for kind in ("daphne", "uvicorn"):
            row = Row(f"callers vanish without a word, {kind}", "0 ms missing, ended within 60 s")
            with Server(kind, self.folder) as server, Proxy("127.0.0.1", server.port) as line:
                there = f"http://127.0.0.1:{line.port}"
                calls = Calls(server, self.streams, server=there, handler="echo", audio=SPEECH * 20, hang_up_after=600)
                calls.talk(2.0)
                line.mode = "freeze"
                try:
                    until(lambda: not Stream.objects.live().exists(), "every stream to be ended", 60)
                    verify()
                except AssertionError as error:
                    row.faults.append(str(error).splitlines()[0])
                line.mode = "cut"
                row.inside = loss(calls.hang_up().result(120)).holes
            row.check(row.inside == 0, "audio is missing")
            forget()
            yield row

    def database(self) -> Iterator[Row]:
        from django.db import connection

        ways = {"locked": "cut"} if connection.vendor == "sqlite" else {"stopped": "cut", "frozen": "freeze"}
        for name, how in ways.items():
            row = Row(f"{connection.vendor} {name} for {self.away} s", "0 ms, nobody notices")
            with self._surroundings() as around:
                reports = self._talk_through(around, lambda around=around, how=how: around.without_database(how))
                measure(row, reports)
                row.check(around.server.process.poll() is None, "the server died")
            row.check(row.inside == row.behind == 0, "audio is missing")
            row.check(row.late <= 500, "callers noticed")
            forget()
            yield row

    def redis(self) -> Iterator[Row]:
        from django.conf import settings

        if not settings.REDIS_URL:
            return
        for name, how in {"away": "cut", "frozen": "freeze"}.items():
            row = Row(f"Redis {name} for {2 * self.away} s", "0 ms, no stream closed")
            with self._surroundings() as around:

                @contextlib.contextmanager
                def without(around: Any = around, how: str = how) -> Iterator[None]:
                    around.redis.mode = how
                    yield
                    around.redis.mode = "pass"

                measure(row, self._talk_through(around, without, 2))
            row.check(row.inside == row.behind == 0, "audio is missing")
            row.check(row.late <= 500, "callers noticed")
            forget()
            yield row

    def _surroundings(self) -> Any:
        from tests.support.surroundings import Surroundings

        return Surroundings(self.folder, patience=20)

    def _talk_through(self, around: Any, fault: Any, times: int = 1) -> list[Any]:
        """Calls that begin before the fault and end after it."""
        from tests.support.callers import Calls
        from tests.support.servers import SPEECH

        calls = Calls(around.server, self.streams, handler="echo", audio=SPEECH * 20, hang_up_after=600.0).talk(2.0)
        with fault():
            time.sleep(times * self.away)
        calls.talk(calls.calls[0].seconds + 3.0)
        return calls.hang_up().result(120)

    def query(self) -> Iterator[Row]:
        from tests.support.callers import Calls
        from tests.support.servers import SPEECH

        for kind in ("runserver", "uvicorn"):
            row = Row(f"a 3 s query in a view, three at once, {kind}", "50 ms more than with no fault")
            with self._surroundings() as around, around.another(kind) as server:
                calls = Calls(server, self.streams, handler="echo", audio=SPEECH, hang_up_after=60.0).talk(2.0)
                views = [threading.Thread(target=server.get, args=("/slow",)) for _ in range(3)]
                for view in views:
                    view.start()
                for view in views:
                    view.join()
                measure(row, calls.hang_up().result())
            row.check(row.inside == row.behind == 0, "audio is missing")
            forget()
            yield row

    def handlers(self) -> Iterator[Row]:
        from calls.models import Stream
        from tests.support.callers import Calls
        from tests.support.servers import SPEECH, until

        for name in ("raises", "hangs", "poisons"):
            row = Row(f"a handler that {name}, among {self.streams}", "0 ms, the others notice nothing")
            with self._surroundings() as around:
                others = Calls(around.server, self.streams, handler="echo", audio=SPEECH, hang_up_after=6.0)
                one = Calls(around.server, handler=name, audio=SPEECH, hang_up_after=5.0, silence_timeout=0).result()
                reports = others.result()
                # A handler that hangs has 5 s more once its caller has hung up, and the server is killed after that.
                until(lambda: not Stream.objects.live().exists(), "every stream to end")
                row.check(around.server.process.poll() is None, "the server died")
            row.check("<Hangup" in one[0].twiml[-1] or name != "raises", "the failed call went on")
            measure(row, one, echo=False)
            measure(row, reports)
            row.check(row.inside == 0, "audio is missing")
            forget()
            yield row


ROWS = ("minute", "none", "sigterm", "kill", "peer", "database", "redis", "query", "handlers")
# What PostgreSQL and Redis change.
SERVICES = ("kill", "database", "redis", "query")


def _shake(server: Any, stop: threading.Event) -> None:
    while not stop.wait(0.02):
        server.shake_hands()


def say(line: str) -> None:
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def here(arguments: argparse.Namespace) -> int:
    """The table on the database that DATABASE_URL names."""
    import django

    django.setup()
    # A proxy that is cut tells of every task that it cancelled.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    from django.db import connection

    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        connection.settings_dict["TEST"]["NAME"] = (
            f"{folder}/faults.sqlite3" if connection.vendor == "sqlite" else f"faults_{os.getpid()}"
        )
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        try:
            run = Run(arguments.streams, arguments.times, arguments.away, Path(folder))
            print(f"\n{connection.vendor}, {arguments.streams} streams\n{HEADER}", flush=True)
            for name in arguments.rows or (ROWS if connection.vendor == "sqlite" else SERVICES):
                for row in getattr(run, name)():
                    print(row, flush=True)
                    failed += bool(row.faults)
                    forget()
        finally:
            connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)
    return failed


def everywhere() -> int:
    """The same in a process of its own for SQLite, and for PostgreSQL and Redis if both answer."""
    databases = [{"DATABASE_URL": f"sqlite:///{ROOT / 'var' / 'faults.sqlite3'}", "REDIS_URL": ""}]
    if all(_listens(port) for port in (5432, 6379)):
        databases.append({"DATABASE_URL": POSTGRES, "REDIS_URL": REDIS})
    command = [sys.executable, "-m", "tests.trials.faults", *sys.argv[1:]]
    return sum(subprocess.run(command, env={**os.environ, **database}).returncode for database in databases)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
        return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], metavar="row", help=f"only these: {', '.join(ROWS)}")
    parser.add_argument("--streams", type=int, default=30)
    parser.add_argument("--times", type=int, default=20, help="how often a process is ended")
    parser.add_argument("--keys", action="store_true", help="with RECORDING_KEYS: all that is recorded is sealed")
    parser.add_argument("--away", type=int, default=30, metavar="SECONDS", help="of the database; Redis twice as long")
    arguments = parser.parse_args()
    if arguments.keys:
        # Read by tests/settings.py, and inherited by every server.
        os.environ["TEST_RECORDING_KEYS"] = os.environ["RECORDING_KEYS"] = KEYS
    return here(arguments) if "DATABASE_URL" in os.environ else everywhere()


if __name__ == "__main__":
    sys.exit(min(main(), 1))
