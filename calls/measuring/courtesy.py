"""Measuring never takes a core from a call."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection


T = TypeVar("T")

# Of a process: what else wants to run on this machine comes first, calls above all.
NICENESS = 19


def politely(do: Callable[[], T]) -> T:
    """Does that in a thread which runs only where nobody else wants to, and waits for it.

    It may read the database, over a connection of its own, and writes nothing: who has to wait for a core must hold no
    lock meanwhile. On a core that is busy, an hour's turns kept SQLite locked for 6 s instead of 0.02 s.
    """
    with ThreadPoolExecutor(1, "politely", give_way) as thread:
        return thread.submit(_and_let_go, do).result()


def give_way() -> None:
    """From here on this thread runs only where nobody else wants to.

    A low priority is not enough: Linux lets a process of the lowest one finish its slice, of some ms, before one that
    wakes up gets the core; all but those of this policy (https://man7.org/linux/man-pages/man7/sched.7.html).
    """
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _and_let_go(do: Callable[[], T]) -> T:
    try:
        return do()
    finally:
        connection.close()
