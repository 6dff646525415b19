"""The server of `make run`: `manage.py rundemo --serve` as a process of its own, and where `simulate_call` finds it."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

from calls.addresses import HEALTH, is_loopback


START_SECONDS = 30
# Signals to the server, with how long it may take after each; 0 stands for no signal.
Signals = tuple[tuple[int, float], ...]
STOP: Signals = ((0, 1.0), (signal.SIGTERM, 8.0), (signal.SIGKILL, 8.0))
RESTART: Signals = ((signal.SIGINT, 8.0), (signal.SIGKILL, 8.0))

Server = subprocess.Popen[bytes]


def origin(port: int) -> str:
    """Where a browser finds us: signatures and links follow PUBLIC_URL, which on loopback follows the port."""
    return f"http://127.0.0.1:{port}" if is_loopback(settings.PUBLIC_URL) else settings.PUBLIC_URL


def environment(port: int) -> dict[str, str]:
    """What the child processes read; `.env` gives way to it."""
    if not is_loopback(settings.PUBLIC_URL):
        return dict(os.environ)
    return {"ALLOWED_HOSTS": "127.0.0.1,localhost", **os.environ, "PUBLIC_URL": origin(port)}


def serving_at() -> Path:
    return Path(settings.BASE_DIR) / "var" / "serving"


@contextmanager
def announced(port: int) -> Iterator[None]:
    """Tells `manage.py simulate_call` where the server is, and what it signs for."""
    serving_at().write_text(f"http://127.0.0.1:{port} {origin(port)}\n")
    try:
        yield
    finally:
        serving_at().unlink(missing_ok=True)


def announced_at() -> tuple[str, str]:
    """Where `make run` serves on this machine and the PUBLIC_URL that it serves with; two "" if it does not run."""
    where, _, public_url = (serving_at().read_text() if serving_at().exists() else "").strip().partition(" ")
    return where, public_url


@contextmanager
def serving(port: int) -> Iterator[Server]:
    """`manage.py rundemo --serve` as a child process, answering; ended on the way out."""
    command = [sys.executable, "manage.py", "rundemo", "--serve", "--port", str(port)]
    server = subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment(port))
    signals = STOP
    try:
        wait_until_it_answers(server, port)
        yield server
        # Nobody has pressed Ctrl-C: a file has changed.
        signals = RESTART
    finally:
        stop(server, signals)


def wait_until_it_answers(server: Server, port: int) -> None:
    for _ in range(START_SECONDS * 10):
        if server.poll() is not None:
            raise CommandError("The server did not start; its last lines say why.")
        if answers(f"http://127.0.0.1:{port}/{HEALTH}"):
            return
        time.sleep(0.1)
    raise CommandError(f"The server does not answer after {START_SECONDS} seconds.")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def stop(server: Server, signals: Signals = STOP) -> None:
    """Ctrl-C reached the server too. While a call lasts it waits for the call to end, unless it is told twice."""
    for number, seconds in signals:
        server.send_signal(number)
        try:
            server.wait(timeout=seconds)
            return
        except subprocess.TimeoutExpired:
            continue
