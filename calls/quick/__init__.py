"""The way of a frame in C, where that is built: from the socket to the tape and the handler, and back to the socket.

`python scripts/quick.py` builds it where there is a C compiler; `make install` and the image do. Without it, and with
QUICK=off in the environment, calls/sockets, calls/server and calls/media go the same way in Python, and all below is
None.

The rule of the C is that it is never the only one who can do something. It takes a frame that is what nearly every one
is, and nothing else; each state stays in the Python object that owns it. docs/performance.md has what it brings.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from calls.quick import _quick

path: "type[_quick.Path] | None" = None
reader: "type[_quick.Reader] | None" = None
peaks: Callable[[bytes, bytes, int, int], bytes] | None = None
#: What is built was built of another source, and is not used: it may not know our classes any more.
is_stale = False


def is_built_of(digest: str, source: Path) -> bool:
    """Where only what was built is installed, there is nothing to compare it with."""
    return not source.exists() or sha256(source.read_bytes()).hexdigest() == digest


if os.environ.get("QUICK", "on") != "off":
    # Nobody has built it here, or not for this Python.
    with suppress(ImportError):
        from calls.quick import _quick as built

        is_stale = not is_built_of(getattr(built, "source", ""), Path(__file__).with_name("_quick.c"))
        if not is_stale:
            path, reader, peaks = built.Path, built.Reader, built.peaks
