"""`make soak`: half an hour of everything at once, and what is left of it afterwards.

    python -m tests.trials.soak [--minutes 30] [--calls 150]

Calls of all kinds come and go, staff browse and listen, one of two workers is restarted every five minutes, and the
database goes away twice: once it refuses, once it does not answer. Everything is on 127.0.0.1 and is started, and
ended, by this program: Caddy, the workers of the Dockerfile, and a database of their own on PostgreSQL, with Redis.

It fails if a call was lost, a request was answered 5xx that does not need the database, what is stored of a stream and
explained by gaps is not what was sent, sample for sample, or if the worker that is never restarted holds more than it
did once it was warm: memory, descriptors, threads, connections to the database.

A simulated call costs a fifth of a percent of a core, and a real one as much: 150 of them need four cores.
"""

import argparse
import asyncio
import contextlib
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
# Whom the calls that are only listened to are connected to.
NOBODY = "+14155550123"
STAFF = ("soaked", "a password that nobody guesses")
# Seconds between two restarts, for which the database is away, and until the first calls have warmed everything up.
RESTART_EVERY, AWAY_FOR, WARM_UP = 300.0, 20.0, 30.0
# What may come and go without being a leak: RSS in MB, and a number each.
SLACK = {"memory": 25.0, "descriptors": 6.0, "threads": 3.0, "connections": 2.0}
# Samples that a caller may have sent to a socket which was just being closed; and of a packet: a line that loses some
# may have lost the last two before a `stop`.
IN_FLIGHT, PACKET = 1600, 160
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("echo", {}),
    ("echo", {"dtmf": ((1.0, "1"), (2.0, "#"))}),
    ("echo", {"cut_after": 3.0}),
    ("echo", {"drop": 0.02, "jitter": 0.05}),
    ("voicemail", {}),
    ("monitor", {}),
)
STORED = """SELECT stream.sid, stream.length, stream.end_reason,
    (SELECT coalesce(sum(length), 0) FROM calls_audiochunk WHERE stream_id = stream.id AND track = 'inbound'),
    (SELECT coalesce(sum(length), 0) FROM calls_gap WHERE stream_id = stream.id AND track = 'inbound'
        AND reason NOT IN ('cleared', 'no_stream'))
    FROM calls_stream stream"""


@dataclass
class Tally:
    """What callers and staff noticed, kept small: an hour of calls would not fit into memory."""

    calls: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    moves: int = 0
    failures: int = 0  # requests of Twilio's that were answered 5xx
    sent: dict[str, int] = field(default_factory=dict)  # samples, by StreamSid
    dropped: dict[str, int] = field(default_factory=dict)  # packets that the line has lost, likewise
    pages: Counter[int] = field(default_factory=Counter)  # statuses that staff got

    def count(self, kind: str, report: Any) -> None:
        self.calls[kind] += 1
        self.errors.update(report.errors[:1])
        self.moves += max(len(report.streams) - 1, 0)
        self.failures += sum(status >= 500 for _, status in report.requests)
        self.sent.update({stream.sid: len(stream.sent) for stream in report.streams})
        self.dropped.update({stream.sid: stream.frames_dropped for stream in report.streams})


class Callers(threading.Thread):
    """So many calls at any time, of all kinds, until they are told to stop; each ends before its thread does."""

    def __init__(self, production: Any, count: int, tally: Tally, seed: int) -> None:
        super().__init__(name="callers", daemon=True)
        self.production, self.count, self.tally = production, count, tally
        self.random = random.Random(seed)
        self.enough = threading.Event()

    def run(self) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*(self._call_again_and_again() for _ in range(self.count)))

        asyncio.run(all_of_them(), debug=False)

    async def _call_again_and_again(self) -> None:
        from simulator import SimulatedCall
        from tests.support.servers import SPEECH

        await asyncio.sleep(self.random.uniform(0, 10))
        while not self.enough.is_set():
            kind, facts = self.random.choice(KINDS)
            stays = self.random.uniform(4, 40)
            call = SimulatedCall(
                self.production.scenario(handler=kind, audio=SPEECH * 20, hang_up_after=stays, **facts)
            )
            self.tally.count(kind, await call.run())


class Staff(threading.Thread):
    """Somebody who goes through the admin, and hears a piece of a call now and then."""

    PAGES = ("/admin/calls/call/", "/admin/calls/call/?q=555", "/admin/", "/admin/calls/call/live/")

    def __init__(self, production: Any, tally: Tally) -> None:
        super().__init__(name="staff", daemon=True)
        self.production, self.tally = production, tally
        self.enough = threading.Event()

    def run(self) -> None:
        with requests.Session() as session:
            self._sign_in(session)
            while not self.enough.wait(0.5):
                for path in [*self.PAGES, *self._latest_call()]:
                    with contextlib.suppress(requests.RequestException):
                        self.tally.pages[self._get(session, path).status_code] += 1

    def _get(self, session: requests.Session, path: str) -> requests.Response:
        return session.get(self.production.url + path, headers={"Range": "bytes=0-65535"}, timeout=15)

    def _sign_in(self, session: requests.Session) -> None:
        login = self.production.url + "/admin/login/"
        session.get(login, timeout=15)
        form = {"username": STAFF[0], "password": STAFF[1], "next": "/admin/"}
        form["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
        answer = session.post(login, form, headers={"Referer": login}, timeout=15)
        assert answer.url.endswith("/admin/"), f"signed in, and was sent to {answer.url}"

    def _latest_call(self) -> Iterator[str]:
        from calls.models import Call

        with contextlib.suppress(Exception):
            pk = Call.objects.latest("pk").pk
            page = f"/admin/calls/call/{pk}/change/"
            yield from (page, f"/admin/calls/call/{pk}/recording.wav", f"/admin/calls/call/{pk}/peaks.json")


def held(pid: int, database: str) -> dict[str, float]:
    """What a process has: MB of memory, open descriptors, threads; and all connections to the database."""
    import psycopg

    status = Path(f"/proc/{pid}/status").read_text()
    facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    with psycopg.connect(database) as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        [connections] = connection.execute(asked).fetchone() or (0,)
    return {
        "memory": int(facts["VmRSS"].split()[0]) / 1024,
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(facts["Threads"]),
        "connections": float(connections),
    }


class Soak:
    """Two workers whose database can be taken away; the second of them is restarted, and the first one never."""

    def __init__(self, production: Any, line: Any, database: str, count: int) -> None:
        self.production, self.line, self.database = production, line, database
        self.tally = Tally()
        self.callers = Callers(production, count, self.tally, seed=1)
        self.staff = Staff(production, self.tally)

    def run(self, seconds: float) -> list[str]:
        """Returns what went wrong, a line each."""
        self._warm_up()
        warm = self._held()
        print(f"once it is warm: {_in_words(warm)}", flush=True)
        self.staff.start()
        self.callers.start()
        self._happen(seconds)
        self._end()
        after = self._held()
        print(f"at the end:      {_in_words(after)}", flush=True)
        grown = [
            f"{name}: {warm[name]:.0f} → {after[name]:.0f}" for name in SLACK if after[name] > warm[name] + SLACK[name]
        ]
        return [*grown, *self._noticed(), *self._unaccounted()]

    def _warm_up(self) -> None:
        tally = Tally()
        callers, staff = Callers(self.production, 10, tally, seed=0), Staff(self.production, tally)
        callers.start()
        staff.start()
        # Threads come as they are needed, up to so many, and with each its connection to the database.
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(self._callback, range(600)))
        time.sleep(WARM_UP)
        for thread in (staff, callers):
            thread.enough.set()
            thread.join()
        self.tally.sent.update(tally.sent)
        self.tally.dropped.update(tally.dropped)

    def _callback(self, number: int) -> int:
        facts = {"CallSid": f"CA{number:032x}", "CallStatus": "no-answer", "CallbackSource": "call-progress-events"}
        return self.production.post("/call-status", **facts)

    def _held(self) -> dict[str, float]:
        # Sockets that were closed a moment ago, and threads that end when nobody has needed them for a while.
        time.sleep(10)
        return held(self.production.web[0].pid, self.database)

    def _happen(self, seconds: float) -> None:
        """What is planned for, each thing at its time."""
        began = time.monotonic()
        plan = [(at, self._restart) for at in _every(min(RESTART_EVERY, seconds / 3), seconds)]
        plan += [(seconds * 0.45, lambda: self._without_database("cut"))]
        plan += [(seconds * 0.8, lambda: self._without_database("freeze"))]
        for at, happens in sorted(plan, key=lambda each: each[0]):
            _wait_until(began + at, self._say_how_it_goes)
            happens()
        _wait_until(began + seconds, self._say_how_it_goes)

    def _say_how_it_goes(self) -> None:
        calls, lost = self.tally.calls.total(), self.tally.errors.total()
        print(f"  {calls} calls, {lost} lost, {self.tally.moves} moved; {self.tally.pages.total()} pages", flush=True)

    def _restart(self) -> None:
        from tests.trials.deploys import Deploys

        print("  a worker is restarted", flush=True)
        deploys = Deploys(self.production)
        deploys.stop(1)
        deploys.start(1)

    def _without_database(self, how: str) -> None:
        print(f"  the database is away: {how}", flush=True)
        self.line.mode = how
        time.sleep(AWAY_FOR)
        self.line.mode = "pass"

    def _end(self) -> None:
        from calls.models import Stream
        from tests.support.servers import until

        for thread in (self.staff, self.callers):
            thread.enough.set()
            thread.join()
        until(lambda: not Stream.objects.live().exists(), "every stream to be written to its end", 60)

    def _noticed(self) -> Iterator[str]:
        yield from (f"{count} calls: {' '.join(error.split())}" for error, count in self.tally.errors.most_common(5))
        if self.tally.failures:
            yield f"{self.tally.failures} requests of Twilio's were answered 5xx"
        print(f"staff were answered: {dict(self.tally.pages)}; calls: {dict(self.tally.calls)}")

    def _unaccounted(self) -> Iterator[str]:
        """Streams of which more or less is stored and explained than was sent."""
        import psycopg

        from tests.support.recorded import verify

        try:
            verify()
        except AssertionError as error:
            yield str(error)
        with psycopg.connect(self.database) as connection:
            stored = {sid: facts for sid, *facts in connection.execute(STORED).fetchall()}
        for sid, sent in self.tally.sent.items():
            if sid not in stored:
                if sent > IN_FLIGHT:
                    yield f"{sid}: {sent} samples were sent, and there is no such stream"
                continue
            length, reason, audio, explained = stored[sid]
            if audio + explained != length:
                yield f"{sid}: {audio} stored and {explained} explained of {length}"
            if sent - length > (min(self.tally.dropped[sid], 2) * PACKET if reason == "stop" else IN_FLIGHT):
                yield f"{sid} ({reason}): {sent} were sent, and {length} are known"
        print(f"{len(self.tally.sent)} streams, {sum(self.tally.sent.values()) / 8000 / 3600:.1f} h were accounted for")


def _every(period: float, until: float) -> Iterator[float]:
    at = period
    while at < until - 30:
        yield at
        at += period


def _wait_until(moment: float, say: Callable[[], None]) -> None:
    while (left := moment - time.monotonic()) > 0:
        time.sleep(min(left, 30))
        say()


def _in_words(facts: dict[str, float]) -> str:
    return (
        f"{facts['memory']:.0f} MB, {facts['descriptors']:.0f} descriptors, {facts['threads']:.0f} threads; "
        f"{facts['connections']:.0f} connections to the database"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--calls", type=int, default=150)
    arguments = parser.parse_args()
    from tests.support.production import DATABASE_URL, Production, new_database
    from tests.support.proxy import Proxy

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(new_database(DATABASE_URL))
        # What looks at the rows goes straight to the database, and what is looked at goes through the line.
        os.environ |= {"DATABASE_URL": database, "REDIS_URL": ""}
        import django

        django.setup()
        address = urlsplit(database)
        line = stack.enter_context(Proxy(address.hostname or "127.0.0.1", address.port or 5432))
        url = database.replace(f":{address.port or 5432}/", f":{line.port}/")
        production = stack.enter_context(Production(folder, url, "http", DRAIN_SECONDS="10", MONITOR_DIAL=NOBODY))
        code = "from django.contrib.auth.models import User; User.objects.create_superuser"
        made = production.run("python", "manage.py", "shell", "-v0", "-c", f"{code}({STAFF[0]!r}, '', {STAFF[1]!r})")
        assert made.returncode == 0, made.stderr
        print(f"{arguments.calls} calls, two workers, {arguments.minutes:g} minutes", flush=True)
        wrong = Soak(production, line, database, arguments.calls).run(arguments.minutes * 60)
        if wrong:
            print(production.logs()[-8000:], file=sys.stderr)
    print(*wrong[:20], sep="\n")
    if wrong:
        sys.exit(f"{len(wrong)} things went wrong.")
    print("Nothing was lost, and nothing grew.")


if __name__ == "__main__":
    main()
