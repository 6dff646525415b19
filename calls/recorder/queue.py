"""A queue of rows: takes them in memory and gets them into the database, whatever happens to it.

One recorder a process. The event loop's side (`submit`) never waits; one writer thread, with a connection of its own,
writes a batch for all streams together in one transaction, retries with backoff while the database is away, and keeps
what no longer fits in memory in the spool. No asyncio, no Channels.
"""

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import closing

from django.conf import settings
from django.db import connections

from calls import metrics
from calls.media.rows import AnyRow
from calls.recorder.aside import Aside
from calls.recorder.attendance import Attendance
from calls.recorder.backlog import Backlog
from calls.recorder.batches import Batch, Batches, parts, tell
from calls.recorder.committer import Committer, unpack
from calls.recorder.errors import is_away
from calls.recorder.housekeeping import Housekeeping
from calls.recorder.patience import Patience
from calls.recorder.stand_in import StandIn
from calls.recorder.writer import DATABASE


logger = logging.getLogger(__name__)

# Seconds for which rows that can wait do so for others: fewer transactions cost less. With RECORDER_FLUSH_SECONDS and
# the transaction itself this is what a crash costs of a stream, which is to be less than half a second.
GATHER = 0.05


class Recorder:
    """Rows go one way: from memory or the spool to the committer, and aside where somebody holds their call locked."""

    def __init__(self, *, threaded: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """Without a thread, whoever holds it calls `step` (as tests do, with a clock of their own)."""
        self.owner = uuid.uuid4().hex
        #: Called from the writer thread with the SID of a stream whose token was used before.
        self.on_refused: Callable[[str], None] | None = None
        #: Since when the database has been away (monotonic seconds); None while it is there.
        self.away_since: float | None = None
        #: Who takes rows instead, if anybody does.
        self.stand_in: StandIn | None = None
        #: Whether this process asks Twilio about quiet calls (calls.server.inquiry) before they are taken for over.
        self.asks_twilio = False
        self.backlog = Backlog(self.owner)
        self._clock = clock
        self._batches = Batches()
        self._patience = Patience(clock)
        self._committer = Committer(self._patience)
        self._aside = Aside(self._committer, clock)
        self.attendance = Attendance(self.owner)
        self._housekeeping = Housekeeping(self.owner, self._patience, clock, self.attendance)
        #: Seconds for which rows have waited at most, since somebody last asked.
        self._longest_wait = 0.0
        self._wake = threading.Condition()
        self._threaded = threaded
        self._thread: threading.Thread | None = None
        self._stopping = False

    # --- the event loop's side ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the writer thread, if it is not running."""
        if not self._threaded:
            return
        with self._wake:
            if self._thread is None or not self._thread.is_alive():
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
                self._thread.start()

    def submit(
        self, rows: Iterable[AnyRow], committed: Callable[[], None] | None = None, *, can_wait: bool = False
    ) -> None:
        """Hands rows to the writer thread. `committed` is called from there when all are in the database.

        With `can_wait` it begins with them after `GATHER` seconds, or as soon as anything comes that cannot.
        """
        new = [*rows]
        if not new and committed is None:
            return
        if self.stand_in is not None:
            return self.stand_in.take(new, committed)
        now = self._clock()
        batches = [Batch(part, since=now, can_wait=can_wait) for part in parts(new) or [[]]]
        batches[-1].committed = committed
        # First of all: the writer may refuse a stream as soon as it can see it.
        self._housekeeping.note(new)
        with self._wake:
            is_first = not self._batches
            for batch in batches:
                self._batches.add(batch)
            if is_first or self._batches.are_urgent:
                self._wake.notify()
        # Only this side can see that the database says nothing.
        self._patience.look(is_away=self.away_since is not None)
        self.start()

    @property
    def has_database(self) -> bool:
        """False where handlers are rehearsed without one."""
        return self.stand_in is None or self.stand_in.has_database

    @property
    def lag(self) -> float:
        """Seconds for which the database has been away."""
        return self._clock() - self.away_since if self.away_since is not None else 0.0

    def hasten(self) -> None:
        """Has the next heartbeat come at once, or a second after the last one. From any thread; never waits."""
        self._housekeeping.hasten()

    def take_longest_wait(self) -> float:
        """Seconds for which rows have waited at most, or wait by now, since this was last asked for."""
        longest, self._longest_wait = self._longest_wait, 0.0
        return max(longest, self.longest_waiting)

    @property
    def longest_waiting(self) -> float:
        """Seconds for which the oldest row has waited that is not in the database. From any thread."""
        # What is in the spool was there first, and came when the database had just gone.
        waiting = (self._batches.since, self._aside.since, self.away_since if self.backlog.is_spooled else None)
        return max((self._clock() - since for since in waiting if since is not None), default=0.0)

    @property
    def spooled_bytes(self) -> int:
        """Of all that waits on disk."""
        return self.backlog.spooled_bytes

    @property
    def queued_bytes(self) -> int:
        """Of all that waits in memory."""
        return self._batches.size + self._aside.size

    @property
    def dropped_bytes(self) -> int:
        """Of audio, since all that waited was last written."""
        return self.backlog.dropped_bytes

    @property
    def has_no_room(self) -> bool:
        """Neither memory nor the spool take any more, and the database has taken nothing since."""
        return self.backlog.has_no_room

    def close(self, timeout: float = 10.0) -> bool:
        """Writes what is left, within `timeout` seconds; the rest waits in the spool. True if all is safe."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                # It waits for a database that does not answer. What it may still write is written twice, which is once.
                return self.backlog.keep_copy([self._aside.rows(), *(batch.rows for batch in self._batches)])
        self._spill_last()
        self.backlog.close()
        return not self._batches

    # --- the writer thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = 0.0
        while True:
            self._wait(pause)
            if self._stopping and (not self._batches or pause):
                break
            try:
                pause = 0.0 if self.step() else min(max(2 * pause, 0.1), 2.0) * random.uniform(0.8, 1.2)
            except Exception:
                # A defect of ours must not end the recording of every call.
                logger.exception("recorder_failed; going on")
                pause = 1.0
        if self.away_since is None:
            self.attendance.leave()
        connections[DATABASE].close()

    def _wait(self, pause: float) -> None:
        with self._wake:
            if pause and not self._stopping:
                self._wake.wait_for(lambda: self._stopping, pause)
                return
            if not self._batches and not self._stopping:
                self._wake.wait(max(0.0, min(self._housekeeping.seconds_to_beat, 1.0)))
            if (since := self._batches.since) is not None:
                self._wake.wait_for(lambda: self._batches.are_urgent or self._stopping, since + GATHER - self._clock())

    def step(self) -> bool:
        """Writes what waits, oldest first: the spool, then the queue. False if the database is away."""
        self._patience.begin()
        try:
            self._catch_up()
            if not self._stopping:
                with closing(self._housekeeping.turn(asks_twilio=self.asks_twilio)) as turn:
                    for _ in turn:
                        self._catch_up()
        except Exception as error:
            if not is_away(error):
                raise
            self._went_away(error)
            return False
        finally:
            self._patience.end()
            self._make_room()
        self._came_back()
        return True

    def _catch_up(self) -> None:
        """A database that is there but slow must neither fill the memory nor cost us our leases."""
        self._renew_leases()
        try:
            self._aside.retry()
        finally:
            self._report_refused()
        # What comes meanwhile may gather.
        began = self._clock()
        while self.backlog.is_spooled or self._batches.has_older(began):
            for packed in self.backlog.replay():
                self._make_room()
                self._renew_leases()
                self._write(unpack(packed))
            if self._batches:
                self._write_oldest()
            self._make_room()
            self._renew_leases()

    def _renew_leases(self) -> None:
        if not self._stopping:
            self._housekeeping.renew_leases()

    def _write_oldest(self) -> None:
        """The oldest batches, several in one transaction; each leaves the queue only when it is committed."""
        batches = self._batches.for_one_transaction()
        self._write([row for batch in batches for row in batch.rows])
        for batch in batches:
            if batch.since is not None:
                self._longest_wait = max(self._longest_wait, self._clock() - batch.since)
            committed = self._aside.when_written(batch)
            self._batches.pop()
            if committed is not None:
                tell(committed)

    def _write(self, rows: list[AnyRow]) -> None:
        try:
            self._aside.write(rows)
        finally:
            self._report_refused()
        self.backlog.has_no_room = False

    def _report_refused(self) -> None:
        for row in self._committer.take_refused():
            logger.warning("stream_rejected reason=token_used stream=%s call=%s", row.sid, row.call_sid)
            metrics.refuse(metrics.Refusal.USED_TOKEN)
            self._housekeeping.forget(row.sid)
            if self.on_refused is not None:
                tell(self.on_refused, row.sid)

    # --- the database is away ----------------------------------------------------------------------------------------

    def _went_away(self, error: Exception) -> None:
        self._housekeeping.note_outage()
        self._committer.forget()
        # The next attempt opens a new connection: this one may be half dead.
        connections[DATABASE].close()
        if self.away_since is None:
            self.away_since = self._clock()
            logger.error("db_down: %s; recording goes on in memory", ascii(str(error).strip()[:200]))

    def _came_back(self) -> None:
        if self.away_since is not None:
            logger.warning("db_up after %.1f s; everything that waited is written", self.lag)
            self.away_since = None
        elif self._patience.is_slow:
            logger.warning("db_answers_again; everything that waited is written")
        self._patience.is_slow = False
        if self.backlog.has_gaps:
            self.submit(self.backlog.take_gaps())
        elif not self._aside:
            self.backlog.forget_dropped()

    def _make_room(self) -> None:
        """What is more than memory may hold goes to the spool, and what waits for a lock loses its audio."""
        room = int(settings.RECORDER_MAX_BUFFER_MB * 2**20)
        # A disk that was full is tried again, even when nothing comes any more.
        if self._batches and (self.queued_bytes > room or self.has_no_room):
            self.backlog.spill(self._batches, room - self._aside.size)
        if self.queued_bytes > room and self._aside:
            chunks = self._aside.give_up_audio(down_to=room - self._batches.size)
            self.backlog.drop(chunks, "what waits for locked rows fills the memory; gaps say what went")

    def _spill_last(self) -> None:
        """At the end everything goes to the spool; audio that does not fit is lost, and a gap says so."""
        # It came before what is in the queue.
        self._batches.add_before(self._aside.take_all())
        if self._batches:
            self.backlog.spill(self._batches, room=int(settings.RECORDER_MAX_BUFFER_MB * 2**20))
        if self.backlog.keep_last([row for batch in self._batches for row in batch.rows]):
            self._batches.clear()


# The one of this process.
recorder = Recorder()
