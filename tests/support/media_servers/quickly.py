"""Time that jumps while servers and their callers are all in one event loop, though they talk over real connections."""

import asyncio
import time
from collections.abc import Coroutine
from selectors import DefaultSelector
from typing import Any
from unittest.mock import patch


# Real seconds that the kernel may take from one end of a loopback connection to the other.
LOOPBACK = 0.0003


class _Selector(DefaultSelector):
    """Waits for nobody: if nothing is ready, it is later."""

    def __init__(self) -> None:
        super().__init__()
        self.now = time.monotonic()

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if not (events := super().select(min(timeout, LOOPBACK))):
            self.now += timeout
        return events


def run_quickly(work: Coroutine[Any, Any, Any]) -> Any:
    """What the work returns, in a loop whose seconds last no longer than what is done in them."""
    selector = _Selector()
    runner = asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector), debug=False)
    with patch("time.monotonic", lambda: selector.now), runner:
        return runner.run(work)
