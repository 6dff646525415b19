"""What fits into memory no longer: it waits in this process's spool, and where that is full, gaps say what was dropped.

The newest audio is dropped first. Rows without audio never are.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence

from django.conf import settings

from calls import metrics
from calls.media.rows import AnyRow, ChunkRow, GapRow
from calls.recorder.batches import Batches
from calls.recorder.packing import pack
from calls.recorder.spool import Spool, SpoolDamaged, SpoolError, fingerprint


logger = logging.getLogger(__name__)


class Backlog:
    """The writer thread's own, but for `keep_copy`."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._spool: Spool | None = None
        #: What had to be dropped, by lane: start -> end.
        self._gaps: dict[tuple[str, str], dict[int, int]] = {}
        #: Of audio, since all that waited was last written.
        self.dropped_bytes = 0
        #: Neither memory nor the spool take any more, and the database has taken nothing since.
        self.has_no_room = False

    @property
    def is_spooled(self) -> bool:
        """Whether something waits in the spool: it is older than all that waits in memory."""
        return self._spool is not None

    @property
    def spooled_bytes(self) -> int:
        return self._spool.size if self._spool is not None else 0

    @property
    def has_gaps(self) -> bool:
        """Whether audio was dropped that no row says yet."""
        return bool(self._gaps)

    # --- the spool ---------------------------------------------------------------------------------------------------

    def spill(self, batches: Batches, room: int) -> None:
        """Moves what waits in memory to the spool, oldest first; of what does not fit there, `room` bytes stay."""
        try:
            while batches:
                self._open().append(pack(batches.oldest.rows))
                batches.pop()
            logger.warning("spooling: %d batches wait in %s", self._open().count, settings.SPOOL_DIR)
        except SpoolError as error:
            self.has_no_room = True
            self.drop(batches.give_up_audio(down_to=room), f"{error}; the newest audio is dropped and gaps say so")
        else:
            self.has_no_room = False

    def replay(self) -> Iterator[bytes]:
        """The spool's batches, oldest first: each leaves it when the next one is asked for."""
        if self._spool is not None:
            yield from replay(self._spool)
            self._spool = None

    def keep_last(self, rows: Sequence[AnyRow]) -> bool:
        """At the end: keeps rows that did not fit, without their audio, and the gaps. False if they are lost."""
        self.drop([row for row in rows if isinstance(row, ChunkRow)], "the last audio is dropped and gaps say so")
        left = [row for row in rows if not isinstance(row, ChunkRow)] + self.take_gaps()
        try:
            if left:
                self._open().append(pack(left), urgent=True)
        except SpoolError as error:
            logger.critical("rows_lost: %s; %d rows are lost", error, len(left))
            return False
        return True

    def keep_copy(self, batches: Iterable[Sequence[AnyRow]]) -> bool:
        """Keeps batches in a second file: the first one may be in use. From any thread. False if they are lost."""
        try:
            spool = self._new_spool("-last")
            for rows in batches:
                if rows:
                    spool.append(pack(rows))
            spool.close()
        except SpoolError as error:
            logger.critical("rows_lost: %s; what was recorded last is lost", error)
            return False
        return True

    def close(self) -> None:
        """Lets go of the spool: another process may write what is left in it."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _open(self) -> Spool:
        if self._spool is None:
            self._spool = self._new_spool()
        return self._spool

    def _new_spool(self, suffix: str = "") -> Spool:
        name = f"{fingerprint(settings.DATABASES['default'])}-{self._owner}{suffix}.spool"
        return Spool(settings.SPOOL_DIR / name, settings.SPOOL_MAX_MB * 2**20)

    # --- what is dropped ---------------------------------------------------------------------------------------------

    def drop(self, chunks: Iterable[ChunkRow], why: str) -> None:
        """Lets audio go, and remembers its gaps. The log has the first reason."""
        for chunk in chunks:
            if not self.dropped_bytes:
                logger.critical("storage_full: %s", why)
            self.dropped_bytes += len(chunk.payload)
            metrics.dropped_bytes.inc(len(chunk.payload))
            self._remember_gap(chunk)

    def _remember_gap(self, chunk: ChunkRow) -> None:
        """Neighbours become one gap."""
        start, end = chunk.start, chunk.start + len(chunk.payload)
        gaps = self._gaps.setdefault((chunk.stream, chunk.track), {})
        # Batches are dropped newest first, so that a gap grows at either end.
        for at, until in [*gaps.items()]:
            if at == end or until == start:
                del gaps[at]
                start, end = min(start, at), max(end, until)
        gaps[start] = end

    def take_gaps(self) -> list[AnyRow]:
        """The rows that say what was dropped, once."""
        rows: list[AnyRow] = [
            GapRow(stream, track, start, end - start, "over_cap")
            for (stream, track), gaps in self._gaps.items()
            for start, end in gaps.items()
        ]
        self._gaps.clear()
        return rows

    def forget_dropped(self) -> None:
        """Everything that waited is written, the gaps too."""
        if self.dropped_bytes:
            logger.warning("storage_full_over; gaps explain the %d bytes that were dropped", self.dropped_bytes)
            self.dropped_bytes = 0


def replay(spool: Spool) -> Iterator[bytes]:
    """A spool's batches, oldest first: each leaves the file when the next one is asked for, which is closed at the end.

    What can be read no further is set aside under another name.
    """
    total = spool.count
    try:
        for key, batch in spool:
            yield batch
            spool.remove(key, len(batch))
    except SpoolDamaged as error:
        logger.error("spool_unreadable %s; the rest is set aside as .damaged", error)
        spool.rename_damaged()
        return
    spool.close()
    if total:
        logger.warning("spool_replayed n=%d from %s", total, spool.path.name)
