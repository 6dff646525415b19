"""Ctrl-C while calls run."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress


def at_ctrl_c(act: Callable[[], None]) -> None:
    """The first one does that, in the running loop; the second one is a KeyboardInterrupt, as everywhere."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        act()

    with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
        loop.add_signal_handler(signal.SIGINT, first)
