"""Measuring never takes a core from a call."""

import os


def give_way() -> None:
    """From here on this thread runs only where nobody else wants to.

    A low priority is not enough: Linux lets a process of the lowest one finish its slice, of some ms, before one that
    wakes up gets the core; all but those of this policy (https://man7.org/linux/man-pages/man7/sched.7.html).
    """
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
