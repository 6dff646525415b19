"""The process that does the chores of this machine: started by whichever server process is the first to hold a lock.

It is a child of that server and ends with it, even after `kill -9`: then its input ends. The kernel lets go of the lock
too, and another server process of this machine starts the next one.
"""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from django.conf import settings

from calls import locks, metrics
from calls.recorder.spool import fingerprint


logger = logging.getLogger(__name__)

# Seconds until another process looks whether the lock is free, and until one that has ended is started again.
AGAIN = 10.0
COMMAND = [sys.executable, "-m", "django", "do_chores", "--beside-a-server"]


class Office:
    """`start` once a server process."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._has_told = False
        #: Whether this is the process of the machine that sees to the chores.
        self.is_open = False

    def start(self) -> None:
        if self._thread is None and settings.CHORES:
            self._thread = threading.Thread(target=self._run, name="chores", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (lock := self._take_lock()) is None:
            threading.Event().wait(AGAIN)
        with lock:
            self.is_open = True
            while True:
                logger.warning("chores_ended %s; they are started again in %.0f s", _staff(), AGAIN)
                threading.Event().wait(AGAIN)

    def _take_lock(self) -> IO[bytes] | None:
        try:
            return take_lock()
        except OSError as error:
            if not self._has_told:
                logger.warning("chores_wait: %s", error)
            self._has_told = True
            return None


def lock_path() -> Path:
    """One for each database that this machine serves; it lies where the machine's server processes all can write."""
    return Path(settings.SPOOL_DIR) / f"{fingerprint(settings.DATABASES['default'])}.chores"


def take_lock() -> IO[bytes] | None:
    """The lock of this machine's chores, None if another process holds it. OSError as `locks.take`."""
    path = lock_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    return locks.take(path)


def _staff() -> str:
    """Runs the process to its end; how that came."""
    # More threads of numpy would take the cores that calls are answered on.
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # What they count is told by this server.
    folder = ["--metrics", str(metrics.figures.folder)] if metrics.figures.folder else []
    try:
        with subprocess.Popen(
            [*COMMAND, *folder], stdin=subprocess.PIPE, cwd=settings.BASE_DIR, env={**os.environ, **alone}
        ) as child:
            return f"with {child.wait()}"
    except OSError as error:  # no memory, no process, no file left: there may be some again
        return f"before they began: {error}"


# The one of this process.
office = Office()
