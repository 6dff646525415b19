"""The clock of all calls of one event loop: ticks of a millisecond, with one timer for everything that is due then.

A thousand callers speak 50,000 times a second, and a task or a timer for each would cost more than the speaking.
"""

import asyncio
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from weakref import WeakKeyDictionary


TICKS = 1000  # a second
# A caller's frames are 20 ms apart: later than that (p99), and the line itself is what was measured.
LATE_MS = 20.0
# What a float may lose on the way.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Lateness:
    """How much later than due frames left the simulator itself. Milliseconds."""

    frames: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    worst_ms: float = 0.0

    @classmethod
    def of(cls, seconds: "array[float]") -> "Lateness":
        if not seconds:
            return cls()
        late = sorted(seconds)
        last = len(late) - 1
        p50, p99, worst = (round(1000 * late[round(share * last)], 3) for share in (0.5, 0.99, 1))
        return cls(len(late), p50, p99, worst)


class Pacer:
    """Calls back at whole ticks of the loop's clock, in the order in which it was asked to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, list[Callable[[], None]]] = {}

    @classmethod
    def running(cls) -> "Pacer":
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        if (pacer := _pacers.get(loop)) is None:
            pacer = _pacers[loop] = cls(loop)
        return pacer

    def next_tick(self) -> int:
        """The first one that is not over yet."""
        return ceil(time.monotonic() * TICKS - _ROUNDING)

    def at(self, tick: int, callback: Callable[[], None]) -> None:
        if (callbacks := self._due.get(tick)) is not None:
            callbacks.append(callback)
            return
        self._due[tick] = [callback]
        self._loop.call_at(tick / TICKS, self._strike, tick)

    def _strike(self, tick: int) -> None:
        for callback in self._due.pop(tick):
            callback()


_pacers: WeakKeyDictionary[asyncio.AbstractEventLoop, Pacer] = WeakKeyDictionary()
