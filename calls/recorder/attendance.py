"""This process's row among the workers: that it lives and how it is, and what somebody asks it to do.

It goes with the heartbeat. It is there for people: what goes wrong with it costs no call anything.
"""

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Now

from calls.models import Worker
from calls.recorder.errors import is_away, is_locked
from calls.recorder.writer import DATABASE


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrainOrder:
    """That this process is to take no new calls."""

    asked_at: dt.datetime
    #: After how many seconds its calls are handed on; None: they end by themselves.
    seconds: float | None


class Attendance:
    """The writer thread's own. Nothing is written before `describe` is set: only servers are workers."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        #: The row's fields, as they are now. Called from the writer thread.
        self.describe: Callable[[], dict[str, Any]] | None = None
        #: Called from the writer thread with each heartbeat: what the row asks for.
        self.on_order: Callable[[DrainOrder | None], None] | None = None
        #: That it ends, but not in an orderly way.
        self.gives_up = False
        self._has_told = False

    def sign(self) -> None:
        """Says that we are here, and reads what we are asked to do."""
        if self.describe is not None:
            self._try(lambda facts: self._sign(facts))

    def leave(self) -> None:
        """Says that we end in an orderly way; if we do not, only what went wrong."""
        if self.describe is not None:
            ended_at = None if self.gives_up else Now()
            self._try(lambda facts: self._mine.update(seen_at=Now(), ended_at=ended_at, **facts))

    @property
    def _mine(self) -> Any:
        return Worker.objects.using(DATABASE).filter(owner=self._owner)

    def _sign(self, facts: dict[str, Any]) -> None:
        if not self._mine.update(seen_at=Now(), ended_at=None, **facts):
            Worker.objects.using(DATABASE).create(owner=self._owner, seen_at=Now(), **facts)
        asked_at, seconds = self._mine.values_list("drain_asked_at", "drain_seconds").get()
        if self.on_order is not None:
            self.on_order(DrainOrder(asked_at, seconds) if asked_at is not None else None)

    def _try(self, write: Callable[[dict[str, Any]], object]) -> None:
        assert self.describe is not None
        try:
            write(self.describe())
        except Exception as error:
            # That the database is away is for the rows of calls to find.
            if not (self._has_told or is_away(error) or is_locked(error)):
                logger.exception("worker_unnoted; going on")
                self._has_told = True
        else:
            self._has_told = False


def forget_workers() -> bool:
    """Deletes the rows of workers that were last heard of a week ago; False, since none are left."""
    Worker.objects.forgettable().delete()
    return False
