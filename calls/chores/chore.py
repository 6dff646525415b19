"""A chore, and how several of them are done side by side until somebody says stop."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import Error as DatabaseError
from django.db import InterfaceError, close_old_connections

from calls import metrics


logger = logging.getLogger(__name__)

# Seconds until a chore is tried again that has failed.
AFTER_FAILURE = 10.0
# Seconds that rounds have to end once they are to stop.
LAST_SECONDS = 1.5


@dataclass(frozen=True)
class Chore:
    """Something to do, in small rounds, each of which may be cut off by `kill -9` and done again.

    Several machines may do it at once: what one of them does it claims in the database first.
    """

    name: str
    #: Seconds to wait after a round that has left nothing to do.
    every: float
    #: Does one round, of some seconds at most; whether there may be more to do at once.
    do: Callable[[], bool]


class Chores:
    """Each in a thread of its own, so that a receiver who does not answer keeps no call from being measured."""

    def __init__(self, chores: Sequence[Chore], stop: threading.Event) -> None:
        self._chores = chores
        self._stop = stop
        #: Those of which the log has said that they fail.
        self._failing: set[str] = set()
        for chore in chores:
            for outcome in ("done", "failed"):
                metrics.chore_rounds.labels(chore.name, outcome)

    def run(self) -> None:
        """Until `stop` is set, and the rounds that were begun are done or LAST_SECONDS are over."""
        threads = [self._thread(chore) for chore in self._chores]
        for thread in threads:
            thread.start()
        self._stop.wait()
        end = time.monotonic() + LAST_SECONDS
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _thread(self, chore: Chore) -> threading.Thread:
        return threading.Thread(target=self._repeat, args=(chore,), name=chore.name, daemon=True)

    def run_once(self) -> None:
        """One after the other, until each has nothing left to do. What one of them raises comes through."""
        for chore in self._chores:
            while chore.do() and not self._stop.is_set():
                continue

    def _repeat(self, chore: Chore) -> None:
        while not self._stop.is_set():
            self._stop.wait(self._round(chore))

    def _round(self, chore: Chore) -> float:
        """Does a round; seconds until the next one."""
        try:
            again = chore.do()
        except (DatabaseError, InterfaceError) as error:
            self._tell(chore, f"the database: {str(error).strip() or type(error).__name__}")
            metrics.chore_rounds.labels(chore.name, "failed").inc()
            return AFTER_FAILURE
        except Exception:
            logger.exception("chore_failed %s; going on", chore.name)
            metrics.chore_rounds.labels(chore.name, "failed").inc()
            return AFTER_FAILURE
        finally:
            close_old_connections()
        self._failing.discard(chore.name)
        metrics.chore_rounds.labels(chore.name, "done").inc()
        return 0.0 if again else chore.every

    def _tell(self, chore: Chore, why: str) -> None:
        """Once until it works again: a database that is away is away for all of them, again and again."""
        if chore.name not in self._failing:
            self._failing.add(chore.name)
            logger.warning("chore_waits %s: %s", chore.name, why)
