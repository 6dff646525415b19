"""The process that does the chores of this machine: started by whichever server process is the first to hold a lock.

It is a child of that server and ends with it, even after `kill -9`: then its input ends. The kernel lets go of the lock
too, and another server process of this machine starts the next one.
"""

import fcntl
import logging
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from django.conf import settings

from calls.recorder.spool import fingerprint


logger = logging.getLogger(__name__)

# Seconds until another process looks whether the lock is free, and until one that has ended is started again.
AGAIN = 10.0
COMMAND = [sys.executable, "-m", "django", "do_chores", "--beside-a-server"]


class Office:
    """`start` once a server process."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None and settings.CHORES:
            self._thread = threading.Thread(target=self._run, name="chores", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (lock := take_lock(lock_path())) is None:
            threading.Event().wait(AGAIN)
        with lock:
            while True:
                shift()
                threading.Event().wait(AGAIN)


def lock_path() -> Path:
    """One for each database that this machine serves; it lies where the machine's server processes all can write."""
    return Path(settings.SPOOL_DIR) / f"{fingerprint(settings.DATABASES['default'])}.chores"


def take_lock(path: Path) -> IO[bytes] | None:
    """The file, locked until it is closed or this process is gone. None if another process holds it."""
    with ExitStack() as left_open:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = left_open.enter_context(path.open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        except OSError as error:
            logger.warning("chores_wait: %s", error)
            return None
        left_open.pop_all()
        return file


def shift() -> None:
    """Runs the process to its end. One that cannot even be started is told, and may be tried again."""
    try:
        code = _staff()
    except OSError as error:
        logger.warning("chores_wait: %s", error)
    else:
        logger.warning("chores_ended with %d; they are started again in %.0f s", code, AGAIN)


def _staff() -> int:
    # More threads of numpy would take the cores that calls are answered on.
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, cwd=settings.BASE_DIR, env={**os.environ, **alone})
    return process.wait()


# The one of this process.
office = Office()
