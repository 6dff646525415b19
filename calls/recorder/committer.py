"""Commits rows in one transaction. Of those that the database refuses, each one alone is kept in quarantine."""

import logging

from django.db.models.functions import Length

from calls import about, vault
from calls.media.rows import AnyRow, CallRow, ChunkRow, EventRow, GapRow, StreamRow
from calls.media.storable import storable
from calls.models import QuarantinedRow
from calls.recorder import packing
from calls.recorder.errors import is_away, is_locked
from calls.recorder.patience import Patience
from calls.recorder.writer import DATABASE, Writer


logger = logging.getLogger(__name__)


class Committer:
    """One for the rows of this process, and one for each spool that a dead process left, with its own refusals."""

    def __init__(self, patience: Patience, *, waits_for_keys: bool = False) -> None:
        """What a dead process left can wait for a key that is missing; rows of our own must hold up nobody's."""
        self._writer = Writer()
        self._waits_for_keys = waits_for_keys
        self._patience = patience
        #: Streams that were refused because their token or SID was used before, and that nobody has asked for yet.
        self._refused: list[StreamRow] = []

    def write(self, rows: list[AnyRow]) -> None:
        """Raises only what is away, locked, or sealed with a key that is missing: then all of it can be written again,
        since writing twice is once.
        """
        try:
            self._commit(rows)
        except Exception as error:
            # Whatever it is, even a defect of ours: one row must not hold back all the others for ever.
            if self._can_wait(error):
                raise
            self._bisect(rows)

    def take_refused(self) -> list[StreamRow]:
        """The streams that were refused since this was last asked."""
        refused, self._refused = self._refused, []
        return refused

    def forget(self) -> None:
        """The database went away: what was learnt of it last may not be there."""
        self._writer.forget()

    def _commit(self, rows: list[AnyRow]) -> None:
        if rows:
            self._patience.begin()
            self._refused += self._writer.write(rows)

    def _can_wait(self, error: Exception) -> bool:
        return is_away(error) or is_locked(error) or (self._waits_for_keys and isinstance(error, vault.KeyMissing))

    def _bisect(self, rows: list[AnyRow]) -> None:
        if len(rows) > 1:
            middle = len(rows) // 2
            self.write(rows[:middle])
            self.write(rows[middle:])
            return
        try:
            # Perhaps it has lost a race for a unique key, and knows better now.
            self._commit(rows)
        except Exception as error:
            if self._can_wait(error):
                raise
            self._quarantine(rows[0], error)

    def _quarantine(self, row: AnyRow, error: Exception) -> None:
        """Keeps a refused row with its reason; where audio was, a gap says so."""
        kind = type(row).__name__
        with about.about(*_sids(row)):
            logger.error("row_quarantined kind=%s reason=%s", kind, ascii(str(error)[:200]))
        _keep_in_quarantine(kind, packing.pack([row]), error)
        if isinstance(row, ChunkRow) and row.payload:
            self.write([GapRow(row.stream, row.track, row.start, len(row.payload), "rejected")])


def _sids(row: AnyRow) -> tuple[str, str]:
    """What a row is about, as far as it says so itself."""
    match row:
        case CallRow():
            return row.sid, ""
        case StreamRow():
            return row.call_sid, row.sid
        case EventRow():
            return row.call, row.stream or ""
        case _:
            return "", row.stream


def unpack(batch: bytes) -> list[AnyRow]:
    """The rows of a spool's batch. One that cannot be read goes into quarantine. Raises KeyMissing."""
    try:
        return packing.unpack(batch)
    except ValueError as error:
        logger.error("batch_quarantined reason=%s", ascii(str(error)[:200]))
        _keep_in_quarantine("batch", batch, error)
        return []


def _keep_in_quarantine(kind: str, data: bytes, error: Exception) -> None:
    """Once, even if the rows around it are written again."""
    reason = storable(error, 1000)
    kept = QuarantinedRow.objects.using(DATABASE)
    # Sealed twice, the same row is not the same bytes, but as long.
    alike = kept.filter(kind=kind).annotate(size=Length("data")).filter(size=len(data)).values_list("data", flat=True)
    if not any(_is_same(bytes(known), data) for known in alike.iterator(chunk_size=100)):
        kept.create(kind=kind, reason=reason, data=data)


def _is_same(known: bytes, data: bytes) -> bool:
    try:
        return known == data or vault.unshut(known) == vault.unshut(data)
    except vault.Unreadable:
        return False
