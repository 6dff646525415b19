"""`make deploy-trial`: new versions at noon. Two workers behind the shipped Caddyfile are replaced under 40 live calls.

    python -m tests.trials.deploys [--calls 40] [row …]

Everything is on 127.0.0.1 and is started, and ended, by this program: Caddy, the workers of the Dockerfile, and a
database of their own on PostgreSQL, with Redis. It takes about three minutes.

For each way of doing it: calls that were lost, what Twilio was answered 5xx, for how long callers had nobody on the
line (the median and the 99th percentile of all moves, by their own clocks), and by how much the recordings' gaps differ
from that. It fails where a call is lost, a request is answered 5xx, a caller waits for more than 2 s, or a gap is not
as long as it was; but for `both`, of which only is told what is kept: nobody answers then for as long as a start takes.
"""

import argparse
import contextlib
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
# Seconds that callers may have nobody on the line, and by which the recording may say something else.
SILENCE, CLOCKS = 2.0, 0.4
# Seconds in which the proxy, which asks once a second, has noticed a worker that is ready.
NOTICED = 2.5
GAPS = """SELECT call.sid, coalesce(sum(stream.absent), 0) / 8000.0 FROM calls_call call
          JOIN calls_stream stream ON stream.call_id = call.id GROUP BY call.sid"""


@dataclass
class Row:
    """A line of the table: a way of replacing the workers, and what callers and Twilio noticed of it."""

    name: str
    calls: int
    lost: int = 0
    failures: int = 0  # requests of Twilio's that were answered 5xx
    moves: int = 0
    gaps: list[float] = field(default_factory=list)  # s without a stream, of each call, a move on average
    untrue: float = 0.0  # s by which a recording's gaps differ from them, at most
    promises: bool = True
    errors: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        found = {
            "calls were lost": self.lost,
            "requests were answered 5xx": self.failures,
            f"callers waited for more than {SILENCE:g} s": self.p99 > SILENCE,
            "gaps are not as long as they were": self.untrue > CLOCKS,
            "nobody was moved": not self.moves,
        }
        return [fault for fault, holds in found.items() if holds and self.promises]

    @property
    def p99(self) -> float:
        return sorted(self.gaps)[round(0.99 * (len(self.gaps) - 1))] if self.gaps else 0.0

    def __str__(self) -> str:
        p50 = statistics.median(self.gaps) if self.gaps else 0.0
        figures = f"{self.lost:>3} of {self.calls:<3} {self.failures:>4} {self.moves:>6} {p50:>8.2f} {self.p99:>6.2f}"
        verdict = "; ".join(self.faults) or ("ok" if self.promises else "not promised")
        return f"{self.name:<34}{figures} {self.untrue:>10.2f}  {verdict}"


HEADER = f"{'':<34}{'lost':>9}  {'5xx':>4} {'moves':>6} {'p50 s':>8} {'p99 s':>6} {'gaps off s':>10}"


class Watched:
    """Calls of which each caller's own clock says for how long nobody was on the line."""

    def __init__(self, production: Any, count: int) -> None:
        from tests.support.callers import Calls
        from tests.support.servers import SPEECH

        self.production = production
        self.calls = Calls(production, count, handler="echo", audio=SPEECH * 40, hang_up_after=600.0).talk(1.0)
        self._began = time.monotonic()
        self._said = [call.seconds for call in self.calls.calls]

    def end(self, name: str, *, promises: bool = True) -> Row:
        """Lets each be heard on the stream that it is on, and hangs up."""
        from tests.support.servers import until

        calls, said = self.calls.calls, [call.seconds for call in self.calls.calls]
        with contextlib.suppress(AssertionError):
            until(lambda: all(call.seconds > was + 1 for call, was in zip(calls, said, strict=True)), "all to talk", 20)
        elapsed = time.monotonic() - self._began
        away = [elapsed - (call.seconds - was) for call, was in zip(calls, self._said, strict=True)]
        reports = self.calls.hang_up().result(120)
        row = Row(name, len(reports), promises=promises)
        recorded = self._recorded()
        for report, seconds in zip(reports, away, strict=True):
            row.errors += report.errors
            row.lost += bool(report.errors)
            row.failures += sum(status >= 500 for _, status in report.requests)
            moves = len(report.streams) - 1
            row.moves += moves
            if moves and not report.errors:
                row.gaps.append(seconds / moves)
                row.untrue = max(row.untrue, abs(seconds - recorded.get(report.call_sid, 0.0)))
        return row

    def _recorded(self) -> dict[str, float]:
        """Seconds without a stream, of each call, as its recording has them; once all of it is written."""
        import psycopg

        from tests.support.servers import until

        with psycopg.connect(self.production.environment["DATABASE_URL"], autocommit=True) as connection:
            live = "SELECT count(*) FROM calls_stream WHERE ended_at IS NULL"
            with contextlib.suppress(AssertionError):
                until(lambda: connection.execute(live).fetchone() == (0,), "every stream to be written to its end", 40)
            return {sid: float(seconds) for sid, seconds in connection.execute(GAPS).fetchall()}


class Deploys:
    """Ways of replacing both workers."""

    def __init__(self, production: Any) -> None:
        self.production = production

    def stop(self, at: int) -> None:
        self.production.web[at].terminate()

    def start(self, at: int) -> None:
        """Once the old one is gone: in its place, until it is ready and the proxy knows."""
        from tests.support.servers import until

        self.production.web[at].wait(timeout=60)
        port = self.production.web_ports[at]
        process = self.production.spawn(f"web-{port}", self.production.web_on(port), self.production.environment)
        self.production.web[at] = process
        until(lambda: self.production.healthy(port), f"port {port} to be healthy", 60)
        time.sleep(NOTICED)

    def one_by_one(self) -> None:
        for at in range(2):
            self.stop(at)
            self.start(at)

    def drained(self) -> None:
        """With `manage.py drain`, which hands the calls on before anything is stopped."""
        for at in range(2):
            name = f"{socket.gethostname()}:{self.production.web[at].pid}"
            ran = self.production.run("python", "manage.py", "drain", name, "--now", "--wait", "60")
            assert ran.returncode == 0, ran.stderr
            self.stop(at)
            self.start(at)

    def both(self) -> None:
        for at in range(2):
            self.stop(at)
        for at in range(2):
            self.start(at)


ROWS: dict[str, tuple[str, Callable[[Deploys], None], bool]] = {
    "one": ("SIGTERM, one by one", Deploys.one_by_one, True),
    "drain": ("manage.py drain --now, one by one", Deploys.drained, True),
    "both": ("SIGTERM, both at once", Deploys.both, False),
}


def deploy(production: Any, way: str, count: int) -> Row:
    """Replaces both workers that way, under that many calls."""
    name, replace, promises = ROWS[way]
    watched = Watched(production, count)
    replace(Deploys(production))
    return watched.end(name, promises=promises)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make deploy-trial", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=40)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="row", help=f"only these: {', '.join(ROWS)}")
    arguments = parser.parse_args()
    import django

    django.setup()
    from tests.support.production import DATABASE_URL, Production, new_database

    failed = 0
    print(f"{arguments.calls} calls, two workers\n{HEADER}", flush=True)
    for way in arguments.rows or [*ROWS]:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            database = stack.enter_context(new_database(DATABASE_URL))
            settings = {"DRAIN_SECONDS": "5", "CHORES": "false"}
            production = stack.enter_context(Production(folder, database, "http", **settings))
            row = deploy(production, way, arguments.calls)
            if row.errors:
                print(production.logs(), file=sys.stderr)
        print(row, *(f"    {error}" for error in dict.fromkeys(row.errors)), sep="\n", flush=True)
        failed += bool(row.faults)
    if failed:
        sys.exit(f"{failed} of these were noticed.")


if __name__ == "__main__":
    main()
