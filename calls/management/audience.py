"""How a process that runs a campaign tells of it, and when it ends: a bar on a terminal, lines elsewhere."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.utils import timezone
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from calls.campaigns import results
from calls.campaigns.running import Runner
from calls.masking import masked
from calls.models import Campaign


@contextmanager
def shown(campaign: Campaign, stdout: Any, *, bar: bool) -> Iterator["Show"]:
    """`bar`: if there is a terminal for it. What the log says of each call is said here already."""
    log = logging.getLogger("calls.rest.placing")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        if not (bar and sys.stderr.isatty()):
            yield Show(stdout, None)
            return
        # What was called before says nothing of how fast this goes.
        before = results.done(results.tally(campaign))
        drawn = tqdm(total=campaign.size, initial=before, unit=" rows", file=sys.stderr, dynamic_ncols=True)
        with drawn, logging_redirect_tqdm():
            yield Show(stdout, drawn)
    finally:
        log.setLevel(level)


class Show:
    """Tells whoever sits at the terminal, or reads the log."""

    def __init__(self, stdout: Any, bar: Any) -> None:
        self.stdout, self.bar = stdout, bar

    def tell(self, line: str, *, routine: bool = False) -> None:
        """Numbers are not whole: what a container says is its log."""
        line = masked(line)
        if self.bar is None:
            self.stdout.write(f"{timezone.localtime():%H:%M:%S} {line}")
            self.stdout.flush()
        elif not routine:
            self.bar.write(line, file=sys.stderr)

    def show(self, campaign: Campaign) -> None:
        if self.bar is None:
            return
        counts = results.tally(campaign)
        self.bar.n = results.done(counts)
        self.bar.set_postfix_str(results.in_words([(one, many) for one, many in counts if one is not results.WAITING]))


@contextmanager
def obeying_signals(runner: Runner) -> Iterator[None]:
    """The first Ctrl-C, or a SIGTERM, ends the process between two rows; a second one wherever it is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: object) -> None:
        if runner.interrupted.is_set():
            raise KeyboardInterrupt
        runner.interrupted.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
