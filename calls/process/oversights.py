"""Tells of an `await` that was forgotten: `stream.play(hello)` alone plays nothing, and raises nothing either.

Python warns of it, on stderr and without the call. Below daphne it does not even do that: Twisted puts itself in the
place of `warnings.showwarning`, and daphne throws away what it gets. So every warning becomes a line of the log here.
"""

import logging
import re
import sys
import warnings
from typing import TextIO

from django.conf import settings

from calls.server.live_stream import handled
from calls.server.stalls import is_ours


logger = logging.getLogger(__name__)

_FORGOTTEN = re.compile("coroutine '(.*)' was never awaited")
# Where such a coroutine was made, which Python adds if it was told to remember that.
_ORIGIN = re.compile(r'File "(.*)", line (\d+), in ')


def watch() -> None:
    """Takes the warnings of this process; to be called in the thread of its loop, once the server has begun."""
    warnings.filterwarnings("always", _FORGOTTEN.pattern, RuntimeWarning)
    # Of WhiteNoise's answers, once a process: Django reads static files in a thread then, which is as it should be.
    warnings.filterwarnings("ignore", "StreamingHttpResponse must consume synchronous iterators", Warning)
    warnings.showwarning = _show
    if settings.DEBUG:
        remember_origins()


def remember_origins() -> None:
    """Has Python remember where coroutines are made, in this thread, so that the line of a forgotten one is known.

    Costs a little for every coroutine; without it, one that was given a name is found where that name ends.
    """
    sys.set_coroutine_origin_tracking_depth(1)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    forgotten = _FORGOTTEN.match(str(message))
    if forgotten is None:
        logger.warning("python_warning %s at %s:%d: %s", category.__name__, _short(filename), lineno, message)
        return
    if origin := _ORIGIN.findall(str(message)):
        filename, lineno = origin[-1][0], int(origin[-1][1])
    where, stream = f"{_short(filename)}:{lineno}", handled.get()
    if is_ours(filename):
        # What was given a name is found missing where its function has ended, and that is our own line.
        where = "a line that DEBUG=true names"
    if stream is None or stream.note_forgotten(forgotten[1], where):
        call = stream.call_sid if stream else "none"
        logger.error("await_forgotten call=%s at %s: %s() does nothing without await", call, where, forgotten[1])


def _short(filename: str) -> str:
    return filename.removeprefix(f"{settings.BASE_DIR}/")
