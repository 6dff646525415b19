"""What a process does for the others: leases, dead workers' streams and spools, and calls that nobody ends.

A process renews the leases of its streams. Where a lease is old its process is dead: any other one closes the stream,
and writes what is left in the dead one's spool. A call that nobody will ever say the end of is presumed to be over.
"""

import datetime as dt
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from calls import vault
from calls.media.rows import AnyRow, ChunkRow, GapRow, StreamChange, StreamRow
from calls.models import Call, CallEvent, Erasure, Stream
from calls.models.workers import SILENCE
from calls.recorder.attendance import Attendance
from calls.recorder.backlog import replay
from calls.recorder.committer import Committer, unpack
from calls.recorder.errors import is_locked
from calls.recorder.patience import Patience
from calls.recorder.spool import Spool, fingerprint, foreign, leftovers
from calls.recorder.writer import DATABASE
from calls.summaries.summary import summarise


logger = logging.getLogger(__name__)

# A process renews the leases of its streams this often, in seconds.
HEARTBEAT = 5
# ... and this long after the last time where there is something to be told or read soon.
HASTE = 1
# A stream whose lease is this old has no process any more; with one heartbeat that makes less than 20 s.
LEASE = SILENCE // dt.timedelta(seconds=1)
# What a process that was killed had not written yet is at most this long, in samples.
UNWRITTEN = 4000
# A call without a stream and without a <Dial> is over after this many seconds: its number sends no status callback.
ABANDONED = 60
# Where Twilio is asked first: seconds that it has to answer, and for which its word that a call goes on is good.
ASKING = 30
TRUST = 600
# A call that we placed and that nobody answered is over after this many hours: Twilio's queue holds it for a day.
UNHEARD = 25


class Housekeeping:
    """What is due when, and which streams are this process's. The writer thread's own, but for `note`."""

    def __init__(self, owner: str, patience: Patience, clock: Callable[[], float], attendance: Attendance) -> None:
        self._owner = owner
        self._attendance = attendance
        self._patience = patience
        self._clock = clock
        #: The SIDs of this process's streams that run, as their rows say.
        self._running: set[str] = set()
        self._lock = threading.Lock()
        self._next_beat = 0.0
        self._next_turn = 0.0
        #: Since when the leases have been renewed without an outage.
        self._beating_since: float | None = None
        #: Files of SPOOL_DIR of which the log has spoken.
        self._told: set[Path] = set()

    def note(self, rows: Iterable[AnyRow]) -> None:
        """Learns from this process's rows which of its streams run; before the writer can have seen them."""
        with self._lock:
            for row in rows:
                # Nearly all are, and say nothing of it.
                if type(row) is ChunkRow:
                    continue
                if isinstance(row, StreamRow) and row.owner == self._owner:
                    self._running.add(row.sid)
                elif isinstance(row, StreamChange) and "ended_at" in row.fields:
                    self._running.discard(row.stream)

    def forget(self, sid: str) -> None:
        """A stream that was refused is none of ours, and need not say that it has ended."""
        with self._lock:
            self._running.discard(sid)

    def note_outage(self) -> None:
        """After one every lease is old: the others get the time to renew theirs before they are taken for dead."""
        self._beating_since = None

    def hasten(self) -> None:
        """The next heartbeat is due at once, but for one that was less than a second ago."""
        self._next_beat = min(self._next_beat, max(self._clock(), self._next_beat - HEARTBEAT + HASTE))

    @property
    def seconds_to_beat(self) -> float:
        return self._next_beat - self._clock()

    def renew_leases(self) -> None:
        """Every 5 s: our streams are alive, even those that others took for dead while we had no database."""
        if self.seconds_to_beat > 0:
            return
        with self._lock:
            live = [*self._running]
        streams = Stream.objects.using(DATABASE).filter(lease_owner=self._owner)
        with transaction.atomic(using=DATABASE):
            _unlocked(streams.live()).update(lease_at=Now())
            _unlocked(streams.filter(sid__in=live, end_reason=Stream.EndReason.INTERRUPTED)).update(
                lease_at=Now(), ended_at=None, end_reason=""
            )
        self._next_beat = self._clock() + HEARTBEAT
        if self._beating_since is None:
            self._beating_since = self._clock()
        self._attendance.sign()

    def turn(self, *, asks_twilio: bool) -> Generator[None, None, None]:
        """Every 5 s: writes dead processes' spools, closes what they left, ends abandoned calls.

        A spool may be long: after each batch of it, and at the end, it is our own rows' turn.
        """
        if self._clock() < self._next_turn:
            return
        self._next_turn = self._clock() + HEARTBEAT
        for spool in leftovers(settings.SPOOL_DIR, fingerprint(settings.DATABASES["default"]), 2**62, self._told):
            with _unless_locked("take_over"), self._unless_key_missing(spool.path):
                yield from take_over(spool, self._patience)
        self._name_foreign()
        if self._beating_since is not None and self._clock() - self._beating_since >= LEASE:
            close_orphans(self._owner)
            end_abandoned(timezone.now(), asks_twilio=asks_twilio)
        yield

    @contextmanager
    def _unless_key_missing(self, path: Path) -> Iterator[None]:
        """What is sealed with a key that we do not have waits in its file until we do."""
        try:
            yield
        except vault.KeyMissing as error:
            if path not in self._told:
                self._told.add(path)
                logger.error("spool_key_missing key=%s %s: it is kept, and tried again", error.name, path)

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


def _unlocked(streams: QuerySet[Stream]) -> QuerySet[Stream]:
    """Those that nobody else holds: one lock must not cost all the others their lease. SQLite knows no row locks."""
    free = streams.select_for_update(skip_locked=True, no_key=True).values("pk")
    return Stream.objects.using(DATABASE).filter(pk__in=free)


@contextmanager
def _unless_locked(action: str) -> Iterator[None]:
    """What a lock prevents can wait until the next turn."""
    try:
        yield
    except Exception as error:
        if not is_locked(error):
            raise
        logger.info("housekeeping_waits: somebody holds a row that %s needs", action)


# --- what a dead process left ----------------------------------------------------------------------------------------


def take_over(spool: Spool, patience: Patience) -> Iterator[None]:
    """Writes what a dead process left, with its own refusals, a batch at a time. Lets go of the file, whatever happens.

    A lock of somebody's comes through, and so does KeyMissing: the rest stays in the spool.
    """
    committer, streams = Committer(patience, waits_for_keys=True), set()
    try:
        for batch in replay(spool):
            rows = unpack(batch)
            committer.write(rows)
            streams |= {row.stream for row in rows if isinstance(row, ChunkRow | GapRow)}
            yield
    except BaseException:
        spool.close()
        raise
    # Whoever closed these as orphans did not have these rows.
    closed = Stream.objects.using(DATABASE).filter(sid__in=streams, end_reason=Stream.EndReason.INTERRUPTED)
    for stream in closed.exclude(Exists(Erasure.objects.of_audio(OuterRef("call__sid")))):
        with transaction.atomic(using=DATABASE):
            stream.explain_crash(UNWRITTEN)
            # What was measured was measured without these, even if they have not made the recording any longer.
            Call.objects.using(DATABASE).filter(pk=stream.call_id).update(measured_at=None)
            summarise(stream.call_id, using=DATABASE)


def close_orphans(owner: str) -> None:
    """Closes the streams of dead processes, whose leases are old; never those of `owner`."""
    stale = Stream.objects.using(DATABASE).orphaned(dt.timedelta(seconds=LEASE))
    for pk in list(stale.exclude(lease_owner=owner).values_list("pk", flat=True)):
        with _unless_locked("close_orphan"):
            _close_orphan(stale.filter(pk=pk))


def _close_orphan(stale: QuerySet[Stream]) -> None:
    with transaction.atomic(using=DATABASE):
        # Its process may have come back, or another one may have been faster.
        stream = stale.select_for_update().first()
        if stream is None:
            return
        stream.close_orphan(UNWRITTEN)
        summarise(stream.call_id, using=DATABASE)
    logger.warning(
        "orphan_stream call=%s stream=%s worker=%s: that process is dead, and has cut it off; it is closed here",
        *(stream.call.sid, stream.sid, stream.lease_owner),
    )


# --- calls that nobody ends ------------------------------------------------------------------------------------------


def end_abandoned(now: dt.datetime, *, asks_twilio: bool) -> None:
    """Ends the calls of which nobody will say that they are over; where Twilio is asked, only after its answer."""
    abandoned = Call.objects.using(DATABASE).abandoned(now, dt.timedelta(seconds=ABANDONED))
    if asks_twilio:
        abandoned = abandoned.asked_in_vain(now, dt.timedelta(seconds=ASKING), dt.timedelta(seconds=TRUST))
    reason = f"no stream, no <Dial> and no status callback for {ABANDONED} s"
    _presume_all_over(abandoned, now, Call.Status.COMPLETED, reason)
    unheard = Call.objects.using(DATABASE).unheard(now, dt.timedelta(hours=UNHEARD))
    _presume_all_over(unheard, now, Call.Status.FAILED, f"Twilio has not said how it went for {UNHEARD} h")


def _presume_all_over(calls: QuerySet[Call], now: dt.datetime, status: Call.Status, reason: str) -> None:
    for pk in list(calls.values_list("pk", flat=True)):
        with _unless_locked("presume_over"):
            _presume_over(calls, pk, now, status, reason)


def _presume_over(calls: QuerySet[Call], pk: int, now: dt.datetime, status: Call.Status, reason: str) -> None:
    """A number without a StatusCallback never says that a call is over."""
    with transaction.atomic(using=DATABASE):
        # A stream may have begun by now. Whoever begins one locks the call: a query after that lock sees it.
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
