"""Rows of calls that are rehearsed (calls.rehearsal): kept in memory, and written only if that is asked for."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from django.db import connections

from calls.media.rows import AnyRow, CallRow, EventRow, StreamRow
from calls.recorder.writer import Writer


class Ledger:
    """Takes the rows of the calls that are rehearsed in the recorder's place, and stores them if that is wanted."""

    def __init__(self, *, has_database: bool) -> None:
        self.has_database = has_database
        self.calls = 0
        self._rows: dict[str, list[AnyRow]] = defaultdict(list)
        self._call_of: dict[str, str] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rehearsal")
        self._writing: set[asyncio.Future[None]] = set()

    def rows(self, call_sid: str) -> list[AnyRow]:
        """Of one call, in their order."""
        return self._rows[call_sid]

    def take(self, rows: Sequence[AnyRow], committed: Callable[[], None] | None) -> None:
        for row in rows:
            self._rows[self._call(row)].append(row)
        if not self.has_database:
            if committed is not None:
                committed()
            return
        writing = asyncio.get_running_loop().run_in_executor(self._thread, _write, rows)
        self._writing.add(writing)
        writing.add_done_callback(lambda _: committed() if committed is not None else None)

    def _call(self, row: AnyRow) -> str:
        """Of which call it is: rows of a stream follow the one that begins it."""
        if isinstance(row, StreamRow):
            self._call_of[row.sid] = row.call_sid
            return row.call_sid
        if isinstance(row, CallRow):
            return row.sid
        return row.call if isinstance(row, EventRow) else self._call_of.get(row.stream, "")

    async def written(self) -> None:
        """Waits until all is stored. What the database has refused is raised."""
        await asyncio.gather(*self._writing)
        self._writing.clear()
        if self.has_database:
            await asyncio.get_running_loop().run_in_executor(self._thread, connections.close_all)

    def close(self) -> None:
        self._thread.shutdown()


def _write(rows: Sequence[AnyRow]) -> None:
    Writer("default").write(rows)
