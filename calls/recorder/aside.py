"""Rows of calls that somebody else holds locked: they wait here, each call's in order, and hold up no other call's.

A row lock is somebody's `SELECT … FOR UPDATE` or an open transaction of theirs; SQLite has none.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from calls.media.rows import AnyRow, CallRow, ChunkRow, EventRow, StreamRow
from calls.models import Stream
from calls.recorder.writer import DATABASE


logger = logging.getLogger(__name__)

# Seconds until the first and between the last attempts at a lock.
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
# Bytes that a row without audio is taken for.
ROW_SIZE = 300
# PostgreSQL's lock_not_available, and deadlock_detected: two waited for each other, and it was us who had to give in.
_CODES = ("55P03", "40P01")


def is_locked(error: BaseException) -> bool:
    """Whether the database is there, and somebody else holds a row."""
    return getattr(error.__cause__, "sqlstate", None) in _CODES


def size_of(rows: Iterable[AnyRow]) -> int:
    return sum(len(row.payload) if type(row) is ChunkRow else ROW_SIZE for row in rows)


@dataclass
class Held:
    """What waits of one call."""

    since: float
    due: float
    pause: float = FIRST_PAUSE
    rows: list[AnyRow] = field(default_factory=list)


class Aside:
    """The calls whose rows wait for a lock. The writer thread's own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.held: dict[str, Held] = {}
        self._calls: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.held)

    def __contains__(self, call: str) -> bool:
        return call in self.held

    def sort(self, rows: Sequence[AnyRow]) -> dict[str, list[AnyRow]]:
        """Rows by the call that they belong to."""
        self._learn(rows)
        found: dict[str, list[AnyRow]] = {}
        for row in rows:
            found.setdefault(self._call_of(row), []).append(row)
        return found

    def _learn(self, rows: Sequence[AnyRow]) -> None:
        """Rows name their stream only; of which call it is says its first row, or the database."""
        for row in rows:
            if isinstance(row, StreamRow):
                self._calls[row.sid] = row.call_sid
        streams = {row.stream for row in rows if not isinstance(row, CallRow | StreamRow | EventRow)}
        if unknown := streams - self._calls.keys():
            known = Stream.objects.using(DATABASE).filter(sid__in=unknown).values_list("sid", "call__sid")
            self._calls.update((stream, call) for stream, call in known if call)

    def _call_of(self, row: AnyRow) -> str:
        match row:
            case CallRow():
                return row.sid
            case StreamRow():
                return row.call_sid
            case EventRow():
                return row.call
            case _:
                return self._calls.get(row.stream, row.stream)

    def put(self, call: str, rows: Sequence[AnyRow]) -> None:
        """Behind what waits of this call already."""
        now = self._clock()
        if call not in self.held:
            self.held[call] = Held(now, now + FIRST_PAUSE)
            logger.warning("row_locked call=%s; what comes of it waits, and the others go on", call)
        self.held[call].rows += rows

    def due(self) -> list[str]:
        """The calls that are to be tried again now."""
        return [call for call, held in self.held.items() if held.due <= self._clock()]

    def put_off(self, call: str) -> None:
        """It is still locked."""
        held = self.held[call]
        held.pause = min(2 * held.pause, LONGEST_PAUSE)
        held.due = self._clock() + held.pause

    def release(self, call: str) -> None:
        """Its rows are written."""
        held = self.held.pop(call)
        logger.warning("row_unlocked call=%s after %.1f s; what waited is written", call, self._clock() - held.since)
        if not self.held:
            self._calls.clear()

    def take_all(self) -> list[AnyRow]:
        """Everything, for the spool."""
        rows = [row for held in self.held.values() for row in held.rows]
        self.held.clear()
        self._calls.clear()
        return rows
