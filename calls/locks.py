"""A file that one process holds at a time, and that the kernel lets go of with it, even after `kill -9`."""

import fcntl
from pathlib import Path
from typing import IO


def take(path: Path) -> IO[bytes] | None:
    """The file, locked until it is closed or this process is gone. None if another process holds it.

    Raises OSError where none can be written, or its file system knows no locks.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        file.close()
        raise
    return file
