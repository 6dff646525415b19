"""What goes wrong around a call, one fault a test: the caller notices nothing, and the recording says all there is.

`make faults` runs the heavy ones with 30 streams. Above 5 s are those that wait for what takes so long in production
too: a writer that tries again, a handler's 5 s to end, a loop that is given up, a disk that calls in real time fill.
"""

import os
import re
import resource
import signal
import threading

import pytest
from django.db import connection, transaction

from calls.models import Call, CallEvent, QuarantinedRow, Stream
from tests.support.callers import Calls, place
from tests.support.child import blocks
from tests.support.disks import small_disk
from tests.support.recorded import Loss, echo_delay, gaps, loss, stored_to_the_end, verify
from tests.support.sealed import KEY, files_of, frames_in
from tests.support.servers import SPEECH, until
from tests.support.surroundings import Surroundings


pytestmark = [pytest.mark.process, pytest.mark.clock, pytest.mark.django_db(transaction=True)]

# What the echo may be late by: far more than it should be, far less than the fault lasts.
UNNOTICED = 700
# Where tests/support/child.py has its `time.sleep`.
BLOCKING_LINE = f"tests/support/child.py:{blocks.__code__.co_firstlineno + 5} in blocks"


@pytest.fixture(scope="module")
def around(django_db_setup, tmp_path_factory):
    with Surroundings(tmp_path_factory.mktemp("around")) as around:
        yield around


def unnoticed(reports):
    """Nobody lost a sample, and nobody heard that something was wrong."""
    assert [error for report in reports for error in report.errors] == []
    stored_to_the_end(reports)
    assert loss(reports) == Loss()
    assert max(echo_delay(report) for report in reports) <= UNNOTICED
    verify()


# --- the database -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", pytest.param("freeze", marks=pytest.mark.postgres)])
def test_a_database_that_goes_away_in_mid_call_loses_nothing(around, how):
    # A server that hangs without a word holds the writer up, and nothing else.
    notices = around.notices("db_slow" if how == "freeze" else "db_down")
    calls = Calls(around.server, 2, handler="echo", audio=SPEECH * 2, hang_up_after=30.0).talk(0.5)
    with around.without_database(how):
        notices()
    unnoticed(calls.hang_up().result())


@pytest.mark.postgres
def test_a_slow_database_delays_nobody(around):
    around.database.delay = 0.2
    around.database.mode = "delay"
    try:
        calls = Calls(around.server, 2, handler="echo", audio=SPEECH, hang_up_after=2.0)
        reports = calls.result()
    finally:
        around.database.mode = "pass"
    unnoticed(reports)


def test_a_call_that_comes_while_the_database_is_away_is_answered_and_written_later(around):
    notices = around.notices()
    with around.without_database():
        calls = Calls(around.server, 1, handler="echo", audio=SPEECH[:8000], linger=0.5)
        notices()
        reports = calls.result()
        assert not Stream.objects.exists()
    until(Stream.objects.exists, "the call to be written behind")
    unnoticed(reports)
    until(lambda: Call.objects.get().status == "completed", "the last callback to be written behind")


def test_a_lock_that_somebody_holds_is_waited_for(around):
    calls = Calls(around.server, 2, handler="echo", audio=SPEECH, hang_up_after=30.0).talk(0.5)
    until(lambda: Stream.objects.count() == 2, "both streams to be stored")
    # SQLite knows no row locks: this one is the whole database's.
    notices = around.notices("db_down" if connection.vendor == "sqlite" else "row_locked")
    with transaction.atomic():
        list(Stream.objects.select_for_update())
        Stream.objects.update(name="held")
        notices()
    calls.hang_up()
    unnoticed(calls.result())


def test_a_poison_row_is_set_aside_and_holds_nothing_else_back(around):
    calls = Calls(around.server, 2, handler="echo", audio=SPEECH[:12000], linger=0.5)
    poisoned = place(around.server, handler="poisons", audio=SPEECH[:12000], linger=0.5)
    unnoticed(calls.result() + poisoned)
    assert [row.kind for row in QuarantinedRow.objects.all()] == ["GapRow"]


@pytest.mark.parametrize(("number", "keys"), [(signal.SIGTERM, ""), (signal.SIGKILL, ""), (signal.SIGKILL, KEY)])
def test_what_a_process_left_in_its_spool_is_written_by_the_next_one(tmp_path, django_db_setup, settings, number, keys):
    settings.RECORDING_KEYS = keys.split()
    said = os.urandom(len(SPEECH)) if keys else SPEECH
    with Surroundings(tmp_path, RECORDING_KEYS=keys) as around:
        calls = Calls(around.server, 2, handler="fills", audio=said, hang_up_after=30.0).talk(0.5)
        until(lambda: Stream.objects.count() == 2, "both streams to be stored")
        with around.without_database():
            until(lambda: "spooling" in around.server.log.partition("db_down")[2], "the spool to be used")
            around.server.send(number)
            around.server.wait()
            reports = calls.result()
            assert bool(frames_in(files_of(tmp_path / "spool"), said)) != bool(keys)
        with around.another() as second:
            until(lambda: "spool_replayed" in second.log, f"the spool to be replayed:\n{around.server.log}")
            assert loss(reports).holes == 0
            # Between two attempts at the database, what was recorded waits in memory, and kill -9 takes it.
            assert loss(reports).tail <= (300 if number == signal.SIGTERM else 3500)
    # Without a key SQLite's own file has it; PostgreSQL's is not ours to look into.
    assert bool(frames_in(files_of(tmp_path), said)) == (not keys and connection.vendor == "sqlite")


def test_with_no_room_left_anywhere_the_loss_is_a_gap_of_its_true_length(tmp_path, django_db_setup):
    with Surroundings(tmp_path) as around:
        calls = Calls(around.server, 2, handler="overflows", audio=SPEECH, hang_up_after=30.0).talk(0.5)
        with around.without_database():
            until(lambda: "storage_full" in around.server.log, "audio to be dropped")
            # With no room at all, some of it may be dropped before the database is missed.
            until(lambda: around.server.get("/healthz/ready") == 503, "the server to take no more calls")
        until(lambda: "db_up" in around.server.log, "the database to be back")
        reports = calls.hang_up().result()
        stored_to_the_end(reports)
    assert [error for report in reports for error in report.errors] == []
    assert {(track, reason) for track, reason, _ in gaps(track="inbound")} == {("inbound", "over_cap")}
    for report in reports:
        stream = Stream.objects.get(call__sid=report.call_sid)
        dropped = sum(stream.gaps.filter(track="inbound").values_list("length", flat=True))
        assert sum(stream.chunks.filter(track="inbound").values_list("length", flat=True)) + dropped == len(report.sent)
    verify()


@pytest.mark.parametrize("how", ["cut", pytest.param("freeze", marks=pytest.mark.postgres)])
def test_a_spool_disk_that_is_full_costs_what_it_has_no_room_for_and_nothing_afterwards(tmp_path, django_db_setup, how):
    with (
        small_disk(tmp_path / "small", megabytes=1) as disk,
        # Where nobody may mount a disk, the cap has to do.
        Surroundings(tmp_path, SPOOL_DIR=str(disk), SPOOL_MAX_MB="1024" if disk.is_mount() else "1") as around,
    ):
        calls = Calls(around.server, 4, handler="fills", audio=SPEECH * 9, hang_up_after=90.0).talk(0.5)
        with around.without_database(how):
            until(lambda: around.server.get("/healthz/ready") == 503, "the disk to be full", 60)
        until(lambda: "storage_full_over" in around.server.log, "all that waited to be written")
        assert around.server.get("/healthz/ready") == 200
        reports = calls.hang_up().result() + place(around.server, handler="echo", audio=SPEECH[:8000], linger=0.5)
        stored_to_the_end(reports)
    assert around.server.log.count("storage_full: ") == 1
    assert f"on {disk}" in around.server.log
    assert {reason for _, reason, _ in gaps(track="inbound")} == {"over_cap"}
    verify()


# --- Redis ------------------------------------------------------------------------------------------------------------


@pytest.mark.redis
@pytest.mark.parametrize("how", ["cut", "freeze"])
def test_without_redis_calls_go_on_and_new_ones_are_taken(around, how):
    calls = Calls(around.server, 2, handler="echo", audio=SPEECH, hang_up_after=2.5).talk(0.5)
    around.redis.mode = how
    try:
        later = place(around.server, handler="echo", audio=SPEECH[:8000], linger=0.5)
        reports = calls.result()
    finally:
        around.redis.mode = "pass"
    unnoticed(reports + later)


# --- what comes over the socket ---------------------------------------------------------------------------------------


@pytest.mark.once
def test_a_connection_that_is_cut_loses_nothing_of_what_had_arrived(around):
    reports = place(around.server, 2, handler="echo", audio=SPEECH, cut_after=1.0, hang_up_after=2.0)
    assert [len(report.streams) for report in reports] == [2, 2]
    assert loss(reports).holes == 0
    assert loss(reports).tail <= 100
    assert {stream.end_reason for stream in Stream.objects.all()} == {"disconnect", "stop"}
    verify()


@pytest.mark.once
def test_lost_packets_are_silence_with_a_reason(around):
    (report,) = place(around.server, handler="echo", audio=SPEECH[:16000], drop=0.1, jitter=0.02, linger=0.5)
    stream = Stream.objects.get()
    assert report.streams[0].frames_dropped > 0
    assert loss([report]).holes == 0
    assert {reason for _, reason, _ in gaps(stream=stream)} == {"timestamp"}
    verify()


# --- our own side -----------------------------------------------------------------------------------------------------


@pytest.mark.once
def test_a_handler_that_fails_ends_its_own_call_as_the_setting_says(around):
    others = Calls(around.server, 2, handler="echo", audio=SPEECH[:16000], linger=0.5)
    (failed,) = place(around.server, handler="raises", audio=SPEECH, silence_timeout=0)
    assert "<Hangup" in failed.twiml[-1]
    assert len(failed.streams) == 1
    assert loss([failed]).holes == 0
    unnoticed(others.result())
    stream = Stream.objects.get(call__sid=failed.call_sid)
    assert (stream.handler_failed, stream.end_reason) == (True, "error")


@pytest.mark.once
def test_a_handler_that_hangs_is_recorded_all_the_same(around):
    others = Calls(around.server, 2, handler="echo", audio=SPEECH[:8000], linger=0.5)
    reports = place(around.server, handler="hangs", audio=SPEECH, hang_up_after=1.0, silence_timeout=0)
    unnoticed(others.result() + reports)


@pytest.mark.once
def test_an_event_loop_that_stands_still_loses_nothing(around):
    # They have to be there when it does, also on a busy machine.
    others = Calls(around.server, 2, handler="echo", audio=SPEECH, hang_up_after=30.0).talk(0.1)
    reports = place(around.server, handler="blocks", audio=SPEECH, hang_up_after=2.5, silence_timeout=0)
    reports += others.hang_up().result()
    stored_to_the_end(reports)
    assert loss(reports) == Loss()
    verify()
    # Each call says that it suffered and who did it, and the log names the line.
    events = CallEvent.objects.filter(kind="loop-blocked").values_list("call__handler", "data__by", "data__line")
    assert set(events) == {
        ("blocks", "this call's handler", BLOCKING_LINE),
        ("echo", "the handler of another call", BLOCKING_LINE),
    }
    assert re.search(rf"loop_blocked for [0-9.]+ s at {BLOCKING_LINE} in the handler of call CA", around.server.log)
    until(lambda: not Call.objects.filter(has_warning=False).exists(), "all of them to be marked")


@pytest.mark.once
def test_a_process_that_was_stopped_as_a_whole_says_so_on_its_calls(around):
    calls = Calls(around.server, 1, handler="echo", audio=SPEECH, hang_up_after=30.0).talk(0.5)
    around.server.send(signal.SIGSTOP)
    # More than a second: a shorter stall need not be logged right after another one.
    calls.talk(calls.calls[0].seconds + 2)
    around.server.send(signal.SIGCONT)
    until(lambda: "the whole process was stopped" in around.server.log, "the stall to be logged")
    stored_to_the_end(calls.hang_up().result())
    assert CallEvent.objects.get(kind="loop-blocked").data["line"] == ""


@pytest.mark.once
def test_a_loop_that_never_moves_again_costs_its_process_and_not_what_was_recorded(tmp_path, django_db_setup):
    with Surroundings(tmp_path, HOPELESS="2", LEASE="2") as around:
        calls = Calls(around.server, 1, handler="never_returns", audio=SPEECH, hang_up_after=30.0, silence_timeout=0)
        assert around.server.wait() == 70
        reports = calls.hang_up().result()
        with around.another():
            stored_to_the_end(reports)
    (stream,) = Stream.objects.all()
    assert stream.end_reason == "interrupted"
    assert loss(reports).holes == 0
    # It heard 0.85 s at least, of which the last 0.5 s may be lost, as with kill -9.
    assert sum(stream.chunks.filter(track="inbound").values_list("length", flat=True)) > 0.35 * 8000
    verify()


@pytest.mark.parametrize("kind", ["uvicorn", "runserver"])
def test_a_slow_query_in_a_view_delays_nobodys_audio(around, kind):
    with around.another(kind) as server:
        calls = Calls(server, 2, handler="echo", audio=SPEECH, hang_up_after=30.0).talk(0.5)
        statuses = []
        views = [threading.Thread(target=lambda: statuses.append(server.get("/slow?seconds=1.5"))) for _ in range(3)]
        for view in views:
            view.start()
        for view in views:
            view.join()
        assert statuses == [200] * 3
        unnoticed(calls.hang_up().result())


@pytest.mark.once
def test_without_file_descriptors_running_calls_go_on(around):
    with around.another() as server:
        calls = Calls(server, 2, handler="echo", audio=SPEECH, hang_up_after=30.0).talk(0.5)
        _, most = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (1, most))
        assert server.shake_hands() == 0
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (most, most))
        until(lambda: server.get("/healthz/ready") == 200, "the server to take connections again")
        unnoticed(calls.hang_up().result())
