"""Commits rows in one transaction. Of those that the database refuses, each one alone is kept in quarantine."""

import logging

from calls import about
from calls.media.rows import AnyRow, CallRow, ChunkRow, EventRow, GapRow, StreamRow, decode, encode
from calls.media.storable import storable
from calls.models import QuarantinedRow
from calls.recorder.errors import is_away, is_locked
from calls.recorder.patience import Patience
from calls.recorder.writer import DATABASE, Writer


logger = logging.getLogger(__name__)


class Committer:
    """One for the rows of this process, and one for each spool that a dead process left, with its own refusals."""

    def __init__(self, patience: Patience) -> None:
        self._writer = Writer()
        self._patience = patience
        #: Streams that were refused because their token or SID was used before, and that nobody has asked for yet.
        self._refused: list[StreamRow] = []

    def write(self, rows: list[AnyRow]) -> None:
        """Raises only what is away or locked: then all of it can be written again, since writing twice is once."""
        try:
            self._commit(rows)
        except Exception as error:
            # Whatever it is, even a defect of ours: one row must not hold back all the others for ever.
            if is_away(error) or is_locked(error):
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
            if is_away(error) or is_locked(error):
                raise
            self._quarantine(rows[0], error)

    def _quarantine(self, row: AnyRow, error: Exception) -> None:
        """Keeps a refused row with its reason; where audio was, a gap says so."""
        kind = type(row).__name__
        with about.about(*_sids(row)):
            logger.error("row_quarantined kind=%s reason=%s", kind, ascii(str(error)[:200]))
        _keep_in_quarantine(kind, encode([row]), error)
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
    """The rows of a spool's batch. One that cannot be read goes into quarantine."""
    try:
        return decode(batch)
    except ValueError as error:
        logger.error("batch_quarantined reason=%s", ascii(str(error)[:200]))
        _keep_in_quarantine("batch", batch, error)
        return []


def _keep_in_quarantine(kind: str, data: bytes, error: Exception) -> None:
    """Once, even if the rows around it are written again."""
    reason = storable(error, 1000)
    kept = QuarantinedRow.objects.using(DATABASE)
    if not kept.filter(kind=kind, data=data).exists():
        kept.create(kind=kind, reason=reason, data=data)
