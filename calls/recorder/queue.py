"""Takes rows in memory and gets them into the database, whatever happens to it.

One recorder a process. The event loop's side (`cut`, `submit`) never waits; one writer thread, with a connection of
its own, writes a batch for all streams together in one transaction, retries with backoff while the database is away,
and keeps what no longer fits in memory in the spool. No asyncio, no Channels.
"""

import datetime as dt
import logging
import os
import random
import socket
import sqlite3
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from calls.accounts.summary import summarise
from calls.media.rows import AnyRow, ChunkRow, GapRow, StreamRow, decode, encode
from calls.media.storable import storable
from calls.media.tape import Tape
from calls.models import Call, CallEvent, Erasure, QuarantinedRow, Stream
from calls.recorder.aside import Aside, is_locked, size_of
from calls.recorder.spool import Spool, SpoolDamaged, SpoolError, fingerprint, foreign, leftovers
from calls.recorder.writer import DATABASE, Writer


logger = logging.getLogger(__name__)

# A process renews the leases of its streams this often, in seconds.
HEARTBEAT = 5
# A stream whose lease is this old has no process any more; with one heartbeat that makes less than 20 s.
LEASE = 14
# What a process that was killed had not written yet is at most this long, in samples.
UNWRITTEN = 4000
# A call without a stream and without a <Dial> is over after this many seconds: its number sends no status callback.
ABANDONED = 60
# Where Twilio is asked first: seconds that it has to answer, and for which its word that a call goes on is good.
ASKING = 30
TRUST = 600
# A call that we placed and that nobody answered is over after this many hours: Twilio's queue holds it for a day.
UNHEARD = 25
# Seconds after which a database that neither answers nor refuses is frozen. A statement has 5 s, SQLite's lock 20 s.
PATIENCE = 15
# Seconds after which the log says that it does not answer.
SLOW = 3
# Rows of one transaction, at most: a larger one holds the interpreter and the audio of every stream.
BATCH_ROWS = 500


def _is_away(error: Exception) -> bool:
    """Whether it is the database's fault and neither a row's nor a lock's: trying again will help, one day.

    A table that is not as we know it (42) or takes no writes (25) is neither; only PostgreSQL calls these other names.
    """
    code = getattr(error.__cause__, "sqlstate", None) or ""
    if is_locked(error):
        return False
    return isinstance(error, OperationalError | InterfaceError | sqlite3.OperationalError) or code[:2] in ("25", "42")


def _unlocked(streams: QuerySet[Stream]) -> QuerySet[Stream]:
    """Those that nobody else holds: one lock must not cost all the others their lease. SQLite knows no row locks."""
    free = streams.select_for_update(skip_locked=True, no_key=True).values("pk")
    return Stream.objects.using(DATABASE).filter(pk__in=free)


def _tell(listener: Callable[..., None], *news: str) -> None:
    """What a listener makes of it does not concern the rows: perhaps its event loop is gone."""
    try:
        listener(*news)
    except Exception:
        logger.exception("listener_failed; going on")


@dataclass(slots=True)
class Batch:
    rows: list[AnyRow]
    #: Called from the writer thread once the rows are committed.
    committed: Callable[[], None] | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = size_of(self.rows)


class Recorder:
    """What `design.md` promises of the recording is kept here."""

    def __init__(self, *, threaded: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """Without a thread, whoever holds it calls `step` (as tests do, with a clock of their own)."""
        self._clock = clock
        self.owner = uuid.uuid4().hex
        self.tapes: dict[str, Tape] = {}
        #: Called from the writer thread with the SID of a stream whose token was used before.
        self.on_refused: Callable[[str], None] | None = None
        #: Since when the database has been away (monotonic seconds); None while it is there.
        self.away_since: float | None = None
        self.queued_bytes = 0
        #: Of audio, since all that waited was last written.
        self.dropped_bytes = 0
        #: Neither memory nor the spool take any more, and the database has taken nothing since.
        self.has_no_room = False
        self.written_rows = 0
        #: Whether this process asks Twilio about quiet calls (calls.server.inquiry) before they are taken for over.
        self.asks_twilio = False
        self._writer = Writer()
        self._queue: deque[Batch] = deque()
        self._aside = Aside(clock)
        #: Batches that are committed but for what was set aside, by call.
        self._unreported: dict[str, list[Batch]] = {}
        self._wake = threading.Condition()
        self._threaded = threaded
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._spool: Spool | None = None
        #: Files of SPOOL_DIR of which the log has spoken.
        self._told: set[Path] = set()
        #: What had to be dropped, by lane: start -> end.
        self._gaps: dict[tuple[str, str], dict[int, int]] = {}
        #: Since when the writer has been at one thing, and over which connection.
        self._busy_since: float | None = None
        self._connection: BaseDatabaseWrapper | None = None
        #: The log has said that the database does not answer.
        self._is_slow = False
        self._next_heartbeat = 0.0
        self._next_housekeeping = 0.0
        self._beating_since: float | None = None

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

    def submit(self, rows: Iterable[AnyRow], committed: Callable[[], None] | None = None) -> None:
        """Hands rows to the writer thread. `committed` is called from there when they are in the database."""
        batch = Batch(list(rows), committed)
        if not batch.rows and committed is None:
            return
        with self._wake:
            self._queue.append(batch)
            self.queued_bytes += batch.size
            self._wake.notify()
        self._watch_writer()
        self.start()

    def open(self, tape: Tape, row: StreamRow) -> None:
        """A stream begins to be recorded."""
        self.tapes[tape.sid] = tape
        self.submit([row])

    def cut(self, elapsed: dict[str, int]) -> None:
        """One batch with what is new on all streams; `elapsed` is each one's age in samples."""
        rows: list[AnyRow] = []
        for sid, age in elapsed.items():
            rows += self.tapes[sid].cut(age)
        for at in range(0, len(rows), BATCH_ROWS):
            self.submit(rows[at : at + BATCH_ROWS])

    def finish(self, tape: Tape, committed: Callable[[], None] | None = None) -> None:
        """A stream has ended: its last rows are handed over."""
        self.tapes.pop(tape.sid, None)
        self.submit(tape.cut_all(), committed)

    @property
    def lag(self) -> float:
        """Seconds for which the database has been away."""
        return self._clock() - self.away_since if self.away_since is not None else 0.0

    def close(self, timeout: float = 10.0) -> bool:
        """Writes what is left, within `timeout` seconds; the rest waits in the spool. True if all is safe."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                # It waits for a database that does not answer. What it may still write is written twice, which is once.
                return self._spill_copy()
        if self._queue or self._gaps or self._aside:
            self._spill_last()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        return not self._queue

    def _watch_writer(self) -> None:
        """Only this side can see that the database says nothing: the writer waits for it."""
        began = self._busy_since
        waited = self._clock() - began if began is not None else 0.0
        if waited > SLOW and not self._is_slow and self.away_since is None:
            self._is_slow = True
            logger.error("db_slow: no answer for %.0f s; recording goes on in memory", waited)
        if waited > PATIENCE:
            self._hang_up()

    def _hang_up(self) -> None:
        """The database has frozen under the writer: neither its own timeouts nor TCP's see that, only we do."""
        raw = self._connection.connection if self._connection is not None else None
        self._busy_since = None
        if isinstance(raw, psycopg.Connection) and not raw.closed:
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(raw.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)

    # --- the writer thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = 0.0
        while True:
            self._wait(pause)
            if self._stopping and (not self._queue or pause):
                break
            try:
                pause = 0.0 if self.step() else min(max(2 * pause, 0.1), 2.0) * random.uniform(0.8, 1.2)
            except Exception:
                # A defect of ours must not end the recording of every call.
                logger.exception("recorder_failed; going on")
                pause = 1.0
        connections[DATABASE].close()

    def _wait(self, pause: float) -> None:
        with self._wake:
            if pause and not self._stopping:
                self._wake.wait_for(lambda: self._stopping, pause)
            elif not self._queue and not self._stopping:
                self._wake.wait(max(0.0, min(self._next_heartbeat - self._clock(), 1.0)))

    def step(self) -> bool:
        """Writes what waits, oldest first: the spool, then the queue. False if the database is away."""
        self._connection, self._busy_since = connections[DATABASE], self._clock()
        try:
            self._catch_up()
            if self._clock() >= self._next_housekeeping and not self._stopping:
                self._housekeep()
                self._catch_up()
        except Exception as error:
            if not _is_away(error):
                raise
            self._went_away(error)
            return False
        finally:
            self._busy_since = None
            self._make_room()
        self._came_back()
        return True

    def _catch_up(self) -> None:
        """A database that is there but slow must neither fill the memory nor cost us our leases."""
        self._renew_leases()
        self._retry_locked()
        while self._spool is not None or self._queue:
            if self._spool is not None:
                for _ in self._drain(self._spool, self._writer):
                    self._make_room()
                    self._renew_leases()
                self._spool = None
            else:
                self._write_next()
                self._make_room()
                self._renew_leases()

    def _write_next(self) -> None:
        """Writes the oldest batches, several in one transaction; each leaves the queue only when it is committed."""
        taken = 1
        rows = [*self._queue[0].rows]
        while taken < len(self._queue) and len(rows) + len(self._queue[taken].rows) <= BATCH_ROWS:
            rows += self._queue[taken].rows
            taken += 1
        self._write(rows, self._writer)
        for _ in range(taken):
            self._done(self._queue.popleft())

    def _done(self, batch: Batch) -> None:
        with self._wake:
            self.queued_bytes -= batch.size
        waits_for = self._aside.sort(batch.rows).keys() & self._aside.held.keys() if self._aside else ()
        for call in waits_for:
            self._unreported.setdefault(call, []).append(batch)
        if not waits_for:
            self._report_commit(batch)

    def _report_commit(self, batch: Batch) -> None:
        if batch.committed is not None:
            _tell(batch.committed)

    def _write(self, rows: list[AnyRow], writer: Writer) -> None:
        """All rows in one transaction; if the database refuses one of them, that one alone is quarantined."""
        if self._aside and writer is self._writer:
            rows = self._keep_order(rows)
        try:
            self._commit(rows, writer)
        except Exception as error:
            # Whatever it is, also a defect of ours: one row must not hold back all the others for ever.
            if _is_away(error):
                raise
            if is_locked(error):
                self._write_apart(rows, writer, error)
            else:
                self._bisect(rows, writer)

    def _commit(self, rows: list[AnyRow], writer: Writer) -> None:
        if not rows:
            return
        self._busy_since = self._clock()
        refused = writer.write(rows)
        self.written_rows += len(rows)
        self.has_no_room = False
        if writer is self._writer:
            self._report(refused)

    def _bisect(self, rows: list[AnyRow], writer: Writer) -> None:
        if len(rows) > 1:
            middle = len(rows) // 2
            self._write(rows[:middle], writer)
            self._write(rows[middle:], writer)
            return
        try:
            # Perhaps it has lost a race for a unique key, and knows better now.
            self._commit(rows, writer)
        except Exception as error:
            if _is_away(error):
                raise
            if is_locked(error):
                self._write_apart(rows, writer, error)
            else:
                self._quarantine(rows[0], error, writer)

    # --- somebody else holds a row -----------------------------------------------------------------------------------

    def _write_apart(self, rows: list[AnyRow], writer: Writer, error: Exception) -> None:
        """Each call's rows in a transaction of their own: those that meet a lock are set aside, the others go on."""
        if writer is not self._writer:
            # Another process's: it stays in its spool.
            raise error
        for call, own in self._aside.sort(rows).items():
            try:
                self._commit(own, writer)
            except Exception as again:
                if _is_away(again):
                    raise
                if is_locked(again):
                    self._set_aside(call, own)
                else:
                    self._bisect(own, writer)

    def _keep_order(self, rows: list[AnyRow]) -> list[AnyRow]:
        """What comes of a call that is locked goes behind what waits of it. Returns the others' rows."""
        free: list[AnyRow] = []
        for call, own in self._aside.sort(rows).items():
            if call in self._aside:
                self._set_aside(call, own)
            else:
                free += own
        return free

    def _set_aside(self, call: str, rows: Sequence[AnyRow]) -> None:
        self._aside.put(call, rows)
        with self._wake:
            self.queued_bytes += size_of(rows)

    def _retry_locked(self) -> None:
        for call in self._aside.due():
            try:
                self._write_held(call)
            except Exception as error:
                if not is_locked(error):
                    raise
                self._aside.put_off(call)

    def _write_held(self, call: str) -> None:
        held = self._aside.held[call]
        while held.rows:
            some = held.rows[:BATCH_ROWS]
            try:
                self._commit(some, self._writer)
            except Exception as error:
                if _is_away(error) or is_locked(error):
                    raise
                self._write_one_by_one(some)
            del held.rows[: len(some)]
            with self._wake:
                self.queued_bytes -= size_of(some)
        self._aside.release(call)
        for batch in self._unreported.pop(call, ()):
            if not any(batch in batches for batches in self._unreported.values()):
                self._report_commit(batch)

    def _write_one_by_one(self, rows: list[AnyRow]) -> None:
        """Of rows that were locked before, one is refused."""
        for row in rows:
            try:
                self._commit([row], self._writer)
            except Exception as error:
                if _is_away(error) or is_locked(error):
                    raise
                self._quarantine(row, error, self._writer)

    def _take_back(self) -> None:
        """What was set aside goes before what came later, so that it is spooled first."""
        rows = self._aside.take_all()
        batches = [Batch(rows[at : at + BATCH_ROWS]) for at in range(0, len(rows), BATCH_ROWS)]
        with self._wake:
            self._queue.extendleft(reversed(batches))
        self._unreported.clear()

    def _shed_aside(self) -> None:
        """One locked call must not fill the memory of all: its newest audio goes."""
        for held in [*self._aside.held.values()]:
            for at in range(len(held.rows) - 1, -1, -1):
                if not self._is_full:
                    return
                row = held.rows[at]
                if isinstance(row, ChunkRow):
                    del held.rows[at]
                    freed = self._shed(row)
                    if not self.dropped_bytes:
                        logger.critical("storage_full: what waits for locked rows fills the memory; gaps say what went")
                    self.dropped_bytes += freed
                    with self._wake:
                        self.queued_bytes -= freed

    def _quarantine(self, row: AnyRow, error: Exception, writer: Writer) -> None:
        """Keeps a refused row with its reason; where audio was, a gap says so."""
        kind = type(row).__name__
        logger.error("row_quarantined kind=%s reason=%s", kind, ascii(str(error)[:200]))
        self._keep_aside(kind, encode([row]), error)
        if isinstance(row, ChunkRow) and row.payload:
            self._write([GapRow(row.stream, row.track, row.start, len(row.payload), "rejected")], writer)

    def _keep_aside(self, kind: str, data: bytes, error: Exception) -> None:
        """Once, also if the rows around it are written again."""
        reason = storable(error, 1000)
        kept = QuarantinedRow.objects.using(DATABASE)
        if not kept.filter(kind=kind, data=data).exists():
            kept.create(kind=kind, reason=reason, data=data)

    def _report(self, refused: list[StreamRow]) -> None:
        for row in refused:
            logger.warning("stream_rejected reason=token_used stream=%s call=%s", row.sid, row.call_sid)
            if self.on_refused is not None:
                _tell(self.on_refused, row.sid)

    # --- the database is away ----------------------------------------------------------------------------------------

    def _went_away(self, error: Exception) -> None:
        self._beating_since = None
        self._writer.forget()
        # The next attempt opens a new connection: this one may be half dead.
        connections[DATABASE].close()
        if self.away_since is None:
            self.away_since = self._clock()
            logger.error("db_down: %s; recording goes on in memory", ascii(str(error).strip()[:200]))

    def _came_back(self) -> None:
        if self.away_since is not None:
            logger.warning("db_up after %.1f s; everything that waited is written", self.lag)
            self.away_since = None
        elif self._is_slow:
            logger.warning("db_answers again; everything that waited is written")
        self._is_slow = False
        if self._gaps:
            self.submit(self._shed_gaps())
        elif self.dropped_bytes and not self._aside:
            logger.warning("storage_full is over; gaps explain the %d bytes that were dropped", self.dropped_bytes)
            self.dropped_bytes = 0

    @property
    def _is_full(self) -> bool:
        return self.queued_bytes > int(settings.RECORDER_MAX_BUFFER_MB * 2**20)

    def _make_room(self) -> None:
        # A disk that was full is tried again, also when nothing comes any more.
        if self._queue and (self._is_full or self.has_no_room):
            self._spill()
        if self._is_full and self._aside:
            self._shed_aside()

    def _spill(self) -> None:
        """Moves the queue to the spool, oldest first; what does not fit there is dropped, newest first, and said so."""
        while self._queue:
            batch = self._queue[0]
            try:
                self._open_spool().append(encode(batch.rows))
            except SpoolError as error:
                self._drop(error)
                return
            self._queue.popleft()
            with self._wake:
                self.queued_bytes -= batch.size
        self.has_no_room = False
        logger.warning("spooling: %d batches wait in %s", self._open_spool().count, settings.SPOOL_DIR)

    def _drop(self, error: Exception) -> None:
        """Lets go of the newest audio until the rest fits in memory. Rows without audio stay."""
        self.has_no_room = True
        with self._wake:
            batches = [*self._queue]
        for batch in reversed(batches):
            if not self._is_full:
                return
            freed = sum(self._shed(row) for row in batch.rows if isinstance(row, ChunkRow))
            batch.rows = [row for row in batch.rows if not isinstance(row, ChunkRow)]
            batch.size -= freed
            with self._wake:
                self.queued_bytes -= freed
            if freed and not self.dropped_bytes:
                logger.critical("storage_full: %s; the newest audio is dropped and gaps say so", error)
            self.dropped_bytes += freed

    def _shed(self, chunk: ChunkRow) -> int:
        """Lets a chunk's audio go, and remembers the gap; neighbours become one. Returns the bytes freed."""
        start, end = chunk.start, chunk.start + len(chunk.payload)
        gaps = self._gaps.setdefault((chunk.stream, chunk.track), {})
        # Batches are dropped newest first, so that a gap grows at either end.
        for at, until in [*gaps.items()]:
            if at == end or until == start:
                del gaps[at]
                start, end = min(start, at), max(end, until)
        gaps[start] = end
        return len(chunk.payload)

    def _shed_gaps(self) -> list[AnyRow]:
        rows: list[AnyRow] = [
            GapRow(stream, track, start, end - start, "over_cap")
            for (stream, track), gaps in self._gaps.items()
            for start, end in gaps.items()
        ]
        self._gaps.clear()
        return rows

    def _spill_last(self) -> None:
        """At the end everything goes to the spool; audio that does not fit is lost, and a gap says so."""
        self._take_back()
        self._spill()
        rows: list[AnyRow] = []
        for batch in self._queue:
            self.dropped_bytes += sum(self._shed(row) for row in batch.rows if isinstance(row, ChunkRow))
            rows += [row for row in batch.rows if not isinstance(row, ChunkRow)]
        rows += self._shed_gaps()
        if not rows:
            return
        try:
            self._open_spool().append(encode(rows), urgent=True)
        except SpoolError as error:
            logger.critical("storage_full: %s; %d rows are lost", error, len(rows))
            return
        self._queue.clear()
        self.queued_bytes = 0

    def _spill_copy(self) -> bool:
        """Keeps what waits in a second file: the first one may be in use. The writer thread goes on meanwhile."""
        with self._wake:
            left = [Batch([row for held in [*self._aside.held.values()] for row in held.rows]), *self._queue]
        try:
            spool = self._new_spool("-last")
            for batch in left:
                if batch.rows:
                    spool.append(encode(batch.rows))
            spool.close()
        except SpoolError as error:
            logger.critical("storage_full: %s; what was recorded last is lost", error)
            return False
        return True

    def _open_spool(self) -> Spool:
        if self._spool is None:
            self._spool = self._new_spool()
        return self._spool

    def _new_spool(self, suffix: str = "") -> Spool:
        name = f"{fingerprint(settings.DATABASES['default'])}-{self.owner}{suffix}.spool"
        return Spool(settings.SPOOL_DIR / name, settings.SPOOL_MAX_MB * 2**20)

    def _drain(self, spool: Spool, writer: Writer) -> Iterator[list[AnyRow]]:
        """Writes a spool's batches, oldest first, and closes it. What cannot be read is kept aside."""
        total = spool.count
        try:
            for key, batch in spool:
                rows = self._unpack(batch)
                self._write(rows, writer)
                spool.remove(key, len(batch))
                yield rows
        except SpoolDamaged as error:
            logger.error("spool_unreadable %s; the rest is set aside as .damaged", error)
            spool.set_aside()
            return
        spool.close()
        if total:
            logger.warning("spool_replayed n=%d from %s", total, spool.path.name)

    def _unpack(self, batch: bytes) -> list[AnyRow]:
        try:
            return decode(batch)
        except ValueError as error:
            logger.error("batch_quarantined reason=%s", ascii(str(error)[:200]))
            self._keep_aside("batch", batch, error)
            return []

    # --- housekeeping ------------------------------------------------------------------------------------------------

    def _renew_leases(self) -> None:
        """Every 5 s: our streams are alive, also those that others took for dead while we had no database."""
        if self._clock() < self._next_heartbeat or self._stopping:
            return
        streams = Stream.objects.using(DATABASE).filter(lease_owner=self.owner)
        with transaction.atomic(using=DATABASE):
            _unlocked(streams.live()).update(lease_at=Now())
            _unlocked(streams.filter(sid__in=[*self.tapes], end_reason=Stream.EndReason.INTERRUPTED)).update(
                lease_at=Now(), ended_at=None, end_reason=""
            )
        self._next_heartbeat = self._clock() + HEARTBEAT
        if self._beating_since is None:
            self._beating_since = self._clock()

    def _housekeep(self) -> None:
        """Every 5 s: take over the spools of dead processes, close what they left, end abandoned calls."""
        self._next_housekeeping = self._clock() + HEARTBEAT
        for spool in leftovers(settings.SPOOL_DIR, fingerprint(settings.DATABASES["default"]), 2**62, self._told):
            self._unless_locked(self.take_over, spool)
        self._name_foreign()
        # After an outage every lease is old: the others get the time to renew theirs first.
        if self._beating_since is not None and self._clock() - self._beating_since >= LEASE:
            self._reap(timezone.now())

    def _unless_locked(self, action: Callable[..., None], *arguments: Any) -> None:
        """What a lock is in the way of has time until the next turn."""
        try:
            action(*arguments)
        except Exception as error:
            if not is_locked(error):
                raise
            logger.info("housekeeping_waits: somebody holds a row that %s needs", action.__name__.strip("_"))

    def _name_foreign(self) -> None:
        """A database that is moved or renamed leaves spools behind that nobody else will ever look at."""
        for path in foreign(settings.SPOOL_DIR, fingerprint(settings.DATABASES["default"])):
            if path not in self._told:
                self._told.add(path)
                logger.error(
                    "spool_of_another_database %s: it is not written here; if the database was moved or renamed, "
                    "do that with manage.py replay_spool",
                    path,
                )

    def take_over(self, spool: Spool, on_batch: Callable[[], object] = lambda: None) -> None:
        """Writes what a dead process left, with its own refusals; our own streams do not wait for it."""
        writer, streams = Writer(), set()
        try:
            for rows in self._drain(spool, writer):
                streams |= {row.stream for row in rows if isinstance(row, ChunkRow | GapRow)}
                on_batch()
                self._catch_up()
        except BaseException:
            spool.close()
            raise
        # Whoever closed these as orphans did not know of these rows.
        closed = Stream.objects.using(DATABASE).filter(sid__in=streams, end_reason=Stream.EndReason.INTERRUPTED)
        for stream in closed.exclude(Exists(Erasure.objects.of_audio(OuterRef("call__sid")))):
            with transaction.atomic(using=DATABASE):
                stream.explain_crash(UNWRITTEN)
                summarise(stream.call_id, using=DATABASE)

    def _reap(self, now: dt.datetime) -> None:
        stale = Stream.objects.using(DATABASE).orphaned(dt.timedelta(seconds=LEASE))
        for pk in list(stale.exclude(lease_owner=self.owner).values_list("pk", flat=True)):
            self._unless_locked(self._close_orphan, stale.filter(pk=pk))
        abandoned = Call.objects.using(DATABASE).abandoned(now, dt.timedelta(seconds=ABANDONED))
        if self.asks_twilio:
            abandoned = abandoned.asked_in_vain(now, dt.timedelta(seconds=ASKING), dt.timedelta(seconds=TRUST))
        reason = f"no stream, no <Dial> and no status callback for {ABANDONED} s"
        self._presume_all_over(abandoned, now, Call.Status.COMPLETED, reason)
        unheard = Call.objects.using(DATABASE).unheard(now, dt.timedelta(hours=UNHEARD))
        reason = f"Twilio has not said how it went for {UNHEARD} h"
        self._presume_all_over(unheard, now, Call.Status.FAILED, reason)

    def _close_orphan(self, stale: QuerySet[Stream]) -> None:
        with transaction.atomic(using=DATABASE):
            # Its process may have come back, or another one may have been faster.
            stream = stale.select_for_update().first()
            if stream is None:
                return
            stream.close_orphan(UNWRITTEN)
            summarise(stream.call_id, using=DATABASE)
        logger.warning("orphan_stream closed stream=%s owner=%s", stream.sid, stream.lease_owner)

    def _presume_all_over(self, calls: QuerySet[Call], now: dt.datetime, status: Call.Status, reason: str) -> None:
        for pk in list(calls.values_list("pk", flat=True)):
            self._unless_locked(self._presume_over, calls, pk, now, status, reason)

    def _presume_over(self, calls: QuerySet[Call], pk: int, now: dt.datetime, status: Call.Status, reason: str) -> None:
        """A number without a StatusCallback never says that a call is over."""
        with transaction.atomic(using=DATABASE):
            # A stream may have begun by now. Whoever begins one locks the call: a query behind that lock sees it.
            Call.objects.using(DATABASE).select_for_update().filter(pk=pk).first()
            call = calls.filter(pk=pk).first()
            if call is None:
                return
            call.save(using=DATABASE, update_fields=call.advance(status, at=now))
            CallEvent.objects.using(DATABASE).bulk_create(
                [
                    CallEvent(
                        call=call,
                        source=CallEvent.Source.SYSTEM,
                        kind="presumed-over",
                        key="presumed-over",
                        occurred_at=now,
                        data={"reason": reason},
                    )
                ],
                ignore_conflicts=True,
            )
            summarise(call.pk, using=DATABASE)


# The one of this process.
recorder = Recorder()
