"""`make attack`: strangers attack two workers behind the shipped Caddyfile, and 20 callers say what they noticed of it.

    python -m tests.trials.attack [--seconds 10] [--calls 20] [row …]

Everything is on 127.0.0.1 and is started, and ended, by this program: Caddy, the workers of the Dockerfile, and a
database of their own on PostgreSQL (SQLite where none answers). It takes four minutes; every attack has an end.

For each attack: how late the callers' echoes were before and during it, what became of requests that Twilio signed, how
long the admin's login page took somebody else, and what the attacker was answered. It fails if the callers' p99 more
than doubled (what is below 5 ms, a quarter of a frame, counts as 5 ms: no caller notices less than 10), a signed
request was answered 5xx or not at all, a call was lost, a browser that is known could not log in during a flood of
guesses, or the attack was not the one that its name says: its attacker failed, or was answered something else.
"""

import argparse
import asyncio
import base64
import collections
import contextlib
import http.client
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
ROOT = Path(__file__).resolve().parent.parent.parent
FORM = "application/x-www-form-urlencoded"
# Well-formed, as anybody can make one; and what it is put on.
FALSE_SIGNATURE = base64.b64encode(bytes(20)).decode()
SIGNED = {"CallSid": "CA" + "1" * 32, "AccountSid": "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978", "CallStatus": "in-progress"}
# A quarter of a frame. Below this a p99 is this machine's own noise, and twice of it is too.
NOISE_MS = 5.0
# Seconds that the admin's login page may take somebody else.
LOGIN_SECONDS = 2.0
STAFF = ("attacked", "a password that nobody guesses")
# Django takes any that stands in the cookie and in the form.
TOKEN = "a" * 32


# --- The attackers: each a coroutine that lasts that many seconds, in a process of its own ----------------------------


class Attacker:
    """What one attacker has been answered, and the connections that it does it with."""

    def __init__(self, port: int, seconds: float, cookie: str) -> None:
        self.port, self.until, self.cookie = port, time.monotonic() + seconds, cookie
        self.answers: collections.Counter[str] = collections.Counter()
        self.sent = 0

    async def at_a_rate(self, per_second: float, attack: Callable[[], Awaitable[str]]) -> None:
        """Starts that many a second, however long each takes, and counts how they end."""
        tasks = []
        while time.monotonic() < self.until:
            tasks.append(asyncio.create_task(self._count(attack)))
            await asyncio.sleep(1 / per_second)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def in_turn(self, connections: int, attack: Callable[[], Awaitable[str]], pause: float = 0.0) -> None:
        """On that many connections at once, one after the other on each, with seconds between them."""

        async def go_on() -> None:
            while time.monotonic() < self.until:
                await self._count(attack)
                await asyncio.sleep(pause)

        tasks = [asyncio.create_task(go_on()) for _ in range(connections)]
        await asyncio.wait(tasks, timeout=self.until - time.monotonic() + 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _count(self, attack: Callable[[], Awaitable[str]]) -> None:
        try:
            self.answers[await attack()] += 1
        except asyncio.CancelledError:
            self.answers["unanswered"] += 1
            raise
        except ConnectionRefusedError:
            self.answers["nobody there"] += 1
        except (OSError, EOFError):
            self.answers["cut"] += 1

    def was_answered(self, expected: set[str]) -> bool:
        """Whether it was answered at all, and nothing but this; a connection that was cut off may be part of any."""
        return bool(expected & set(self.answers)) and set(self.answers) <= expected | {"cut", "unanswered"}

    async def ask(self, head: str, *parts: bytes, repeat: int = 1, address: str = "127.0.0.1") -> str:
        """One request on a connection of its own; the status of its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        try:
            writer.write(f"{head}\r\nHost: 127.0.0.1\r\n".encode() + parts[0])
            for _ in range(repeat):
                for part in parts[1:]:
                    writer.write(part)
                    self.sent += len(part)
                with contextlib.suppress(OSError):
                    await writer.drain()
                if reader.at_eof() or writer.is_closing():
                    break
            line = await reader.readline()
            return line.split()[1].decode() if line else "cut"
        finally:
            writer.close()

    # --- One of each

    async def oversize_get(self) -> str:
        return await self.ask("GET /incoming HTTP/1.1", b"Content-Length: 3000000\r\n\r\n", bytes(3_000_000))

    async def malformed_chunk(self) -> str:
        return await self.ask("GET /incoming HTTP/1.1", b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nCallS\r\nzz\r\n")

    async def broken_post(self) -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"POST /incoming HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nCallSid=CA")
        await asyncio.sleep(0.05)
        writer.transport.abort()
        return "left"

    async def upgrade(self) -> str:
        head = f"X-Twilio-Signature: {FALSE_SIGNATURE}\r\nContent-Type: {FORM}\r\nContent-Length: 100000000\r\n"
        head += "Connection: Upgrade\r\nUpgrade: x\r\n\r\n"
        return await self.ask("POST /incoming HTTP/1.1", head.encode(), bytes(1_000_000), repeat=100)

    async def unsigned(self, size: int, signature: str = "") -> str:
        body = b"a=" + b"%41" * (size // 3)
        head = f"Content-Type: {FORM}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{signature}\r\n"
        return await self.ask("POST /incoming HTTP/1.1", head.encode(), body)

    async def form(self, path: str, body: bytes, *, cookie: str = "", address: str = "127.0.0.1") -> str:
        """With a cookie that has Django look for a CSRF token in the form."""
        head = f"Content-Type: {FORM}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        head += f"Cookie: csrftoken={TOKEN}; {cookie}\r\n\r\n"
        return await self.ask(f"POST {path} HTTP/1.1", head.encode(), body, address=address)

    async def guess(self) -> str:
        return await self.form("/admin/login/", login_form(STAFF[0], secrets.token_hex(8)))

    async def guess_widely(self) -> str:
        """At made-up accounts, and one that is there, from ten addresses, as a browser that is known to nobody."""
        username = random.choice([secrets.token_hex(4), f" {STAFF[0]}"])
        form = login_form(username, secrets.token_hex(8))
        address = f"127.0.0.{random.randint(2, 11)}"
        return await self.form("/admin/login/", form, cookie="known-browser=x", address=address)

    async def long_form(self) -> str:
        path = random.choice(["/admin/calls/call/1/change/", "/admin/calls/call/"])
        return await self.form(path, b"a=" + b"%41" * 330_000)

    async def numbers(self) -> str:
        head = f"Cookie: sessionid={self.cookie}\r\nConnection: close\r\n\r\n"
        return await self.ask("GET /admin/calls/call/numbers/ HTTP/1.1", head.encode())


def login_form(username: str, password: str) -> bytes:
    form = {"username": username, "password": password, "csrfmiddlewaretoken": TOKEN, "next": "/admin/"}
    return urlencode(form).encode()


def _signature() -> str:
    return f"X-Twilio-Signature: {FALSE_SIGNATURE}\r\n"


@dataclass(frozen=True)
class Attack:
    """What it is, what it does, and what it is answered if it does that."""

    name: str
    run: Callable[[Attacker], Awaitable[None]]
    answers: set[str]
    #: Whether somebody whose browser is known logs in meanwhile.
    at_the_login: bool = False


ATTACKS = {
    "gets": Attack("oversize GETs, 4 a second", lambda it: it.at_a_rate(4, it.oversize_get), {"413"}),
    "chunks": Attack("malformed chunks, 20 a second", lambda it: it.at_a_rate(20, it.malformed_chunk), {"400", "502"}),
    "posts": Attack("broken POSTs, 20 a second", lambda it: it.at_a_rate(20, it.broken_post), {"left"}),
    "upgrade": Attack("Upgrade: x with 100 MB, 2 at once", lambda it: it.in_turn(2, it.upgrade), {"413", "cut"}),
    "unsigned": Attack(
        "unsigned, 1 MB, 9 a second", lambda it: it.at_a_rate(9, lambda: it.unsigned(1_000_000)), {"413"}
    ),
    "false": Attack(
        "false signature, 64 KB, 9 a second",
        lambda it: it.at_a_rate(9, lambda: it.unsigned(64_000, _signature())),
        {"403"},
    ),
    "forms": Attack(
        # 502: a worker has refused it while the proxy was still writing to it.
        "1 MB to the admin, 9 a second",
        lambda it: it.at_a_rate(9, it.long_form),
        {"403", "413", "429", "502"},
    ),
    # At most 200 a second: without a pause, refusals come so fast that nothing but volume would be measured.
    "login": Attack(
        "guesses at the login, 20 at once", lambda it: it.in_turn(20, it.guess, pause=0.1), {"200", "429"}, True
    ),
    "accounts": Attack(
        "many accounts, from 10 addresses",
        lambda it: it.in_turn(20, it.guess_widely, pause=0.1),
        {"200", "429"},
        True,
    ),
    "numbers": Attack("a silent Twilio API, 4 at once", lambda it: it.in_turn(4, it.numbers), {"200"}),
}


def attack(name: str, port: int, seconds: float, cookie: str) -> None:
    """What the process of an attacker does; its tally is its last line, and its exit code 1 if it was no attack."""
    attacker = Attacker(port, seconds, cookie)
    asyncio.run(ATTACKS[name].run(attacker))
    answers = " ".join(f"{answer}×{count}" for answer, count in attacker.answers.most_common(5))
    print(f"{answers or 'nothing'}, {attacker.sent / 1e6:.1f} MB sent")
    if not attacker.was_answered(ATTACKS[name].answers):
        sys.exit(1)


# --- Those who are attacked -----------------------------------------------------------------------------------------


class Probe(threading.Thread):
    """Asks the same again and again, a few times a second, until it is stopped: statuses, and the worst wait."""

    def __init__(self, port: int, method: str, path: str, body: str = "", pause: float = 0.15, **headers: str) -> None:
        super().__init__(daemon=True)
        self.port, self.question, self.pause = port, (method, path, body, headers), pause
        self.statuses: collections.Counter[int] = collections.Counter()
        self.worst = 0.0
        self.enough = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.enough.wait(self.pause):
            began = time.monotonic()
            self.statuses[self._ask()] += 1
            self.worst = max(self.worst, time.monotonic() - began)

    def _ask(self) -> int:
        method, path, body, headers = self.question
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            try:
                connection.request(method, path, body, {"Host": "127.0.0.1", **headers})
                return connection.getresponse().status
            except (OSError, http.client.HTTPException):
                return 0

    def stop(self) -> "Probe":
        self.enough.set()
        self.join()
        return self

    @property
    def failures(self) -> int:
        """Requests that were answered 5xx, or not at all."""
        return sum(count for status, count in self.statuses.items() if status == 0 or status >= 500)


def signed_requests(port: int, url: str, token: str) -> Probe:
    from twilio.request_validator import RequestValidator

    signature = RequestValidator(token).compute_signature(f"{url}/call-status", SIGNED)
    return Probe(
        port, "POST", "/call-status", urlencode(SIGNED), **{"Content-Type": FORM, "X-Twilio-Signature": signature}
    )


def logins(port: int, known_browser: str) -> Probe:
    """Somebody who logs in, with a browser that is known; a hash at a time is theirs."""
    headers = {"Content-Type": FORM, "Cookie": f"csrftoken={TOKEN}; known-browser={known_browser}"}
    return Probe(port, "POST", "/admin/login/", login_form(*STAFF).decode(), pause=2.0, **headers)


@dataclass
class Row:
    """A line of the table: what the callers noticed of an attack."""

    name: str
    before: Any
    during: Any
    signed: Probe
    login: Probe
    attacker: str
    exit_code: int = 0
    #: Those who log in, if it is the login that is attacked.
    known: list[Probe] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        bound = 2 * max(self.before.p99_ms, NOISE_MS)
        found = {
            f"p99 above {bound:.1f} ms": self.during.p99_ms > bound,
            f"{self.during.dropped + self.during.refused} calls lost": self.during.dropped or self.during.refused,
            "echoes missing": self.during.behind > 50,
            f"{self.signed.failures} signed requests failed": self.signed.failures,
            "the login page stood still": self.login.worst > LOGIN_SECONDS or self.login.failures,
            "a known browser could not log in": any(set(probe.statuses) != {302} for probe in self.known),
            "this was not the attack": self.exit_code,
        }
        return [fault for fault, holds in found.items() if holds]

    @property
    def is_late_only(self) -> bool:
        return len(self.faults) == 1 and self.faults[0].startswith("p99")

    def __str__(self) -> str:
        echoes = f"{self.before.p99_ms:>6.1f} {self.during.p99_ms:>7.1f} {self.during.max_ms:>7.1f}"
        signed = f"{self.signed.statuses.total():>4} {self.signed.failures:>6} {self.signed.worst * 1000:>8.0f}"
        login = f"{self.login.worst * 1000:>8.0f}"
        verdict = f"  {'; '.join(self.faults) or 'ok'}\n{'':<38}  the attacker: {self.attacker}"
        return f"{self.name:<38}{echoes}{signed}{login}{verdict}"


HEADER = (
    f"{'':<38}{'echoes, p99 in ms':^21}{'signed requests':^19}{'login':>8}\n"
    f"{'attack':<38}{'before':>6}{'during':>8}{'worst':>8}{'':>4} {'failed':>6} {'worst ms':>8}{'ms':>7}"
)


class Target:
    """Production with calls on it, and what it takes to ask it things."""

    def __init__(self, folder: Path, database: str, api: int) -> None:
        from django.conf import settings

        from tests.support.production import Production

        environment = {"TWILIO_API_URL": f"http://127.0.0.1:{api}", "MAX_STREAMS": "200"}
        self.production = Production(folder, database, "http", **environment)
        self.token = settings.TWILIO_AUTH_TOKENS[0]

    @property
    def port(self) -> int:
        return self.production.port

    def sign_in(self) -> None:
        """A member of staff, with a session and a browser that is known."""
        code = (
            "from django.contrib.auth import get_user_model as model; from django.test import Client;"
            "from django.http import HttpResponse; from calls.access.logins import COOKIE, remember_browser;"
            f"user = model().objects.create_superuser({STAFF[0]!r}, '', {STAFF[1]!r});"
            "client = Client(); client.force_login(user); response = HttpResponse();"
            "remember_browser(response, user, secure=False);"
            "print(client.cookies['sessionid'].value, response.cookies[COOKIE].value)"
        )
        ran = self.production.run("python", "manage.py", "shell", "-v0", "-c", code)
        assert ran.returncode == 0, ran.stderr
        self.cookie, self.known_browser = ran.stdout.split()[-2:]

    async def calls(self, count: int) -> list[Any]:
        from benchmark.callers import opening
        from simulator.scenario import Scenario
        from simulator.webhooks import Web

        url, account = self.production.url, self.production.environment["TWILIO_ACCOUNT_SID"]
        facts = {"public_url": url, "server": url, "auth_token": self.token, "account_sid": account, "handler": "echo"}
        async with Web(url, self.token) as web:
            return [await opening(web, Scenario(**facts)) for _ in range(count)]

    def suffer(self, name: str, seconds: float, load: Any) -> Row:
        """One attack; once more if nothing but the echoes was noticed, since the machine may have been busy itself."""
        row = self._suffer(name, seconds, load)
        return self._suffer(name, seconds, load) if row.is_late_only else row

    def _suffer(self, name: str, seconds: float, load: Any) -> Row:
        before = load.measure(seconds / 2)
        signed = signed_requests(self.port, self.production.url, self.token)
        login = Probe(self.port, "GET", "/admin/login/")
        known = [logins(self.port, self.known_browser)] if ATTACKS[name].at_the_login else []
        command = [sys.executable, "-m", "tests.trials.attack", "--as", name, "--port", str(self.port)]
        command += ["--seconds", str(seconds), "--cookie", self.cookie]
        attacker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            during = load.measure(seconds + 1)
            said, _ = attacker.communicate(timeout=seconds + 10)
        finally:
            attacker.kill()
        known = [probe.stop() for probe in known]
        code = attacker.returncode
        return Row(ATTACKS[name].name, before, during, signed.stop(), login.stop(), said.strip(), code, known)


@contextlib.contextmanager
def silent_api() -> Iterator[int]:
    """A port that takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def database(folder: Path) -> Iterator[str]:
    from tests.support.production import DATABASE_URL, new_database

    try:
        with new_database(DATABASE_URL) as url:
            yield url
    except ConnectionError as error:
        print(f"SQLite, since {error}")
        yield f"sqlite:///{folder / 'attacked.sqlite3'}"


def run(names: list[str], seconds: float, count: int) -> int:
    """The table; how many of its rows show that somebody noticed too much."""
    from benchmark.callers import CONNECTED
    from benchmark.load import Load, build

    failed = 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        target = Target(folder, stack.enter_context(database(folder)), stack.enter_context(silent_api()))
        stack.enter_context(target.production)
        target.sign_in()
        load = stack.enter_context(Load(build(folder), target.port, core=0))
        for call in asyncio.run(target.calls(count)):
            load.open(call, CONNECTED)
        load.measure(3)
        print(f"{count} calls, two workers, {seconds:g} s each\n{HEADER}", flush=True)
        for name in names:
            row = target.suffer(name, seconds, load)
            print(row, flush=True)
            failed += bool(row.faults)
            load.measure(2)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(prog="make attack", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each attack lasts")
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument(
        "rows", nargs="*", choices=[*ATTACKS, []], metavar="row", help=f"only these: {', '.join(ATTACKS)}"
    )
    parser.add_argument("--as", dest="name", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--cookie", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.name:
        return attack(arguments.name, arguments.port, arguments.seconds, arguments.cookie)
    import django

    django.setup()
    if failed := run(arguments.rows or [*ATTACKS], arguments.seconds, arguments.calls):
        sys.exit(f"{failed} of these attacks were noticed.")


if __name__ == "__main__":
    main()
