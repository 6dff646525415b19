"""Batches of rows that wait in memory, oldest first."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from calls.media.rows import AnyRow, ChunkRow, DataRow, EventRow, UtteranceRow, encode


logger = logging.getLogger(__name__)

# Rows of one transaction, at most: a larger one holds the interpreter and the audio of every stream.
BATCH_ROWS = 500
# Bytes that a row is taken for that has neither audio ...
ROW_SIZE = 300
# ... nor whatever a handler or a transcriber puts into it.
OF_ANY_SIZE = (DataRow, EventRow, UtteranceRow)


def size_of(rows: Iterable[AnyRow]) -> int:
    """Bytes, about."""
    size = 0
    for row in rows:
        # Nearly all are, and it is the event loop that asks.
        size += len(row.payload) if type(row) is ChunkRow else _size_of_other(row)
    return size


def _size_of_other(row: AnyRow) -> int:
    return max(ROW_SIZE, len(encode([row]))) if isinstance(row, OF_ANY_SIZE) else ROW_SIZE


def parts(rows: list[AnyRow]) -> list[list[AnyRow]]:
    """The same rows in lists that are not too long for one transaction."""
    return [rows[at : at + BATCH_ROWS] for at in range(0, len(rows), BATCH_ROWS)]


def tell(listener: Callable[..., None], *news: str) -> None:
    """What a listener makes of it does not concern the rows: perhaps its event loop is gone."""
    try:
        listener(*news)
    except Exception:
        logger.exception("listener_failed; going on")


@dataclass(slots=True, eq=False)
class Batch:
    rows: list[AnyRow]
    #: Called from the writer thread once the rows are committed.
    committed: Callable[[], None] | None = None
    #: When it was handed over, by the recorder's clock.
    since: float | None = None
    #: Whether it may wait for others, to be written in one transaction with them.
    can_wait: bool = False
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = size_of(self.rows)

    def give_up_audio(self) -> list[ChunkRow]:
        """Keeps the rows without audio only. Returns the others."""
        chunks = [row for row in self.rows if isinstance(row, ChunkRow)]
        self.rows = [row for row in self.rows if not isinstance(row, ChunkRow)]
        self.size -= size_of(chunks)
        return chunks


class Batches:
    """Any thread may add to them; the writer thread alone takes them."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self._lock = threading.Lock()
        #: Bytes of all of them, and rows.
        self.size = self._rows = 0
        #: How many of them cannot wait.
        self._urgent = 0

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        """Those of this moment."""
        with self._lock:
            return iter([*self._batches])

    @property
    def oldest(self) -> Batch:
        return self._batches[0]

    @property
    def since(self) -> float | None:
        """When the oldest one was handed over. From any thread."""
        with self._lock:
            return self._batches[0].since if self._batches else None

    @property
    def are_urgent(self) -> bool:
        """Whether they are to wait for no more: some cannot, or more would not fit into their transaction."""
        return self._urgent > 0 or self._rows >= BATCH_ROWS

    def has_older(self, moment: float) -> bool:
        """Whether any were handed over until then, by the recorder's clock."""
        with self._lock:
            return bool(self._batches) and (self._batches[0].since or moment) <= moment

    def add(self, batch: Batch) -> None:
        with self._lock:
            self._batches.append(batch)
            self._count(batch)

    def add_before(self, rows: list[AnyRow]) -> None:
        """Puts rows before all that waits."""
        batches = [Batch(part) for part in parts(rows)]
        with self._lock:
            self._batches.extendleft(reversed(batches))
            for batch in batches:
                self._count(batch)

    def pop(self) -> Batch:
        """Takes the oldest one."""
        with self._lock:
            batch = self._batches.popleft()
            self.size -= batch.size
            self._rows -= len(batch.rows)
            self._urgent -= not batch.can_wait
        return batch

    def for_one_transaction(self) -> list[Batch]:
        """The oldest ones, as many as fit; they stay until each is popped."""
        taken: list[Batch] = []
        rows = 0
        with self._lock:
            for batch in self._batches:
                rows += len(batch.rows)
                if taken and rows > BATCH_ROWS:
                    break
                taken.append(batch)
        return taken

    def give_up_audio(self, down_to: int) -> list[ChunkRow]:
        """Takes the newest audio out, until at most that many bytes are left, or no audio. Returns it."""
        given: list[ChunkRow] = []
        for batch in reversed([*self]):
            if self.size <= down_to:
                break
            chunks = batch.give_up_audio()
            with self._lock:
                self.size -= size_of(chunks)
                self._rows -= len(chunks)
            given += chunks
        return given

    def clear(self) -> None:
        with self._lock:
            self._batches.clear()
            self.size = self._rows = self._urgent = 0

    def _count(self, batch: Batch) -> None:
        self.size += batch.size
        self._rows += len(batch.rows)
        self._urgent += not batch.can_wait
