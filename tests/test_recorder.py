"""The recorder gets everything into the database, whatever happens to that: step by step, without its thread.

`database.away()` and `.back()` do what really happens: SQLite is locked by somebody else, and the way to PostgreSQL is
cut.
"""

import datetime as dt
import re
import sqlite3
import threading
import time
from contextlib import contextmanager

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError, connection, connections, transaction
from django.db.models.signals import post_save
from django.utils import timezone

from calls.media.rows import CallRow, ChunkRow, StreamChange, encode
from calls.media.tape import Tape
from calls.models import AudioChunk, Call, CallEvent, Gap, Mark, QuarantinedRow, Stream
from calls.recorder import queue
from calls.recorder.batches import BATCH_ROWS, Batches
from calls.recorder.housekeeping import UNWRITTEN
from calls.recorder.patience import PATIENCE
from calls.recorder.queue import Recorder
from calls.recorder.spool import Spool, fingerprint, is_held
from calls.recorder.writer import AT_ONCE, Writer
from calls.recordings.retention import erase
from tests.support.batches import SECOND, START, chunk, ended, event, gap, mark, stream_row
from tests.support.disks import small_disk
from tests.support.factories import make_call, make_chunk, make_live_call, make_stream
from tests.support.proxy import Proxy
from tests.support.servers import until


pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
LEASE = 14


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def recorders(settings, tmp_path, clock):
    """Makes recorders as if each were in a process of its own."""
    settings.SPOOL_DIR = tmp_path / "spool"
    made = []

    def make(**options):
        made.append(Recorder(**{"threaded": False, "clock": clock, **options}))
        return made[-1]

    yield make
    for recorder in made:
        recorder.close()
    connections["recorder"].close()


@pytest.fixture
def recorder(recorders):
    return recorders()


@pytest.fixture
def patient(recorders, monkeypatch):
    """A recorder with its thread, which has begun a stream, and waits an hour with what can wait."""
    monkeypatch.setattr(queue, "GATHER", 3600)
    recorder = recorders(threaded=True, clock=time.monotonic)
    # Its first step looks twice for what has come, because of housekeeping.
    for rows in ([stream_row()], []):
        written = threading.Event()
        recorder.submit(rows, written.set)
        assert written.wait(20)
    return recorder


class LockedSqlite:
    """Somebody else holds SQLite's write lock, and nobody has the patience to wait for it."""

    def __init__(self, monkeypatch):
        wrapper = connections["recorder"]
        monkeypatch.setitem(wrapper.settings_dict, "OPTIONS", {**wrapper.settings_dict["OPTIONS"], "timeout": 0})
        wrapper.close()
        self._other = sqlite3.connect(wrapper.settings_dict["NAME"], isolation_level=None)

    def away(self):
        self._other.execute("BEGIN EXCLUSIVE")

    def back(self):
        self._other.execute("ROLLBACK")

    def close(self):
        self._other.close()


class CutPostgres:
    """A proxy in between resets every connection and refuses new ones."""

    def __init__(self, monkeypatch):
        wrapper = connections["recorder"]
        wrapper.close()
        self._proxy = Proxy(wrapper.settings_dict["HOST"], int(wrapper.settings_dict["PORT"] or 5432))
        self._proxy.__enter__()
        monkeypatch.setitem(wrapper.settings_dict, "HOST", "127.0.0.1")
        monkeypatch.setitem(wrapper.settings_dict, "PORT", self._proxy.port)

    def away(self):
        self._proxy.mode = "cut"

    def back(self):
        self._proxy.mode = "pass"

    def close(self):
        connections["recorder"].close()
        self._proxy.__exit__()


@pytest.fixture
def database(monkeypatch, recorders):
    fault = LockedSqlite(monkeypatch) if connection.vendor == "sqlite" else CutPostgres(monkeypatch)
    yield fault
    fault.close()


def payloads():
    return [bytes(chunk.payload) for chunk in AudioChunk.objects.order_by("stream", "start")]


def lane(stream="MZ1"):
    """What lies on a stream's inbound lane, in order: ("audio" or a gap's reason, start, length)."""
    chunks = AudioChunk.objects.filter(stream__sid=stream).values_list("start", "length")
    gaps = Gap.objects.filter(stream__sid=stream).values_list("reason", "start", "length")
    return sorted([*(("audio", *span) for span in chunks), *gaps], key=lambda piece: piece[1])


# --- writing ----------------------------------------------------------------------------------------------------------


def test_what_is_submitted_is_written_and_then_reported(recorder):
    seen = []
    recorder.submit([stream_row(), chunk()], lambda: seen.append(AudioChunk.objects.count()))
    assert recorder.step()
    assert seen == [1]
    assert recorder.queued_bytes == 0


def test_an_empty_batch_is_reported_after_the_ones_before_it(recorder):
    seen = []
    recorder.submit([stream_row(), chunk()], lambda: seen.append("rows"))
    recorder.submit([], lambda: seen.append("nothing"))
    recorder.step()
    assert seen == ["rows", "nothing"]


def test_a_callback_that_fails_holds_nothing_up(recorder, caplog):
    recorder.submit([stream_row()], lambda: 1 / 0)
    recorder.submit([chunk()])
    assert recorder.step()
    assert AudioChunk.objects.count() == 1
    assert "listener_failed" in caplog.text


def test_several_batches_are_one_transaction(recorder, django_assert_num_queries):
    recorder.step()
    recorder.submit([stream_row()])
    recorder.step()
    for index in range(10):
        recorder.submit([chunk(index)])
    with django_assert_num_queries(3, connection=connections["recorder"]):  # BEGIN, INSERT, COMMIT
        recorder.step()


def test_rows_of_several_statements_that_are_written_again_are_there_once(recorder):
    rows = [stream_row(), *(chunk(index) for index in range(2 * AT_ONCE + 1))]
    recorder.submit(rows[:-AT_ONCE])
    recorder.step()
    recorder.submit(rows)
    recorder.step()
    assert AudioChunk.objects.count() == 2 * AT_ONCE + 1
    assert not QuarantinedRow.objects.exists()


def test_of_many_rows_in_one_statement_only_the_one_that_is_refused_is_missing(recorder):
    rows = [chunk(index) for index in range(AT_ONCE)]
    rows[7].index = -1
    recorder.submit([stream_row(), *rows])
    recorder.step()
    assert sorted(AudioChunk.objects.values_list("index", flat=True)) == [*range(7), *range(8, AT_ONCE)]
    assert QuarantinedRow.objects.get().kind == "ChunkRow"


def test_rows_of_more_than_one_transaction_are_reported_when_all_are_there(recorder, monkeypatch):
    seen, written = [], []
    write = Writer.write

    def counted(self, rows):
        written.append(len(rows))
        return write(self, rows)

    monkeypatch.setattr(Writer, "write", counted)
    rows = [stream_row(), *(chunk(index) for index in range(2 * BATCH_ROWS + 10))]
    recorder.submit(rows, lambda: seen.append(AudioChunk.objects.count()))
    recorder.step()
    assert written == [BATCH_ROWS, BATCH_ROWS, 11]
    assert seen == [2 * BATCH_ROWS + 10]


def test_what_can_wait_goes_into_one_transaction_with_what_cannot(patient, monkeypatch):
    written, done = [], threading.Event()
    write = Writer.write
    monkeypatch.setattr(Writer, "write", lambda self, rows: written.append(len(rows)) or write(self, rows))
    for index in range(20):
        patient.submit([chunk(index)], can_wait=True)
        assert not AudioChunk.objects.exists()
    patient.submit([], done.set)
    assert done.wait(20)
    assert written == [20]


def test_what_can_wait_does_not_do_so_for_ever(patient, monkeypatch):
    monkeypatch.setattr(queue, "GATHER", 0.01)
    patient.submit([chunk(0)], can_wait=True)
    until(AudioChunk.objects.exists, "the row is written, though nothing else comes")


def test_as_many_rows_as_a_transaction_takes_wait_for_no_more(patient):
    patient.submit([chunk(index) for index in range(BATCH_ROWS)], can_wait=True)
    until(lambda: AudioChunk.objects.count() == BATCH_ROWS, "they are written")


def test_what_can_wait_is_written_at_the_end_at_once(patient, settings):
    patient.submit([chunk(0)], can_wait=True)
    assert patient.close()
    assert AudioChunk.objects.count() == 1
    assert not list(settings.SPOOL_DIR.glob("*.spool"))


def test_what_comes_while_others_are_written_is_not_written_with_them(recorder, clock):
    def go_on():
        clock.now += 0.01
        recorder.submit([chunk(1)], can_wait=True)

    recorder.step()  # Housekeeping too, which looks again for what has come.
    recorder.submit([stream_row(), chunk(0)], go_on)
    recorder.step()
    assert AudioChunk.objects.count() == 1
    recorder.step()
    assert AudioChunk.objects.count() == 2


def test_what_is_new_on_every_tape_is_written_at_once(recorder):
    tapes = [Tape(sid, sid.replace("MZ", "CA"), ("inbound",), bidirectional=True) for sid in ("MZ1", "MZ2")]
    for tape in tapes:
        recorder.submit([stream_row(tape.sid)])
        tape.media("inbound", 0, b"a" * 160, 0)
    recorder.submit(row for tape in tapes for row in tape.cut(160))
    recorder.step()
    assert sorted(AudioChunk.objects.values_list("stream__sid", "length")) == [("MZ1", 160), ("MZ2", 160)]


def test_a_finished_tape_leaves_a_lane_without_holes(recorder):
    tape = Tape("MZ1", "CA1", ("inbound",), bidirectional=True)
    recorder.submit([stream_row()])
    tape.media("inbound", 0, b"a" * 160, 0)
    tape.media("inbound", 60, b"b" * 160, 480)
    tape.close()
    tape.change(**tape.counters, ended_at=START, end_reason="stop")
    recorder.submit(tape.cut_all())
    recorder.step()
    assert lane() == [("audio", 0, 160), ("timestamp", 160, 320), ("audio", 480, 160)]
    assert Stream.objects.get().find_unexplained("inbound") == []


def test_the_thread_survives_a_defect_and_writes_when_it_is_gone(recorders, monkeypatch):
    recorder, committed, failed = recorders(threaded=True), threading.Event(), threading.Event()
    write = Writer.write

    def broken(self, rows):
        if not failed.is_set():
            failed.set()
            raise KeyError("a defect")
        return write(self, rows)

    monkeypatch.setattr(Writer, "write", broken)
    recorder.submit([stream_row(), chunk()], committed.set)
    assert committed.wait(20)
    assert AudioChunk.objects.count() == 1


def test_the_thread_writes_and_says_so(recorders):
    recorder, committed = recorders(threaded=True), threading.Event()
    recorder.submit([stream_row(), chunk()], committed.set)
    assert committed.wait(20)
    assert recorder.close()
    assert AudioChunk.objects.count() == 1


def test_what_comes_after_the_end_is_written_too(recorders):
    recorder, committed = recorders(threaded=True), threading.Event()
    recorder.start()
    recorder.close()
    recorder.submit([stream_row()], committed.set)
    assert committed.wait(20)


def test_closing_writes_what_waits(recorders):
    recorder = recorders(threaded=True)
    recorder.submit([stream_row(), *(chunk(index) for index in range(20))])
    assert recorder.close()
    assert AudioChunk.objects.count() == 20


# --- poison -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "poison",
    [
        chunk(7, track="sideways"),
        gap(160, 160, "other"),
        gap(160, 0),
        gap(160, 2**63),
        gap(160, 2**70),
        chunk(7, start=2**63),
        event(occurred_at="yesterday"),
        StreamChange("MZ1", {"length": "long"}),
        StreamChange("MZ1", {"no_such_field": 1}),
        StreamChange("MZ1", {"end_reason": "\ud800"}),
    ],
    ids=lambda row: type(row).__name__,
)
def test_a_row_that_is_refused_is_set_aside_and_holds_nothing_back(recorder, poison):
    recorder.submit([stream_row(), chunk(0), chunk(1), poison, chunk(2), mark()])
    recorder.submit([chunk(3), ended(length=640)])
    assert recorder.step()
    assert QuarantinedRow.objects.filter(kind=type(poison).__name__).count() == 1
    assert AudioChunk.objects.count() == 4
    assert Mark.objects.count() == 1
    assert Stream.objects.get().end_reason == "stop"


def test_a_refused_row_is_kept_with_its_reason(recorder, caplog):
    recorder.submit([stream_row(), gap(160, 160, "other")])
    recorder.step()
    row = QuarantinedRow.objects.get()
    assert "gap_reason" in row.reason
    assert b"other" in bytes(row.data)
    assert "row_quarantined kind=GapRow" in caplog.text


def test_where_refused_audio_was_a_gap_says_so(recorder):
    recorder.submit([stream_row(), chunk(0), chunk(2**70, start=160), chunk(2)])
    recorder.step()
    assert lane() == [("audio", 0, 160), ("rejected", 160, 160), ("audio", 320, 160)]


def test_a_number_out_of_range_does_not_cost_the_call(recorder):
    recorder.submit([CallRow("CA1", {"duration": 2**40, "from_number": "+15550100001"})])
    recorder.step()
    assert Call.objects.get().from_number == "+15550100001"
    assert not QuarantinedRow.objects.exists()


@pytest.mark.postgres
def test_a_number_that_only_postgresql_refuses_is_set_aside(recorder):
    recorder.submit([stream_row(), chunk(0), mark(2**31), chunk(1)])
    recorder.step()
    assert QuarantinedRow.objects.get().kind == "MarkRow"
    assert AudioChunk.objects.count() == 2


def test_a_table_that_is_not_there_is_waited_for(recorder, database):
    with connection.schema_editor() as editor:
        editor.alter_db_table(Mark, "calls_mark", "calls_mark_gone")
    recorder.submit([stream_row(), chunk(), mark()])
    refused = not recorder.step()
    with connection.schema_editor() as editor:
        editor.alter_db_table(Mark, "calls_mark_gone", "calls_mark")
    assert refused
    assert recorder.step()
    assert (Mark.objects.count(), QuarantinedRow.objects.count()) == (1, 0)


@pytest.mark.postgres
def test_a_frozen_postgresql_is_hung_up_on_and_nothing_is_lost(recorder, clock, monkeypatch):
    facts = connections["recorder"].settings_dict
    steps = []

    def write():
        steps.append(recorder.step())
        proxy.mode = "freeze"
        recorder.submit([chunk()])
        steps.append(recorder.step())
        connections["recorder"].close()

    with Proxy(facts["HOST"], int(facts["PORT"] or 5432)) as proxy:
        monkeypatch.setitem(facts, "PORT", proxy.port)
        recorder.submit([stream_row()])
        writer = threading.Thread(target=write)
        writer.start()
        until(lambda: steps, "the stream to be written")
        while writer.is_alive():
            clock.now += 2 * PATIENCE
            recorder.submit([chunk()])
            writer.join(0.1)
        proxy.mode = "pass"
        assert steps == [True, False]
        assert recorder.step()
        connections["recorder"].close()
    assert AudioChunk.objects.count() == 1


# --- streams that are not ours ----------------------------------------------------------------------------------------


def test_a_stream_with_a_used_token_is_reported_once_and_nothing_of_it_stored(recorder):
    refused = []
    recorder.on_refused = refused.append
    Writer().write([stream_row(nonce="once", owner="another process")])
    recorder.submit([stream_row("MZ2", nonce="once"), chunk(stream="MZ2")])
    recorder.step()
    recorder.submit([chunk(1, stream="MZ2"), ended(stream="MZ2")])
    recorder.step()
    assert refused == ["MZ2"]
    assert not AudioChunk.objects.exists()


def test_a_listener_that_fails_does_not_cost_the_rows_around_it(recorder):
    recorder.on_refused = lambda sid: 1 / 0
    recorder.submit([stream_row(nonce="once"), stream_row("MZ2", nonce="once"), chunk()])
    assert recorder.step()
    assert AudioChunk.objects.count() == 1
    assert not QuarantinedRow.objects.exists()


def test_a_refused_stream_is_reported_even_when_its_batch_is_split(recorder):
    refused = []
    recorder.on_refused = refused.append
    Writer().write([stream_row(nonce="once")])
    recorder.submit([stream_row("MZ2", nonce="once"), gap(0, 1, "other"), chunk(stream="MZ2")])
    recorder.step()
    assert refused == ["MZ2"]


def test_a_refused_stream_is_reported_when_the_database_is_back(recorder, database):
    refused = []
    recorder.on_refused = refused.append
    Writer().write([stream_row(nonce="once")])
    database.away()
    recorder.submit([stream_row("MZ2", nonce="once")])
    recorder.step()
    database.back()
    recorder.step()
    assert refused == ["MZ2"]


# --- the database is away ---------------------------------------------------------------------------------------------


def test_what_comes_while_the_database_is_away_waits_in_memory(recorder, database, clock, caplog):
    recorder.submit([stream_row()])
    recorder.step()
    database.away()
    recorder.submit([chunk(0)])
    assert not recorder.step()
    clock.now += 30
    assert recorder.lag == 30
    assert caplog.text.count("db_down") == 1
    database.back()
    recorder.submit([chunk(1)])
    assert recorder.step()
    assert AudioChunk.objects.count() == 2
    assert recorder.lag == 0


def test_a_batch_is_not_reported_before_it_is_there(recorder, database):
    seen = []
    database.away()
    recorder.submit([stream_row()], lambda: seen.append("committed"))
    recorder.step()
    assert seen == []
    database.back()
    recorder.step()
    assert seen == ["committed"]


def test_what_does_not_fit_in_memory_goes_to_the_spool_and_comes_back_in_order(recorder, database, settings):
    settings.RECORDER_MAX_BUFFER_MB = 0.01
    database.away()
    recorder.submit([stream_row(), chunk(0, SECOND, start=0)])
    recorder.submit([mark(), chunk(1, SECOND)])
    recorder.step()
    assert recorder.queued_bytes == 0
    recorder.submit([mark(0, "played", returned_at=START), chunk(2, SECOND)])
    database.back()
    assert recorder.step()
    assert payloads() == [SECOND] * 3
    assert Mark.objects.get().outcome == "played"
    assert list(settings.SPOOL_DIR.iterdir()) == []


def test_texts_that_msgpack_refuses_are_spooled_all_the_same(recorder, database, settings):
    settings.RECORDER_MAX_BUFFER_MB = 0
    database.away()
    recorder.submit([stream_row(name="\ud800"), chunk()])
    recorder.step()
    assert recorder.queued_bytes == 0
    database.back()
    recorder.step()
    assert Stream.objects.get().name == "\ufffd"


def test_a_spool_is_replayed_by_the_next_process(recorders, database, settings):
    settings.RECORDER_MAX_BUFFER_MB = 0
    dead = recorders()
    database.away()
    dead.submit([stream_row(owner=dead.owner), chunk(0), chunk(1)])
    dead.step()
    dead.close()
    database.back()
    assert recorders().step()
    assert AudioChunk.objects.count() == 2
    assert list(settings.SPOOL_DIR.iterdir()) == []


def test_closing_while_the_database_is_away_keeps_what_waits_in_the_spool(recorders, database):
    dead = recorders()
    database.away()
    dead.submit([stream_row(), chunk(0)])
    dead.step()
    assert dead.close()
    database.back()
    recorders().step()
    assert AudioChunk.objects.count() == 1


def test_closing_while_the_writer_hangs_keeps_a_copy_of_what_waits(recorders, settings):
    recorder, entered, go_on = recorders(threaded=True), threading.Event(), threading.Event()

    def hang():
        entered.set()
        go_on.wait(20)

    recorder.submit([stream_row()], hang)
    assert entered.wait(20)
    recorder.submit([chunk(0)])
    assert recorder.close(timeout=0)
    spooled = [file.name for file in settings.SPOOL_DIR.glob("*-last.spool")]
    recorders().step()
    assert (len(spooled), AudioChunk.objects.count()) == (1, 1)
    go_on.set()
    assert recorder.close()
    assert AudioChunk.objects.count() == 1


def test_a_database_that_says_nothing_is_named_once_and_before_it_is_given_up(recorders, clock, caplog):
    recorder, entered, go_on = recorders(threaded=True), threading.Event(), threading.Event()
    answered = threading.Event()

    def hang():
        entered.set()
        go_on.wait(20)

    recorder.submit([stream_row()], hang)
    assert entered.wait(20)
    clock.now += 4
    for index in range(3):
        recorder.submit([chunk(index)])
    recorder.submit([], answered.set)
    assert caplog.text.count("db_slow: no answer for 4 s") == 1
    go_on.set()
    assert answered.wait(20)
    recorder.close()
    assert caplog.text.count("db_answers_again") == 1


def test_a_spool_that_somebody_holds_is_left_alone(recorders, database, settings):
    settings.RECORDER_MAX_BUFFER_MB = 0
    alive = recorders()
    database.away()
    alive.submit([stream_row(), chunk(0)])
    alive.step()
    database.back()
    recorders().step()
    assert not AudioChunk.objects.exists()
    alive.step()
    assert AudioChunk.objects.count() == 1


def test_a_dead_process_s_refusals_are_not_ours(recorders, recorder, database, settings):
    """Its row of the same stream lost against ours: that must not end our own recording."""
    recorder.submit([stream_row(owner=recorder.owner)])
    recorder.step()
    settings.RECORDER_MAX_BUFFER_MB = 0
    dead, refused = recorders(), []
    recorder.on_refused = refused.append
    database.away()
    dead.submit([stream_row(owner=dead.owner), chunk(0)])
    dead.step()
    dead.close()
    database.back()
    recorder._housekeeping._next_turn = 0
    recorder.submit([chunk(0)])
    recorder.step()
    recorder.submit([chunk(1)])
    recorder.step()
    assert refused == []
    assert AudioChunk.objects.count() == 2


def leave_spool(settings, *batches):
    """What a dead process left of this database."""
    spool = Spool(settings.SPOOL_DIR / f"{fingerprint(settings.DATABASES['default'])}-dead.spool", 2**20)
    for rows in batches:
        spool.append(encode(rows))
    spool.close()
    return spool.path


def test_our_own_rows_do_not_wait_for_a_dead_process_s(recorder, settings, monkeypatch):
    """Between two batches of its spool, ours have their turn."""
    leave_spool(settings, [stream_row(), chunk(0)], [chunk(1)], [chunk(2)])
    write, written = Writer.write, []

    def call_comes(self, rows):
        written.append(sorted({row.stream for row in rows if isinstance(row, ChunkRow)}))
        if len(written) == 1:
            recorder.submit([stream_row("MZ2"), chunk(0, stream="MZ2")])
        return write(self, rows)

    monkeypatch.setattr(Writer, "write", call_comes)
    recorder.step()
    assert written == [["MZ1"], ["MZ2"], ["MZ1"], ["MZ1"]]


def test_a_call_that_was_measured_without_what_a_spool_brings_is_measured_anew(recorder, settings):
    """Even if that has only filled a gap, and made the recording no longer."""
    call = make_call(measured_at=START, audio_samples=480_000)
    stream = make_stream(call, sid="MZ1", ended_at=call.ended_at, end_reason="interrupted", length=480_000)
    make_chunk(stream, b"abc", start=480_000 - UNWRITTEN - 3, index=9)
    leave_spool(settings, [chunk(0)])
    recorder.step()
    call.refresh_from_db()
    assert (call.audio_samples, call.measured_at) == (480_000, None)


@pytest.mark.parametrize("lost", [("MZ1", 1), ("MZ2", 0)], ids=["at its rows", "at ours in between"])
def test_a_database_that_goes_away_while_a_dead_process_s_spool_is_written_costs_nothing(
    recorder, clock, settings, monkeypatch, lost
):
    path = leave_spool(settings, [stream_row(), chunk(0)], [chunk(1)])
    write, written = Writer.write, []

    def breaks_off(self, rows):
        pieces = [(row.stream, row.index) for row in rows if isinstance(row, ChunkRow)]
        if not written:
            recorder.submit([stream_row("MZ2"), chunk(0, stream="MZ2")])
        written.extend(pieces)
        if lost in pieces and written.count(lost) == 1:
            raise OperationalError("the connection is gone")
        return write(self, rows)

    monkeypatch.setattr(Writer, "write", breaks_off)
    assert not recorder.step()
    assert path.exists()
    assert not is_held(path)
    clock.now += 6
    assert recorder.step()
    assert sorted(AudioChunk.objects.values_list("stream__sid", "index")) == [("MZ1", 0), ("MZ1", 1), ("MZ2", 0)]
    assert not path.exists()


def full_spool(recorder, database, settings, *, seconds):
    """The database is away, and neither memory nor the spool hold more than a little."""
    settings.RECORDER_MAX_BUFFER_MB = 0.02
    settings.SPOOL_MAX_MB = 0.02
    recorder.submit([stream_row()])
    recorder.step()
    database.away()
    for index in range(seconds):
        recorder.submit([chunk(index, SECOND), event(f"second {index}")])
        recorder.step()


def test_when_the_spool_is_full_the_newest_audio_becomes_a_gap(recorder, database, settings, caplog):
    full_spool(recorder, database, settings, seconds=8)
    dropped = recorder.dropped_bytes
    database.back()
    recorder.step()
    recorder.step()
    pieces = lane()
    assert pieces[0] == ("audio", 0, 8000)
    assert pieces[-1][0] == "over_cap"
    assert [piece[0] for piece in pieces].count("over_cap") == 1
    assert sum(length for _, _, length in pieces) == 8 * 8000
    assert dropped == sum(length for what, _, length in pieces if what == "over_cap")
    assert caplog.text.count("storage_full: ") == 1


def test_what_was_dropped_is_forgotten_once_its_gaps_are_stored(recorder, database, settings):
    full_spool(recorder, database, settings, seconds=8)
    assert recorder.has_no_room
    database.back()
    recorder.step()
    assert (recorder.has_no_room, recorder.dropped_bytes > 0) == (False, True)
    recorder.step()
    assert recorder.dropped_bytes == 0
    database.away()
    recorder.submit([chunk(8, SECOND)])
    recorder.step()
    assert not recorder.has_no_room


def test_a_disk_that_gets_room_is_tried_again_before_the_database_is_back(recorder, database, settings):
    full_spool(recorder, database, settings, seconds=8)
    settings.SPOOL_MAX_MB = 1
    recorder.backlog._spool.max_bytes = 2**20
    recorder.step()
    assert not recorder.has_no_room


def test_when_the_spool_is_full_everything_but_audio_is_kept(recorder, database, settings):
    full_spool(recorder, database, settings, seconds=8)
    database.back()
    recorder.step()
    assert CallEvent.objects.filter(kind__startswith="second").count() == 8


def test_a_full_disk_holds_the_recorder_up_no_longer_than_the_database_is_away(
    recorder, database, settings, tmp_path, caplog
):
    settings.RECORDER_MAX_BUFFER_MB = 0.5
    with small_disk(tmp_path / "small", megabytes=2) as settings.SPOOL_DIR:
        settings.SPOOL_MAX_MB = 1024 if settings.SPOOL_DIR.is_mount() else 1
        recorder.submit([stream_row()])
        recorder.step()
        database.away()
        for index in range(300):
            recorder.submit([chunk(index, SECOND), event(f"second {index}")])
            recorder.step()
        database.back()
        assert recorder.step()
        recorder.step()
        assert list(settings.SPOOL_DIR.iterdir()) == []
    pieces = lane()
    assert sum(length for _, _, length in pieces) == 300 * 8000
    assert [what for what, _, _ in pieces].count("over_cap") == 1
    assert CallEvent.objects.filter(kind__startswith="second").count() == 300
    assert len(re.findall(r"storage_full: .* on \S+/small", caplog.text)) == 1


def test_at_the_end_a_full_spool_still_takes_the_gaps(recorder, recorders, database, settings):
    full_spool(recorder, database, settings, seconds=8)
    recorder.close()
    database.back()
    recorders().step()
    pieces = lane()
    assert sum(length for _, _, length in pieces) == 8 * 8000
    assert pieces[-1][0] == "over_cap"


def test_a_database_that_is_only_slow_does_not_fill_the_memory(recorder, settings):
    """What comes during a commit and does not fit goes to the spool, which reports nothing."""
    settings.RECORDER_MAX_BUFFER_MB = 0.02
    from_memory = []

    def more_than_fits():
        for index in range(1, 11):
            recorder.submit([chunk(index, SECOND)], lambda: from_memory.append("committed"))

    recorder.submit([stream_row(), chunk(0, SECOND)], more_than_fits)
    recorder.step()
    assert AudioChunk.objects.count() == 11
    assert from_memory == []


def test_a_spool_that_is_not_one_is_set_aside(recorder, settings):
    settings.SPOOL_DIR.mkdir()
    name = f"{fingerprint(settings.DATABASES['default'])}-dead"
    (settings.SPOOL_DIR / f"{name}.spool").write_bytes(b"torn" * 1000)
    recorder.submit([stream_row()])
    assert recorder.step()
    assert [file.name for file in settings.SPOOL_DIR.iterdir()] == [f"{name}.damaged"]
    assert Stream.objects.count() == 1


def test_a_spool_of_another_database_is_named_once_and_left_alone(recorder, clock, settings, caplog):
    spool = Spool(settings.SPOOL_DIR / "00000000-dead.spool", 2**20)
    spool.append(encode([stream_row()]))
    beat(recorder, clock, 6)
    assert "spool_of_another_database" not in caplog.text
    spool.close()
    beat(recorder, clock, 12)
    assert caplog.text.count(f"spool_of_another_database {spool.path}") == 1
    assert spool.path.exists()
    assert not Stream.objects.exists()


def test_a_torn_spool_is_replayed_as_far_as_it_goes(recorder, settings):
    path = settings.SPOOL_DIR / f"{fingerprint(settings.DATABASES['default'])}-dead.spool"
    spool = Spool(path, 2**20)
    spool.append(encode([stream_row()]))
    for index in range(40):
        spool.append(encode([chunk(index, b"\x2a" * 3000)]))
    spool.close()
    data = path.read_bytes()
    path.write_bytes(data[:-40960] + b"\xee" * 40960)
    assert recorder.step()
    assert 10 < AudioChunk.objects.count() < 40
    assert [file.suffix for file in settings.SPOOL_DIR.iterdir()] == [".damaged"]


def test_a_batch_of_a_spool_that_cannot_be_read_is_quarantined(recorder, settings):
    spool = Spool(settings.SPOOL_DIR / f"{fingerprint(settings.DATABASES['default'])}-dead.spool", 2**20)
    spool.append(b"not msgpack")
    spool.close()
    recorder.step()
    assert bytes(QuarantinedRow.objects.get().data) == b"not msgpack"


def test_a_call_is_noted_though_the_database_is_away(recorder, database):
    database.away()
    recorder.submit([CallRow("CA1", {"from_number": "+15550100001", "status": "ringing"})])
    recorder.step()
    database.back()
    recorder.step()
    assert Call.objects.get().status == "ringing"


# --- calls that were erased -------------------------------------------------------------------------------------------


@pytest.fixture
def dead_spool(recorders, recorder, database, settings):
    """A call of one second that is stored, and a process that died with the next second of it in its spool."""
    recorder.step()
    dead = recorders()
    facts = {"from_number": "+15550100001"}
    row = stream_row(owner=dead.owner, call=facts)
    dead.submit([CallRow("CA1", facts), row, chunk(0, SECOND), ended()])
    dead.step()
    settings.RECORDER_MAX_BUFFER_MB = 0
    database.away()
    late = event("completed", stream=None, source="call-status")
    dead.submit([CallRow("CA1", facts | {"status": "completed"}), row, chunk(1, SECOND), event(), late, ended()])
    dead.step()
    dead.close()
    database.back()


def replay(recorder, clock):
    clock.now += 6
    assert recorder.step()
    assert list(settings.SPOOL_DIR.iterdir()) == []


def test_an_erased_call_does_not_come_back_out_of_a_spool(recorder, clock, dead_spool):
    erase(Call.objects.get(), "asked for")
    replay(recorder, clock)
    for model in (Call, Stream, AudioChunk, CallEvent, QuarantinedRow):
        assert not model.objects.exists()


def test_erased_audio_does_not_come_back_out_of_a_spool(recorder, clock, dead_spool):
    erase(Call.objects.get(), "asked for", audio_only=True)
    replay(recorder, clock)
    assert not AudioChunk.objects.exists()
    assert not Gap.objects.exists()
    assert CallEvent.objects.count() == 2
    assert Call.objects.get().audio_samples == 0


def test_what_was_not_erased_does_come_back(recorder, clock, dead_spool):
    replay(recorder, clock)
    assert payloads() == [SECOND, SECOND]


def test_a_call_that_is_erased_while_it_runs_leaves_the_others_alone(recorder):
    recorder.submit([stream_row(), stream_row("MZ2"), chunk(0), chunk(0, stream="MZ2")])
    recorder.step()
    erase(Call.objects.get(sid="CA1"), "asked for")
    recorder.submit([chunk(1), mark(), event(), chunk(1, stream="MZ2"), ended(), stream_row("MZ3", call_sid="CA1")])
    recorder.submit([chunk(0, stream="MZ3")])
    recorder.step()
    assert list(Call.objects.values_list("sid", flat=True)) == ["CA2"]
    assert AudioChunk.objects.count() == 2
    assert not QuarantinedRow.objects.exists()


# --- somebody else holds a row ----------------------------------------------------------------------------------------


@contextmanager
def locked(query):
    """Somebody holds these rows, in a transaction of their own."""
    facts = connections["default"].settings_dict
    names = {"host": "HOST", "port": "PORT", "dbname": "NAME", "user": "USER", "password": "PASSWORD"}
    with psycopg.connect(**{name: facts[key] or None for name, key in names.items()}) as other:
        other.execute(query)
        yield


LOCKED_CALL = "SELECT * FROM calls_call WHERE sid = 'CA1' FOR UPDATE"
LOCKED_STREAM = "SELECT * FROM calls_stream WHERE sid = 'MZ1' FOR UPDATE"


@pytest.fixture
def two_streams(recorder):
    recorder.submit([stream_row(owner=recorder.owner), stream_row("MZ2", owner=recorder.owner)])
    recorder.step()


def rows_of_both(recorder):
    recorder.submit([chunk(0), mark(), event(), chunk(0, stream="MZ2")])
    recorder.submit([chunk(1), mark(0, "played", returned_at=START), chunk(1, stream="MZ2")])


@pytest.mark.postgres
@pytest.mark.parametrize("query", [LOCKED_CALL, LOCKED_STREAM])
def test_one_locked_row_holds_up_its_own_call_only(recorder, clock, two_streams, query, caplog):
    with locked(query):
        rows_of_both(recorder)
        assert recorder.step()
        assert AudioChunk.objects.filter(stream__sid="MZ2").count() == 2
        assert recorder.away_since is None
        assert caplog.text.count("row_locked call=CA1") == 1
    clock.now += 1
    recorder.step()
    assert AudioChunk.objects.count() == 4
    assert Mark.objects.get().outcome == "played"
    assert CallEvent.objects.count() == 1
    assert recorder.queued_bytes == 0


@pytest.mark.postgres
def test_what_comes_of_a_locked_call_stays_in_order(recorder, clock, two_streams):
    with locked(LOCKED_STREAM):
        recorder.submit([chunk(0), mark(position=160)])
        recorder.step()
    # The lock is gone, and it is not known yet.
    recorder.submit([mark(0, "played", position=160, returned_at=START)])
    recorder.step()
    assert not Mark.objects.exists()
    clock.now += 1
    recorder.step()
    assert Mark.objects.get().outcome == "played"


@pytest.mark.postgres
def test_a_stream_that_begins_while_its_call_is_locked_loses_nothing(recorder, clock):
    make_live_call(sid="CA1")
    with locked(LOCKED_CALL):
        recorder.submit([stream_row()])
        recorder.step()
        recorder.submit([chunk(0)])
        recorder.step()
    clock.now += 1
    recorder.step()
    assert AudioChunk.objects.count() == 1


@pytest.mark.postgres
def test_a_batch_that_meets_a_lock_is_reported_when_all_of_it_is_there(recorder, clock, two_streams):
    seen = []
    with locked(LOCKED_STREAM):
        recorder.submit([chunk(0), chunk(0, stream="MZ2")], lambda: seen.append("both"))
        recorder.submit([chunk(1, stream="MZ2")], lambda: seen.append("other"))
        recorder.step()
        assert seen == ["other"]
    clock.now += 1
    recorder.step()
    assert seen == ["other", "both"]


@pytest.mark.postgres
def test_a_lock_that_lasts_is_tried_less_and_less_often(recorder, clock, two_streams):
    attempts = []
    with locked(LOCKED_STREAM):
        recorder.submit([chunk(0)])
        for _ in range(100):
            recorder.step()
            attempts.append(recorder._aside.held["CA1"].due)
            clock.now += 0.25
    assert 5 < len(set(attempts)) < 12


@pytest.mark.postgres
def test_a_row_that_is_refused_after_a_lock_is_quarantined(recorder, clock, two_streams):
    with locked(LOCKED_STREAM):
        recorder.submit([chunk(0), gap(160, 160, "other"), chunk(2)])
        recorder.step()
    clock.now += 1
    recorder.step()
    assert AudioChunk.objects.count() == 2
    assert QuarantinedRow.objects.get().kind == "GapRow"


@pytest.mark.postgres
def test_at_the_end_what_waits_for_a_lock_goes_to_the_spool(recorder, recorders, clock, two_streams):
    with locked(LOCKED_STREAM):
        rows_of_both(recorder)
        recorder.step()
        assert recorder.close()
    recorders().step()
    assert AudioChunk.objects.count() == 4
    assert Mark.objects.get().outcome == "played"


@pytest.mark.postgres
def test_a_spool_that_meets_a_lock_waits_and_holds_nothing_up(recorder, recorders, clock, database, settings):
    settings.RECORDER_MAX_BUFFER_MB = 0
    dead = recorders()
    dead.submit([stream_row(owner=dead.owner)])
    dead.step()
    database.away()
    dead.submit([chunk(0)])
    dead.step()
    dead.close()
    database.back()
    with locked(LOCKED_STREAM):
        recorder.submit([stream_row("MZ2"), chunk(0, stream="MZ2")])
        assert recorder.step()
        assert list(AudioChunk.objects.values_list("stream__sid", flat=True)) == ["MZ2"]
    beat(recorder, clock, 6)
    assert AudioChunk.objects.count() == 2


@pytest.mark.postgres
def test_what_waits_for_a_lock_does_not_fill_the_memory(recorder, clock, two_streams, settings, caplog):
    settings.RECORDER_MAX_BUFFER_MB = 0.03
    with locked(LOCKED_STREAM):
        for index in range(8):
            recorder.submit([chunk(index, SECOND), chunk(index, SECOND, stream="MZ2")])
            recorder.step()
        assert recorder.queued_bytes <= 0.03 * 2**20
    for _ in range(4):
        clock.now += 5
        recorder.step()
    assert lane("MZ1")[-1][0] == "over_cap"
    assert sum(length for _, _, length in lane("MZ1")) == 8 * 8000
    assert lane("MZ2") == [("audio", index * 8000, 8000) for index in range(8)]
    assert recorder.dropped_bytes == 0
    assert not recorder.has_no_room
    assert "spooling: 0" not in caplog.text


@pytest.mark.postgres
def test_a_locked_stream_does_not_cost_the_others_their_lease(recorder, clock, two_streams):
    Stream.objects.update(lease_at=long_ago())
    clock.now += 6
    with locked(LOCKED_STREAM):
        assert recorder.step()
    assert timezone.now() - Stream.objects.get(sid="MZ2").lease_at < dt.timedelta(seconds=5)


@pytest.mark.postgres
def test_an_orphan_that_somebody_holds_is_closed_later(recorder, clock):
    make_stream(make_live_call(sid="CA1"), sid="MZ1", lease_owner="dead", lease_at=long_ago())
    make_stream(make_live_call(), sid="MZ2", lease_owner="dead", lease_at=long_ago())
    with locked(LOCKED_STREAM):
        beat(recorder, clock, 20)
        assert list(Stream.objects.live().values_list("sid", flat=True)) == ["MZ1"]
    beat(recorder, clock, 6)
    assert not Stream.objects.live().exists()


# --- leases -----------------------------------------------------------------------------------------------------------


def long_ago():
    return timezone.now() - dt.timedelta(seconds=LEASE + 1)


def beat(recorder, clock, seconds):
    """Lets that many seconds pass, with a step in each."""
    for _ in range(seconds):
        clock.now += 1
        recorder.step()


def test_a_heartbeat_renews_our_leases_and_nobody_elses(recorder):
    ours = make_stream(make_live_call(), lease_owner=recorder.owner, lease_at=long_ago())
    other = make_stream(make_live_call(), lease_owner="another", lease_at=long_ago())
    recorder.step()
    ours.refresh_from_db()
    other.refresh_from_db()
    assert timezone.now() - ours.lease_at < dt.timedelta(seconds=5)
    assert timezone.now() - other.lease_at > dt.timedelta(seconds=LEASE)


def test_an_orphan_is_closed_with_a_crash_gap(recorder, clock):
    stream = make_stream(make_live_call(), lease_owner="dead", lease_at=long_ago())
    make_chunk(stream, b"x" * 1600)
    recorder.step()
    beat(recorder, clock, 20)
    stream.refresh_from_db()
    assert (stream.end_reason, stream.length) == ("interrupted", 5600)
    assert Gap.objects.values_list("start", "length", "reason").get() == (1600, 4000, "crash")


def test_leases_are_renewed_and_judged_by_the_databases_clock(recorder, clock, monkeypatch):
    """The clock of our host is wrong by an hour."""
    recorder.submit([stream_row(owner=recorder.owner)])
    make_stream(make_live_call(), sid="MZ2", lease_owner="another", lease_at=timezone.now())
    right = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: right() + dt.timedelta(hours=1))
    beat(recorder, clock, 20)
    assert Stream.objects.live().count() == 2
    assert abs(Stream.objects.get(sid="MZ1").lease_at - right()) < dt.timedelta(minutes=1)


def test_our_own_streams_are_never_orphans(recorder, clock):
    make_stream(make_live_call(), lease_owner=recorder.owner, lease_at=long_ago())
    beat(recorder, clock, 20)
    assert Stream.objects.live().count() == 1


def test_nobody_is_an_orphan_to_a_process_that_has_just_begun(recorder, clock):
    make_stream(make_live_call(), lease_owner="restarting", lease_at=long_ago())
    recorder.step()
    beat(recorder, clock, LEASE - 1)
    assert Stream.objects.live().count() == 1


def test_nobody_is_an_orphan_right_after_an_outage(recorder, clock, database):
    recorder.step()
    beat(recorder, clock, 20)
    make_stream(make_live_call(), lease_owner="another", lease_at=long_ago())
    database.away()
    clock.now += 30
    recorder.step()
    database.back()
    beat(recorder, clock, LEASE - 1)
    assert Stream.objects.live().count() == 1
    beat(recorder, clock, 7)
    assert Stream.objects.live().count() == 0


def taken_for_dead(recorder, sid="MZ1"):
    """Another process has closed this stream, which it takes for one of ours."""
    facts = {"lease_owner": recorder.owner, "ended_at": START, "end_reason": "interrupted"}
    if not Stream.objects.filter(sid=sid).update(**facts):
        make_stream(make_live_call(), sid=sid, **facts)


def test_a_process_takes_back_what_others_took_for_dead(recorder, clock):
    recorder.submit([stream_row(owner=recorder.owner), chunk(0)])
    recorder.step()
    recorder.submit([chunk(1), StreamChange("MZ1", {"frames_rejected": 1})])
    taken_for_dead(recorder)
    beat(recorder, clock, 6)
    stream = Stream.objects.get()
    assert (stream.ended_at, stream.end_reason) == (None, "")


def test_a_stream_whose_end_waits_for_the_database_does_not_come_back(recorder, clock, database, monkeypatch):
    recorder.submit([stream_row(owner=recorder.owner)])
    recorder.step()
    taken_for_dead(recorder)
    database.away()
    recorder.submit([ended("handler")])
    recorder.step()
    database.back()
    clock.now += 6
    write, seen = Writer.write, []

    def look(self, rows):
        seen.append(Stream.objects.get().end_reason)
        return write(self, rows)

    monkeypatch.setattr(Writer, "write", look)
    assert recorder.step()
    assert seen == ["interrupted"]
    assert Stream.objects.get().end_reason == "handler"


def test_a_stream_that_has_ended_stays_over(recorder, clock):
    recorder.submit([stream_row(owner=recorder.owner), chunk(0)])
    recorder.submit([ended()])
    recorder.step()
    taken_for_dead(recorder)
    beat(recorder, clock, 6)
    assert not Stream.objects.live().exists()


@pytest.mark.parametrize("row", [stream_row(owner="a dead process"), chunk(0)], ids=["begins elsewhere", "goes on"])
def test_only_a_stream_that_began_here_comes_back(recorder, clock, row):
    recorder.submit([row])
    recorder.step()
    taken_for_dead(recorder)
    beat(recorder, clock, 6)
    assert not Stream.objects.live().exists()


def test_a_stream_that_was_refused_is_forgotten(recorder, clock):
    Writer().write([stream_row(nonce="once")])
    recorder.submit([stream_row("MZ2", nonce="once", owner=recorder.owner), chunk(stream="MZ2")])
    recorder.step()
    taken_for_dead(recorder, "MZ2")
    beat(recorder, clock, 6)
    assert Stream.objects.get(sid="MZ2").ended_at


def test_a_stream_that_is_refused_at_once_is_forgotten_too(recorder, clock, monkeypatch):
    """The writer thread may be faster than whoever submits."""
    Writer().write([stream_row(nonce="once")])
    add = Batches.add

    def add_and_write(self, batch):
        add(self, batch)
        recorder.step()

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "add", add_and_write)
        recorder.submit([stream_row("MZ2", nonce="once", owner=recorder.owner)])
    taken_for_dead(recorder, "MZ2")
    beat(recorder, clock, 6)
    assert Stream.objects.get(sid="MZ2").ended_at


def test_a_stream_that_is_refused_as_the_database_goes_away_is_forgotten_too(recorder, clock, monkeypatch):
    """One row is refused, another one is in quarantine, and then the connection breaks."""
    refused, write, broken = [], Writer.write, []
    recorder.on_refused = refused.append
    Writer().write([stream_row(nonce="once")])

    def breaks_off(self, rows):
        if rows == [chunk(0), chunk(1)] and not broken:
            broken.append(True)
            raise OperationalError("the connection is gone")
        return write(self, rows)

    monkeypatch.setattr(Writer, "write", breaks_off)
    row = stream_row("MZ2", nonce="once", owner=recorder.owner)
    recorder.submit([row, gap(0, 1, "other"), chunk(0), chunk(1)])
    assert not recorder.step()
    assert refused == ["MZ2"]
    taken_for_dead(recorder, "MZ2")
    beat(recorder, clock, 6)
    assert Stream.objects.get(sid="MZ2").ended_at


def test_a_stream_that_begins_and_ends_leaves_nothing_behind(recorder):
    for number in range(3):
        recorder.submit([stream_row(f"MZ{number}", owner=recorder.owner)])
        recorder.submit([ended(stream=f"MZ{number}")])
    recorder.submit([stream_row("MZ4", owner=recorder.owner), ended(stream="MZ4")])
    assert recorder._housekeeping._running == set()


def test_a_spool_that_comes_after_the_orphan_was_closed_fills_its_gap(recorder, recorders, clock, database, settings):
    settings.RECORDER_MAX_BUFFER_MB = 0
    dead = recorders()
    dead.submit([stream_row(owner=dead.owner), chunk(0, SECOND)])
    dead.step()
    database.away()
    dead.submit([chunk(1, SECOND), chunk(2, SECOND)])
    dead.step()
    database.back()
    Stream.objects.update(lease_at=long_ago())
    beat(recorder, clock, 20)
    assert lane() == [("audio", 0, 8000), ("crash", 8000, 4000)]
    dead.close()
    beat(recorder, clock, 6)
    assert lane() == [("audio", 0, 8000), ("audio", 8000, 8000), ("audio", 16000, 8000), ("crash", 24000, 4000)]
    assert Stream.objects.get().length == 28000


def test_leases_are_renewed_while_a_long_backlog_is_written(recorder, clock):
    """A second passes with every batch: without beats in between, others would take us for dead."""
    stream = make_stream(make_live_call(), lease_owner=recorder.owner, lease_at=long_ago())
    recorder.step()
    Stream.objects.update(lease_at=long_ago())

    def a_second_passes():
        clock.now += 1

    for index in range(10):
        recorder.submit([chunk(index, stream=stream.sid)] * 300, a_second_passes)
    recorder.submit([], lambda: stream.refresh_from_db())
    recorder.step()
    assert timezone.now() - stream.lease_at < dt.timedelta(seconds=5)


# --- calls that nobody ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "alive", "over"),
    [(None, None, False), (1, None, False), (60, None, True), (60, 60, False), (60, 3600, True)],
    ids=["not asked yet", "asked just now", "nobody knows", "Twilio says it goes on", "Twilio said so an hour ago"],
)
def test_where_twilio_can_be_asked_a_call_is_guessed_to_be_over_only_after_that(recorder, clock, asked, alive, over):
    recorder.asks_twilio = True
    times = {"asked_at": asked, "alive_at": alive}
    now = timezone.now()
    an_hour_old(**{name: now - dt.timedelta(seconds=at) for name, at in times.items() if at is not None})
    beat(recorder, clock, 20)
    assert (Call.objects.get().ended_at is not None) == over


def an_hour_old(**facts):
    begun = timezone.now() - dt.timedelta(hours=1)
    return make_live_call(**{"created_at": begun, "answered_at": begun, **facts})


def test_a_call_without_a_stream_ends_and_says_why(recorder, clock):
    call = an_hour_old()
    make_stream(call, ended_at=timezone.now() - dt.timedelta(seconds=61))
    beat(recorder, clock, 20)
    call.refresh_from_db()
    assert call.status == "completed"
    assert call.ended_at is not None
    assert CallEvent.objects.get().kind == "presumed-over"


def test_a_call_whose_stream_begins_while_others_are_ended_goes_on(recorder, clock):
    calls = {an_hour_old().sid, an_hour_old().sid}

    def begin(instance, **facts):
        post_save.disconnect(begin, Call)
        (other,) = calls - {instance.sid}
        row = stream_row(call_sid=other, started_at=timezone.now())
        transaction.on_commit(lambda: Writer().write([row]), using="recorder")

    post_save.connect(begin, Call)
    beat(recorder, clock, 20)
    assert Stream.objects.get().call == Call.objects.live().get()
    assert CallEvent.objects.get().kind == "presumed-over"


@pytest.mark.parametrize("facts", [{"dialing": True}, {"direction": "outbound-api", "answered_at": None}])
def test_a_call_that_rings_or_talks_elsewhere_goes_on(recorder, clock, facts):
    call = an_hour_old(**facts)
    beat(recorder, clock, 20)
    call.refresh_from_db()
    assert call.ended_at is None


def test_a_call_that_talks_elsewhere_is_over_when_twilio_ends_every_call(recorder, clock):
    an_hour_old(dialing=True, created_at=timezone.now() - dt.timedelta(hours=25))
    beat(recorder, clock, 20)
    assert Call.objects.get().ended_at


def test_a_call_whose_stream_ended_just_now_goes_on(recorder, clock):
    call = an_hour_old()
    make_stream(call, ended_at=timezone.now() - dt.timedelta(seconds=50))
    beat(recorder, clock, 20)
    assert Call.objects.live().get() == call


def test_a_call_with_a_live_stream_goes_on(recorder, clock):
    call = an_hour_old()
    make_stream(call, lease_owner=recorder.owner)
    beat(recorder, clock, 20)
    assert Call.objects.live().get() == call


def test_a_call_that_ended_stays_as_it_is(recorder, clock):
    call = make_call(status="busy")
    beat(recorder, clock, 20)
    call.refresh_from_db()
    assert call.status == "busy"
