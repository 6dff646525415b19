"""The image's HEALTHCHECK: `python config/alive.py PORT`. Fails while the server on that port of this machine does not
answer, and kills one that has answered before and then fails three times in a row.

Docker restarts what has ended and leaves what hangs alone. A loop that hangs ends its process by itself
(calls/process/watchdog.py); this is for a process that cannot: frozen as a whole, or held by a library that keeps
Python. Only the standard library: it runs every ten seconds beside the calls.
"""

import itertools
import os
import signal
import sys
import tempfile
import urllib.request
from pathlib import Path


# Seconds that the server has to answer.
PATIENCE = 2
# This many failures in a row end it.
MOST = 3


def server_on(port: str) -> int | None:
    """The process that serves on this port, by its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        # A container's init, whose command line has the server's: nothing inside can kill it.
        if folder.name == "1":
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended meanwhile, or is not ours to look at
            continue
        if "config.asgi:application" in words and ("--port", port) in itertools.pairwise(words):
            return int(folder.name)
    return None


def answers(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def check(port: str) -> bool:
    """Whether the server answers. Counts its failures, of this very process, in a file."""
    state = Path(tempfile.gettempdir()) / f"callstream-alive-{port}"
    pid, is_alive = server_on(port), answers(port)
    known, failures = state.read_text().split() if state.exists() else ("", "0")
    count = 0 if is_alive else int(failures) + 1
    # One that has never answered is still starting.
    if pid is not None and (is_alive or known == str(pid)):
        state.write_text(f"{pid} {count}")
        if count >= MOST:
            print(f"No answer {count} times in a row: killing process {pid}")
            os.kill(pid, signal.SIGKILL)
    return is_alive


if __name__ == "__main__":
    sys.exit(0 if check(sys.argv[1]) else 1)
