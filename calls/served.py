"""A real server process for the few tests that need one: `call = await server(my_handler).call(says="Hello.")`.

Slow: it takes seconds to start, and a call as long as it is. Its handlers are those that it was started with, found by
their modules; its database is the tests' own.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from django.conf import settings
from django.db import connections

from calls.addresses import HEALTH, INCOMING
from calls.handlers import Talk
from calls.rehearsal import own_account
from simulator.phone import Phone
from simulator.phone_call import PhoneCall
from simulator.saying import Keys, Says


# Seconds that it may take to start, and to end.
START, STOP = 60.0, 20.0


class ServerFailed(RuntimeError):
    """It does not start; with what it has said."""


class ServedPhone(Phone):
    """Calls handlers on a server process of their own. `start` it, and `stop` it in the end."""

    def __init__(self, folder: Path, handlers: Mapping[str, Talk]) -> None:
        """`folder` is for its log and its spool."""
        self._folder, self._handlers = folder, dict(handlers)
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(f"http://127.0.0.1:{_free_port()}", own_account())

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return (self._folder / "server.log").read_text(errors="replace")

    async def call(self, handler: Talk | str = "", *, says: Says = b"", keys: Keys = "", **facts: Any) -> PhoneCall:
        """As of any Phone; the handler is one of those that the server was started with, or a name that it knows."""
        name = handler if isinstance(handler, str) else handler.__name__
        return await super().call(
            says=says, keys=keys, voice_url=f"/{INCOMING}/{name}", **{"status_callback": True, **facts}
        )

    def start(self) -> None:
        """Waits until it answers; ServerFailed if it does not within a minute."""
        address = str(self.target)
        module, _, name = settings.ASGI_APPLICATION.rpartition(".")
        command = ["uvicorn", f"{module}:{name}", "--host", "127.0.0.1", "--port", address.rpartition(":")[2]]
        command += ["--ws", "calls.sockets.uvicorn:MediaWebSocket", "--ws-per-message-deflate", "false"]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command, "--no-access-log"],
                cwd=settings.BASE_DIR,
                env=self._environment(),
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + START
        while not _answers(f"{address}/{HEALTH}"):
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise ServerFailed(f"the server did not start; it said:\n{self.log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """In an orderly way, so that everything is stored; by force if that takes too long."""
        self.close()
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP)
        self._process.kill()
        self._process.wait()
        self._process = None

    def _environment(self) -> dict[str, str]:
        """The settings of this process, as far as they matter to a call, and the database of its tests."""
        named = [f"{name}={talk.__module__}.{talk.__qualname__}" for name, talk in self._handlers.items()]
        known = [f"{name}={path}" for name, path in settings.STREAM_HANDLERS.items() if name not in self._handlers]
        environment = {
            **os.environ,
            "STREAM_HANDLERS": ",".join(named + known),
            "DATABASE_URL": _database_url(),
            "SPOOL_DIR": str(self._folder / "spool"),
            "CHORES": "false",
            "DRAIN_SECONDS": "0.5",
            "PUBLIC_URL": settings.PUBLIC_URL,
            "ALLOWED_HOSTS": ",".join([*settings.ALLOWED_HOSTS, "127.0.0.1"]),
        }
        # The project's own settings, whatever the tests use in their place; a server is not tried in debug mode.
        for name in ("DJANGO_SETTINGS_MODULE", "PYTHONDEVMODE", "PYTHONWARNINGS", "PYTHONASYNCIODEBUG"):
            environment.pop(name, None)
        return environment


def _database_url() -> str:
    facts = connections["default"].settings_dict
    if connections["default"].vendor == "sqlite":
        return f"sqlite:///{facts['NAME']}"
    user = facts["USER"] + (f":{facts['PASSWORD']}" if facts["PASSWORD"] else "")
    return f"postgres://{user}@{facts['HOST']}:{facts['PORT'] or 5432}/{facts['NAME']}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except HTTPError:
        return True
    except (URLError, OSError):
        return False
