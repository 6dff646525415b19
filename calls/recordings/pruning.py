"""What is older than RECORDING_RETENTION_DAYS is erased by itself: a little at a time, so that no call waits for it."""

import datetime as dt
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from calls.models import Call
from calls.recordings.retention import batches, erasable, erase_all, leaving_no_traces


logger = logging.getLogger(__name__)

# Seconds of a round.
ROUND = 5.0
# PostgreSQL's advisory lock of whoever prunes: any number that nothing else of ours takes.
LOCK = 8_710_633_187
REASON = "RECORDING_RETENTION_DAYS"


class Pruning:
    """One a process: it remembers what it has erased until there is nothing more to erase, which the log is told."""

    def __init__(self) -> None:
        self._calls = self._bytes = 0

    def go_round(self) -> bool:
        """Erases for some seconds; whether there is more to erase."""
        days = settings.RECORDING_RETENTION_DAYS
        if not days:
            return False
        old = erasable(Call.objects.filter(ended_at__lt=timezone.now() - dt.timedelta(days=days)))
        with _alone() as alone, leaving_no_traces():
            if alone and self._erase(old, until=time.monotonic() + ROUND):
                return True
        if self._calls:
            logger.info("pruned calls=%d bytes=%d", self._calls, self._bytes)
        self._calls = self._bytes = 0
        return False

    def _erase(self, old: QuerySet[Call], until: float) -> bool:
        for batch in batches(old):
            before = time.monotonic()
            self._bytes += erase_all(batch, REASON)
            self._calls += len(batch)
            if time.monotonic() > until:
                return True
            # Half of the time belongs to the calls: of the database's disk, or of SQLite's one writer.
            time.sleep(min(time.monotonic() - before, 1.0))
        return False


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether no other machine is pruning, nor begins to while we do. A SQLite file has one machine."""
    if connection.vendor != "postgresql":
        yield True
        return
    with connection.cursor() as cursor:
        (alone,) = cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
        try:
            yield alone
        finally:
            if alone:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


# The one of this process.
pruning = Pruning()
