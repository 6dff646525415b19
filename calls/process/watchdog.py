"""Sees what an event loop cannot see of itself: that it stands still, for how long, and at which line.

One line of a handler that waits without `await` (`time.sleep`, a synchronous client, a long computation) holds the
audio of every call of its process. A thread looks on from outside: it names the line while the loop still stands there,
and gives the process up if it never moves again.
"""

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from sys import _current_frames
from types import FrameType

from calls import metrics
from calls.server.preparations import ExpectedCall
from calls.server.stalls import Stall, file_of, place
from calls.streams import MediaStream


logger = logging.getLogger(__name__)

# Seconds between two beats of the loop, and between two looks at them.
TICK = 0.05
# A loop that is late by more has been held by something; callers hear it.
LIMIT = 0.25
# A stall that lasts is reported after this many seconds, before it ends: perhaps it never does.
REPORTED = 2.0
# Seconds after which nobody on the line waits any more: the process is given up, and whoever restarts it does.
HOPELESS = 20.0
# Stalls of less than a second are logged once in this many seconds for each line that makes them.
SILENT = 10.0

# Where the loop calls what it runs: what lies outside of these frames is how the server was started.
_LOOP = ("_run", "_run_once", "run_forever", "run_until_complete", "run")


class Watchdog:
    """Watches the loop that starts it, from a thread of its own."""

    def __init__(self, on_stall: Callable[[Stall], None], on_hopeless: Callable[[], None]) -> None:
        """`on_stall` is called in the loop when it moves again, `on_hopeless` in the thread when it does not."""
        self._on_stall = on_stall
        self._on_hopeless = on_hopeless
        #: When the next beat is due; changes with every beat, and so names the stall between two of them.
        self._due = 0.0
        #: What the thread saw of the last stall: the beat that was due, and where the loop stood.
        self._seen: tuple[float, Stall] = (0.0, Stall(0))
        self._logged = float("-inf")
        #: Where stalls have been logged since then, and how many have not been.
        self._places: set[str] = set()
        self._unlogged = 0
        self._stop = threading.Event()

    def start(self) -> None:
        """To be called in the loop that is to be watched."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._due = time.monotonic() + TICK
        self._loop.call_later(TICK, self._beat)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    # --- in the loop -------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        now, due = time.monotonic(), self._due
        self._due = now + TICK
        metrics.loop_delay.observe(max(0.0, now - due))
        if not self._stop.is_set():
            self._loop.call_later(TICK, self._beat)
        if now - due > LIMIT:
            at, seen = self._seen
            self._end(Stall(now - due, seen.place, seen.call_sid) if at == due else Stall(now - due))

    def _end(self, stall: Stall) -> None:
        now = time.monotonic()
        if now - self._logged > SILENT:
            self._logged = now
            self._places.clear()
        if stall.seconds >= 1 or stall.place not in self._places:
            self._places.add(stall.place)
            more = f" (and {self._unlogged} shorter ones since the last line)" if self._unlogged else ""
            logger.error("loop_blocked for %s; every call of this process waited%s", stall, more)
            self._unlogged = 0
        else:
            self._unlogged += 1
        self._on_stall(stall)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        due, looks, now = self._due, 0, time.monotonic()
        # A loop that has ended stands still too, and nobody waits for it.
        while not self._stop.wait(TICK) and self._loop.is_running():
            before, now = now, time.monotonic()
            if self._due != due or now - due <= LIMIT:
                due, looks = self._due, 0
            elif now - before <= LIMIT:
                looks += 1
                self._look(due, looks)
            else:
                # This thread slept as long as the loop, so the whole process was stopped. On a busy
                # machine the loop needs a while to move again, and no line holds it.
                looks = -round(LIMIT / TICK)

    def _look(self, due: float, looks: int) -> None:
        frame = _current_frames().get(self._loop_thread)
        frames = list(_inside(frame))
        if looks == 1:
            self._seen = (due, Stall(LIMIT, place(frames), _call(frames)))
        if looks == round(REPORTED / TICK):
            stack = "".join(traceback.format_stack(frame)).rstrip()
            logger.error("loop_stands for more than %s, and still does:\n%s", self._seen[1], stack)
        # Somebody who looks at it in a debugger may take their time.
        if looks == round(HOPELESS / TICK) and not any(file_of(each).endswith("/bdb.py") for each in frames):
            self._on_hopeless()


def _inside(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of what the loop runs, the innermost first."""
    while frame is not None and not ("/asyncio/" in file_of(frame) and frame.f_code.co_name in _LOOP):
        yield frame
        frame = frame.f_back


def _call(frames: list[FrameType]) -> str:
    """The call whose stream one of the functions holds, even in a task that a handler has started."""
    values = (value for frame in frames for value in list(frame.f_locals.values()))
    return next((value.call_sid for value in values if isinstance(value, MediaStream | ExpectedCall)), "")
