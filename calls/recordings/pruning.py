"""What is older than RECORDING_RETENTION_DAYS is erased by itself: a little at a time, so that no call waits for it."""

import datetime as dt
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.conf import settings
from django.db import connection
from django.utils import timezone

from calls.models import Call
from calls.recordings import holds
from calls.recordings.retention import batches, erasable, erase_all, leaving_no_traces
from calls.store import ArchiveError, Away, moving


logger = logging.getLogger(__name__)

# Seconds of a round.
ROUND = 5.0
# PostgreSQL's advisory lock of whoever prunes: any number that nothing else of ours takes.
LOCK = 8_710_633_187
REASON = "RECORDING_RETENTION_DAYS"


class Eraser:
    """Erases calls, some at a time, and leaves those that something keeps: a hold, or an archive that is away."""

    def __init__(self, reason: str, *, audio_only: bool = False) -> None:
        self._reason, self._audio_only = reason, audio_only
        self._is_away = False
        #: What was erased so far, and why others were not, a line each.
        self.calls = self.bytes = 0
        self.left: list[str] = []

    def erase(self, batch: Sequence[Call]) -> None:
        try:
            if not self._is_away:
                return self._erase(batch)
        except (holds.OnHold, ArchiveError):
            # One of them: the others go.
            pass
        for call in batch:
            self._erase_one(call)

    def _erase(self, calls: Sequence[Call]) -> None:
        self.bytes += erase_all(calls, self._reason, audio_only=self._audio_only)
        self.calls += len(calls)

    def _erase_one(self, call: Call) -> None:
        if self._is_away and moving.have_objects([call]):
            # Each of them would wait for the archive as long as the first one did.
            self.left.append(f"{call}: its audio is in the archive")
            return
        try:
            self._erase([call])
        except holds.OnHold as error:  # just now
            self.left.append(str(error))
        except ArchiveError as error:
            self.left.append(f"{call}: {error}")
            self._is_away = isinstance(error, Away)


class Pruning:
    """One a process: it remembers how far it is until it has been through all calls, which the log is told."""

    def __init__(self) -> None:
        self._eraser = Eraser(REASON)
        self._batches: Iterator[list[Call]] | None = None

    def go_round(self) -> bool:
        """Erases for some seconds; whether there is more to erase."""
        days = settings.RECORDING_RETENTION_DAYS
        if not days:
            return False
        if self._batches is None:
            old = Call.objects.filter(ended_at__lt=timezone.now() - dt.timedelta(days=days))
            self._batches, self._eraser = batches(erasable(old)), Eraser(REASON)
        with _alone() as alone, leaving_no_traces():
            if alone and self._erase(self._batches, until=time.monotonic() + ROUND):
                return True
        self._batches = None
        if self._eraser.calls or self._eraser.left:
            left = self._eraser.left[0] if self._eraser.left else "none"
            counts = self._eraser.calls, self._eraser.bytes, len(self._eraser.left)
            logger.info("pruned calls=%d bytes=%d left=%d first=%s", *counts, left)
        return False

    def _erase(self, old: Iterator[list[Call]], until: float) -> bool:
        for batch in old:
            before = time.monotonic()
            self._eraser.erase(batch)
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
