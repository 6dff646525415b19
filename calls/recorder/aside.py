"""Rows of calls that somebody else holds locked: they wait here, each call's in order, and hold up no other call's.

A row lock is somebody's `SELECT … FOR UPDATE` or an open transaction of theirs; SQLite has none.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from calls.media.rows import AnyRow, CallRow, ChunkRow, EventRow, StreamRow
from calls.models import Stream
from calls.recorder.batches import BATCH_ROWS, Batch, size_of, tell
from calls.recorder.committer import Committer
from calls.recorder.errors import is_locked
from calls.recorder.writer import DATABASE


logger = logging.getLogger(__name__)

# Seconds until the first and between the last attempts at a lock.
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0


@dataclass
class Held:
    """What waits of one call."""

    since: float
    due: float
    pause: float = FIRST_PAUSE
    rows: list[AnyRow] = field(default_factory=list)


class Aside:
    """Writes rows, and keeps those of locked calls until they can be written. The writer thread's own."""

    def __init__(self, committer: Committer, clock: Callable[[], float]) -> None:
        self._committer = committer
        self._clock = clock
        self.held: dict[str, Held] = {}
        #: Bytes of all that waits.
        self.size = 0
        self._calls: dict[str, str] = {}
        #: Of batches that are written but for what waits here: whom to tell, and the calls that they wait for.
        self._unreported: list[tuple[Callable[[], None], set[str]]] = []

    def __len__(self) -> int:
        return len(self.held)

    @property
    def since(self) -> float | None:
        """When the first of those that wait began to. From any thread."""
        return min((held.since for held in [*self.held.values()]), default=None)

    def write(self, rows: list[AnyRow]) -> None:
        """All rows in one transaction, but for those of calls that are locked. Raises only what is away."""
        if self.held:
            rows = self._put_behind(rows)
        try:
            self._committer.write(rows)
        except Exception as error:
            if not is_locked(error):
                raise
            self._write_apart(rows)

    def _put_behind(self, rows: list[AnyRow]) -> list[AnyRow]:
        """What comes of a call that is locked goes behind what waits of it. Returns the others' rows."""
        free: list[AnyRow] = []
        for call, own in self._sort(rows).items():
            if call in self.held:
                self._put(call, own)
            else:
                free += own
        return free

    def _write_apart(self, rows: list[AnyRow]) -> None:
        """Each call's rows in a transaction of their own: those that meet a lock wait here, the others go on."""
        for call, own in self._sort(rows).items():
            try:
                self._committer.write(own)
            except Exception as error:
                if not is_locked(error):
                    raise
                self._put(call, own)

    def _put(self, call: str, rows: list[AnyRow]) -> None:
        now = self._clock()
        if call not in self.held:
            self.held[call] = Held(now, now + FIRST_PAUSE)
            logger.warning("row_locked call=%s; what comes of it waits, and the others go on", call)
        self.held[call].rows += rows
        self.size += size_of(rows)

    def retry(self) -> None:
        """Writes what waits of the calls whose time has come. Raises only what is away."""
        for call in [call for call, held in self.held.items() if held.due <= self._clock()]:
            try:
                self._write_held(call)
            except Exception as error:
                if not is_locked(error):
                    raise
                self._put_off(call)

    def _write_held(self, call: str) -> None:
        held = self.held[call]
        while held.rows:
            some = held.rows[:BATCH_ROWS]
            self._committer.write(some)
            del held.rows[: len(some)]
            self.size -= size_of(some)
        del self.held[call]
        logger.warning("row_unlocked call=%s after %.1f s; what waited is written", call, self._clock() - held.since)
        if not self.held:
            self._calls.clear()
        self._report_late()

    def _put_off(self, call: str) -> None:
        held = self.held[call]
        held.pause = min(2 * held.pause, LONGEST_PAUSE)
        held.due = self._clock() + held.pause

    def when_written(self, batch: Batch) -> Callable[[], None] | None:
        """Whom to tell now that this batch was written; who waits for a call of it that is locked is told later."""
        if batch.committed is None or not self.held:
            return batch.committed
        calls = self._sort(batch.rows).keys() & self.held.keys()
        if not calls:
            return batch.committed
        self._unreported.append((batch.committed, calls))
        return None

    def _report_late(self) -> None:
        waiting = [(committed, calls & self.held.keys()) for committed, calls in self._unreported]
        self._unreported = [(committed, calls) for committed, calls in waiting if calls]
        for committed, calls in waiting:
            if not calls:
                tell(committed)

    def _sort(self, rows: Iterable[AnyRow]) -> dict[str, list[AnyRow]]:
        """Rows by the call that they belong to."""
        rows = [*rows]
        self._learn(rows)
        found: dict[str, list[AnyRow]] = {}
        for row in rows:
            found.setdefault(self._call_of(row), []).append(row)
        return found

    def _learn(self, rows: Iterable[AnyRow]) -> None:
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

    def give_up_audio(self, down_to: int) -> list[ChunkRow]:
        """Takes out the newest audio, until at most that many bytes are left, or no audio. Returns it.

        One locked call must not fill the memory of all.
        """
        given: list[ChunkRow] = []
        for held in self.held.values():
            for at in range(len(held.rows) - 1, -1, -1):
                row = held.rows[at]
                if self.size <= down_to:
                    return given
                if isinstance(row, ChunkRow):
                    del held.rows[at]
                    self.size -= size_of([row])
                    given.append(row)
        return given

    def rows(self) -> list[AnyRow]:
        """All that waits, each call's in order. From any thread."""
        return [row for held in [*self.held.values()] for row in [*held.rows]]

    def take_all(self) -> list[AnyRow]:
        """The same, which waits here no longer, and is told to nobody when it is written."""
        rows = self.rows()
        self.held.clear()
        self._unreported.clear()
        self.size = 0
        self._calls.clear()
        return rows
