"""Time that jumps: `with virtual_time(): await simulate(…)` takes as long as the work does, however long the call is.

The running loop keeps its thread, its tasks and its mocks; only its clock is another one. While nothing is ready and a
timer waits, time moves straight to that timer; while something runs it stands still. So what is heard when is exact,
and the same each time.

Time waits for work in threads (`asyncio.to_thread`, `sync_to_async`, `anyio.to_thread`). While a real connection is
open on the loop, or a thread has worked for 10 s, it runs as fast as anybody's and never faster.

`time.monotonic`, `time.sleep` and the loop follow it, in the loop's own thread alone. Dates (`time.time`, `datetime`)
and `time.perf_counter` are the machine's.
"""

import asyncio
import heapq
import math
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import Any
from weakref import WeakKeyDictionary

from simulator.patches import Patches


# Seconds for which time stands still for a thread. One that takes longer may wait for what only time brings.
THREAD_PATIENCE = 10.0
# Turns of the loop without a wait after which somebody is taken to wait for time itself by `asyncio.sleep(0)`, and how
# far each further turn moves it, in seconds.
SPINS, SPIN = 10_000, 0.001
# As many looks at the time within one turn: each further one moves it as far.
LOOKS = 100_000
# Moments are multiples of 1/GRID s (1 ns), so that sums of them are the same however long the machine has been up.
GRID = 2.0**30

_real_monotonic, _real_sleep = time.monotonic, time.sleep


class NoVirtualTime(RuntimeError):
    """This event loop's clock cannot be replaced."""


class _Timer(asyncio.TimerHandle):
    """Of several timers for one moment the one that was set first runs first; asyncio leaves that open."""

    __slots__ = ("number",)
    number: int

    def __lt__(self, other: object) -> bool:
        if isinstance(other, _Timer):
            return (self.when(), self.number) < (other.when(), other.number)
        return asyncio.TimerHandle.__lt__(self, other)  # type: ignore[operator]


class VirtualClock:
    """One event loop's. Between calls it runs as the real one does, ahead of it by what the calls have taken."""

    def __init__(self, loop: Any) -> None:
        """Installs itself. NoVirtualTime for a loop that is not one of asyncio's own with a selector."""
        selector = getattr(loop, "_selector", None)
        if not isinstance(selector, selectors.BaseSelector) or not hasattr(loop, "_scheduled"):
            raise NoVirtualTime(
                f"the clock of {type(loop).__module__}.{type(loop).__qualname__} cannot be replaced: run the test on "
                "asyncio's own event loop (not uvloop, nor Windows' proactor), or place the call in real time"
            )
        self._loop, self._selector, self._thread = loop, selector, get_ident()
        self._offset = 0.0
        #: Where time stands; None while it runs.
        self._now: float | None = None
        self._calls = self._spins = self._timers = self._looks = 0
        self._is_fresh = True
        #: What threads work on, and since when (real seconds); the oldest first.
        self._threads: dict[object, float] = {}
        self._select: Callable[[float | None], Any] = selector.select
        self._executor: Callable[..., asyncio.Future[Any]] = loop.run_in_executor
        #: Why time had to run as anybody's while the last calls were on; empty if it never had to.
        self.held_by = ""
        self._install()

    def time(self) -> float:
        if self._now is None:
            return _real_monotonic() + self._offset
        self._looks += 1
        if self._looks > LOOKS:
            self._now = _on_grid(self._now + SPIN)
        return self._now

    def pass_by(self, seconds: float) -> None:
        """Somebody sleeps and holds up the loop."""
        if self._now is None:
            _real_sleep(seconds)
        else:
            self._now = _on_grid(self._now + seconds)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within, time jumps, from the first wait on. Several may be within at once."""
        if not self._calls:
            self.held_by = ""
        self._calls += 1
        _patch()
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._run()
                self._is_fresh = True

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within, time waits for something that the loop cannot see."""
        key = object()
        self._threads[key] = _real_monotonic()
        try:
            yield
        finally:
            del self._threads[key]

    # --- how time goes ------------------------------------------------------------------------------------------------

    def _stand(self) -> None:
        if self._now is not None:
            return
        # A call begins at a whole eighth, so that the ticks of whatever clock fall alike in every call.
        self._now = math.ceil(self.time() * 8) / 8 if self._is_fresh else _on_grid(self.time())
        self._is_fresh = False

    def _run(self) -> None:
        if self._now is not None:
            self._offset, self._now = self._now - _real_monotonic(), None

    def _wait(self, timeout: float | None = None) -> Any:
        """In the place of the selector's `select`: the one place where a loop waits."""
        self._looks = 0
        if not self._calls or self._is_held():
            self._run()
            return self._select(timeout)
        self._stand()
        if timeout is not None and timeout <= 0:
            self._spin()
            return self._select(0)
        self._spins = 0
        if (events := self._select(0)) or timeout is None:
            # Without a timer only a thread or a signal brings something.
            return events or self._select(None)
        if self._threads:
            return self._select(max(0.0, THREAD_PATIENCE - self._longest_work))
        assert self._now is not None, "it stands"
        self._now += timeout
        return []

    def _spin(self) -> None:
        self._spins += 1
        if self._spins > SPINS and not self._threads and self._now is not None:
            self._now = _on_grid(self._now + SPIN)

    def _is_held(self) -> bool:
        """Whether something outside goes by real time, and so we have to."""
        if self._longest_work > THREAD_PATIENCE:
            self.held_by = f"work in a thread that took more than {THREAD_PATIENCE:g} s"
            return True
        # The loop's own is the one that threads wake it by.
        files = self._selector.get_map()
        if len(files) > 1 and (line := next(filter(None, map(self._line, files.values())), "")):
            self.held_by = line
            return True
        return False

    @property
    def _longest_work(self) -> float:
        """Seconds for which a thread has worked on one thing."""
        return _real_monotonic() - next(iter(self._threads.values())) if self._threads else 0.0

    def _line(self, key: selectors.SelectorKey) -> str:
        """Which connection this is; "" for the loop's own, and for a socket that only waits for others to connect."""
        own = getattr(self._loop, "_ssock", None)
        if own is not None and key.fd == own.fileno():
            return ""
        try:
            with socket.socket(fileno=socket.dup(key.fd)) as line:
                if line.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    return ""
                return f"an open connection to {line.getpeername()}"
        except OSError:
            return f"an open file (descriptor {key.fd})"

    # --- what goes by it ----------------------------------------------------------------------------------------------

    def _call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        loop = self._loop
        loop._check_closed()
        if loop.get_debug():
            loop._check_thread()
            loop._check_callback(callback, "call_at")
        timer = _Timer(_on_grid(when), callback, args, loop, context)
        self._timers += 1
        timer.number = self._timers
        heapq.heappush(loop._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]  # asyncio's own: it counts those that are cancelled
        return timer

    def _run_in_executor(self, executor: Any, function: Any, *args: Any) -> asyncio.Future[Any]:
        return self.watch(self._executor(executor, function, *args))

    def watch(self, future: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """Time stands still until a thread has brought this."""
        self._threads[future] = _real_monotonic()
        future.add_done_callback(lambda done: self._threads.pop(done, None))
        return future

    def _install(self) -> None:
        loop = self._loop
        loop.time, loop.call_at, loop.run_in_executor = self.time, self._call_at, self._run_in_executor
        self._selector.select = self._wait  # type: ignore[method-assign]
        _clocks[self._thread] = self

    def remove(self) -> None:
        """Gives the loop its own clock back; what still waits there comes after as many seconds as it would have."""
        loop = self._loop
        if _clocks.get(self._thread) is not self:
            return
        self._run()
        for timer in loop._scheduled:
            timer._when -= self._offset
        for name in ("time", "call_at", "run_in_executor"):
            vars(loop).pop(name, None)
        vars(self._selector).pop("select", None)
        _of.pop(loop, None)
        del _clocks[self._thread]
        if not _clocks:
            _patches.undo()


def _on_grid(moment: float) -> float:
    return round(moment * GRID) / GRID


#: The clock of each loop that has one, and of each thread.
_of: "WeakKeyDictionary[Any, VirtualClock]" = WeakKeyDictionary()
_clocks: dict[int, VirtualClock] = {}
_patches = Patches()


def clock_of_running_loop() -> VirtualClock:
    """The one that is installed, or a new one. NoVirtualTime if this loop can have none; `remove` it in the end."""
    loop = asyncio.get_running_loop()
    if loop not in _of:
        if (left := _clocks.get(get_ident())) is not None:
            left.remove()
        _of[loop] = VirtualClock(loop)
    return _of[loop]


@contextmanager
def virtual_time() -> Iterator[VirtualClock]:
    """Within, the running loop's time jumps; afterwards it has its own clock again."""
    is_first = asyncio.get_running_loop() not in _of
    clock = clock_of_running_loop()
    try:
        with clock.running():
            yield clock
    finally:
        if is_first:
            clock.remove()


# --- what every module of the process asks ----------------------------------------------------------------------------


def _monotonic() -> float:
    clock = _clocks.get(get_ident())
    return _real_monotonic() if clock is None else clock.time()


def _sleep(seconds: float, /) -> None:
    clock = _clocks.get(get_ident())
    if clock is None:
        _real_sleep(seconds)
    else:
        clock.pass_by(seconds)


def _watched(real: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """`asyncio.wrap_future`, which `run_in_executor` does not go through."""
    future, clock = real(*args, **options), _clocks.get(get_ident())
    return future if clock is None else clock.watch(future)


async def _waited_for(real: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """`anyio.to_thread.run_sync`, whose threads are its own: Starlette and FastAPI run `def` endpoints there."""
    clock = _clocks.get(get_ident())
    if clock is None:
        return await real(*args, **options)
    with clock.waiting():
        return await real(*args, **options)


def _patch() -> None:
    _patches.put(time, "monotonic", _monotonic)
    _patches.put(time, "sleep", _sleep)
    _patches.put(asyncio, "wrap_future", partial(_watched, asyncio.wrap_future))
    if (anyio := sys.modules.get("anyio.to_thread")) is not None:
        _patches.put(anyio, "run_sync", partial(_waited_for, anyio.run_sync))
