"""The servers that are measured, each a process on a core of its own; the peers are in a venv of their own."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db.utils import ConnectionHandler
from environ import Env

from benchmark.candidates import HERE, PEERS, TALKERS, Candidate, Checkout
from benchmark.load import BenchmarkError


# What the peers are measured with, each as its own documentation recommends for speed.
PEER_PACKAGES = ["channels", "daphne", "django~=5.2", "fastapi", "uvicorn[standard]", "picows", "orjson"]
START_SECONDS = 30
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Usage:
    """What a process has used so far: CPU in seconds, memory in KB."""

    cpu: float
    memory: int
    #: Seconds of CPU of its first thread, which runs the event loop.
    loop: float
    #: Seconds in which that could run and had no core; None where the kernel does not count them.
    waited: float | None


@dataclass
class Server:
    """A running candidate, on one core."""

    candidate: Candidate
    folder: Path
    core: int
    bin: Path
    database_url: str = ""
    redis_url: str = ""
    port: int = field(default_factory=lambda: free_port())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        if not self.candidate.records:
            return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{PEERS}:{HERE.home}"}
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "SECRET_KEY": settings.SECRET_KEY,
            "TWILIO_AUTH_TOKEN": settings.TWILIO_AUTH_TOKENS[0],
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "PUBLIC_URL": self.url,
            "SPOOL_DIR": str(self.folder / "spool"),
            "MAX_STREAMS": "5000",
            "STREAM_HANDLERS": self._handlers,
            "DEBUG": "false",
            # Beside what is measured nothing else is to run.
            "CHORES": "false",
            "LOG_LEVEL": "WARNING",
            **self.candidate.environment,
        }

    @property
    def _handlers(self) -> str:
        # An earlier revision may be without them.
        is_there = (self.candidate.checkout.home / "benchmark" / "talking.py").exists()
        return ",".join(f"{name}=benchmark.talking.{name}" for name in TALKERS) if is_there else ""

    def start(self) -> None:
        program, *arguments = self.candidate.command.format(port=self.port).split()
        self.log = self.folder / "server.log"
        command = ["taskset", "--cpu-list", str(self.core), str(self.bin / program), *arguments]
        cwd = self.candidate.checkout.home if self.candidate.records else PEERS
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=cwd, env=self.environment, stdout=log, stderr=log)
        give_up = time.monotonic() + START_SECONDS
        while not _listens(self.port):
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.process.kill()
                raise BenchmarkError(f"{self.candidate.title} does not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def manage(self, *arguments: str) -> str:
        """What its own `manage.py …` prints, on its database; BenchmarkError if it fails."""
        return manage(*arguments, database_url=self.database_url, checkout=self.candidate.checkout)

    def usage(self) -> Usage:
        """Of the process with all of its threads (`man 5 proc`: utime and stime, VmRSS), and of its first thread."""
        if self.process.poll() is not None:
            raise BenchmarkError(f"{self.candidate.title} has ended:\n{self.log.read_text()[-2000:]}")
        proc = Path(f"/proc/{self.process.pid}")
        first = proc / "task" / str(self.process.pid)
        lines = (line.split() for line in (proc / "status").read_text().splitlines())
        memory = next(int(line[1]) for line in lines if line and line[0] == "VmRSS:")
        return Usage(cpu_seconds(proc), memory, cpu_seconds(first), _waited(first))


def cpu_seconds(proc: Path) -> float:
    """What the process or the thread has used, user and system; FileNotFoundError if it is gone."""
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _waited(thread: Path) -> float | None:
    """The second figure of schedstat, in ns: https://docs.kernel.org/scheduler/sched-stats.html."""
    try:
        return int((thread / "schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return None


@contextmanager
def running(
    candidate: Candidate, folder: Path, core: int, peers: Path | None, postgres: str, redis_url: str = ""
) -> Iterator[Server]:
    """A fresh server with a fresh database, both gone afterwards."""
    place = folder / f"{candidate.name}-{secrets.token_hex(3)}"
    place.mkdir(parents=True)
    assert peers is not None or not candidate.is_peer
    programs = peers if candidate.is_peer and peers else candidate.checkout.bin
    server = Server(candidate, place, core, programs, redis_url=redis_url)
    with _database(candidate, place, postgres) as server.database_url:
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def beside(server: Server, core: int) -> Iterator[Server]:
    """Another process of the same, on its database and its Redis."""
    place = server.folder / "beside"
    place.mkdir()
    other = Server(server.candidate, place, core, server.bin, server.database_url, server.redis_url)
    other.start()
    try:
        yield other
    finally:
        other.stop()


@contextmanager
def own_redis(core: int) -> Iterator[str]:
    """The URL of a Redis that keeps nothing; BenchmarkError where there is none."""
    port = free_port()
    command = ["taskset", "--cpu-list", str(core), "redis-server", "--bind", "127.0.0.1", "--port", str(port)]
    if not shutil.which("redis-server"):
        raise BenchmarkError("Several processes need a Redis between them: install redis-server.")
    process = subprocess.Popen([*command, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > give_up:
                raise BenchmarkError("redis-server does not start.")
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _database(candidate: Candidate, folder: Path, postgres: str) -> Iterator[str]:
    if not candidate.records:
        yield ""
        return
    if candidate.is_sqlite:
        url = f"sqlite:///{folder / 'bench.sqlite3'}"
        migrate(url, candidate.checkout)
        yield url
        for path in folder.glob("bench.sqlite3*"):
            path.unlink()
        return
    if not postgres:
        raise BenchmarkError(f"{candidate.title}: say where, with --postgres.")
    name = f"callstream_bench_{secrets.token_hex(4)}"
    with cursor(postgres) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    url = urlsplit(postgres)._replace(path=f"/{name}").geturl()
    try:
        migrate(url, candidate.checkout)
        yield url
    finally:
        with cursor(postgres) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def cursor(url: str) -> Iterator[Any]:
    """A cursor on a database that is not Django's own here."""
    config = Env.db_url_config(url)
    handler = ConnectionHandler({"default": config})
    connection = handler["default"]
    try:
        with connection.cursor() as opened:
            yield opened
    finally:
        connection.close()


def manage(*arguments: str, database_url: str, checkout: Checkout = HERE, **environment: str) -> str:
    """What the checkout's `manage.py …` on that database prints; BenchmarkError if it fails."""
    command = [str(checkout.bin / "python"), "manage.py", *arguments]
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": database_url,
        **environment,
    }
    done = subprocess.run(command, cwd=checkout.home, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"manage.py {arguments[0]}: {(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout.strip()


def migrate(url: str, checkout: Checkout) -> None:
    manage("migrate", "--verbosity", "0", database_url=url, checkout=checkout)


def install_peers(folder: Path, say: Callable[[str], None]) -> Path:
    """The programs of the peers' venv, made at the first run."""
    programs = folder / "peers" / "bin"
    wanted = folder / "peers" / ".installed"
    if not wanted.exists() or wanted.read_text().split("\n") != PEER_PACKAGES:
        say("Installing the peers into a venv of their own (once, about a minute)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder / "peers"], check=True)
        pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*pip, *PEER_PACKAGES]).returncode:
            raise BenchmarkError("pip could not install the peers; `--servers callstream` needs none of them.")
        wanted.write_text("\n".join(PEER_PACKAGES))
    return programs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
