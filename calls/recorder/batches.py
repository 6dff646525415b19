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
    return sum(map(_size, rows))


def _size(row: AnyRow) -> int:
    if type(row) is ChunkRow:
        return len(row.payload)
    return max(ROW_SIZE, len(encode([row]))) if isinstance(row, OF_ANY_SIZE) else ROW_SIZE


def parts(rows: list[AnyRow]) -> Iterator[list[AnyRow]]:
    """The same rows in lists that are not too long for one transaction."""
    for at in range(0, len(rows), BATCH_ROWS):
        yield rows[at : at + BATCH_ROWS]


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
        #: Bytes of all of them.
        self.size = 0

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

    def add(self, batch: Batch) -> None:
        with self._lock:
            self._batches.append(batch)
            self.size += batch.size

    def add_before(self, rows: list[AnyRow]) -> None:
        """Puts rows before all that waits."""
        batches = [Batch(part) for part in parts(rows)]
        with self._lock:
            self._batches.extendleft(reversed(batches))
            self.size += sum(batch.size for batch in batches)

    def pop(self) -> Batch:
        """Takes the oldest one."""
        with self._lock:
            batch = self._batches.popleft()
            self.size -= batch.size
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
            given += chunks
        return given

    def clear(self) -> None:
        with self._lock:
            self._batches.clear()
            self.size = 0
