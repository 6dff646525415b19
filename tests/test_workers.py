"""The row of a worker: written with the heartbeat, read for orders, and no concern of any call."""

import datetime as dt
import logging

import pytest
from django.db import connections
from django.utils import timezone

from calls.models import Stream, Worker
from calls.process.problems import MOST, Problems
from calls.recorder.attendance import DrainOrder, forget_workers
from calls.recorder.queue import Recorder
from tests.support.batches import stream_row
from tests.support.factories import make_worker


LONG_AGO = dt.timedelta(seconds=15)
CALL, STREAM = "CA" + "1" * 32, "MZ" + "2" * 32


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def recorder(settings, tmp_path, clock, transactional_db):
    """Of a server process: it says how it is."""
    settings.SPOOL_DIR = tmp_path / "spool"
    recorder = Recorder(threaded=False, clock=clock)
    facts = {"host": "web-1", "pid": 7, "version": "0.1.0", "started_at": timezone.now(), "streams": 0}
    recorder.attendance.describe = lambda: {**facts, "streams": len(recorder.owner)}
    yield recorder
    recorder.close()
    connections["recorder"].close()


on_both = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])


@on_both
def test_a_worker_writes_its_row_with_its_heartbeat_and_only_then(recorder, clock):
    recorder.step()
    Worker.objects.update(streams=0)
    clock.now += 4
    recorder.step()
    assert Worker.objects.get().streams == 0
    clock.now += 2
    recorder.step()
    assert (Worker.objects.get().streams, str(Worker.objects.get())) == (32, "web-1:7")


@on_both
def test_a_command_is_no_worker(recorder):
    recorder.attendance.describe = None
    recorder.step()
    assert not Worker.objects.exists()


@on_both
def test_what_cannot_be_written_of_a_worker_costs_no_stream_anything(recorder, caplog):
    recorder.attendance.describe = lambda: {"host": "web-1", "pid": None}
    recorder.submit([stream_row()])
    assert recorder.step()
    assert Stream.objects.live().count() == 1
    assert [line.getMessage() for line in caplog.records] == ["worker_unnoted; going on"]


@on_both
def test_an_order_is_read_with_the_next_heartbeat_which_can_be_hastened(recorder, clock):
    orders = []
    recorder.attendance.on_order = orders.append
    recorder.step()
    worker = Worker.objects.get()
    worker.ask_to_drain("ada", 60)
    recorder.hasten()
    recorder.step()
    assert orders == [None]
    clock.now += 1
    recorder.step()
    assert orders == [None, DrainOrder(worker.drain_asked_at, 60)]


@on_both
def test_a_worker_that_ends_in_order_says_so(recorder):
    recorder.step()
    recorder.attendance.leave()
    assert Worker.objects.get().ended_at is not None
    assert not Worker.objects.alive().exists()


@on_both
def test_how_long_rows_have_waited_is_told_once(recorder, clock):
    recorder.submit([stream_row()])
    clock.now += 3
    recorder.step()
    assert [recorder.take_longest_wait(), recorder.take_longest_wait()] == [3, 0]


@pytest.mark.django_db
def test_a_worker_that_says_nothing_for_long_is_gone():
    make_worker("web-1")
    make_worker("web-2", seen_at=timezone.now() - LONG_AGO)
    make_worker("web-3", ended_at=timezone.now())
    assert [worker.host for worker in Worker.objects.alive()] == ["web-1"]
    assert [worker.is_gone for worker in Worker.objects.with_silence()] == [False, True, True]


@pytest.mark.django_db
def test_a_worker_is_forgotten_a_week_after_it_was_last_heard_of():
    make_worker("web-1", seen_at=timezone.now() - dt.timedelta(days=8))
    make_worker("web-2", seen_at=timezone.now() - dt.timedelta(days=6))
    assert forget_workers() is False
    assert [worker.host for worker in Worker.objects.all()] == ["web-2"]


# --- what its log has said --------------------------------------------------------------------------------------------


@pytest.fixture
def problems():
    """Those of a log that nobody else writes to, and how often they were worth telling at once."""
    told = []
    problems = Problems(lambda: told.append(1))
    problems.told = told
    log = logging.getLogger("calls.test_workers")
    log.addHandler(problems)
    yield problems
    log.removeHandler(problems)


log = logging.getLogger("calls.test_workers")


def test_a_warning_is_kept_with_its_sids_and_without_numbers(problems):
    log.info("carried call=%s", CALL)
    log.warning("call_deferred call=%s stream=%s from=%s", CALL, STREAM, "+14155550177")
    [kept] = problems.latest()
    assert (kept["event"], kept["level"], kept["call"], kept["stream"]) == ("call_deferred", "warning", CALL, STREAM)
    assert kept["text"].endswith("from=+1••••••0177")
    assert problems.told == []


def test_an_error_is_told_at_once_and_names_its_exception(problems):
    try:
        raise ValueError("no such order")
    except ValueError:
        log.exception("handler_failed handler=pizza")
    assert problems.latest()[0]["text"] == "handler_failed handler=pizza (ValueError: no such order)"
    assert problems.told == [1]


def test_few_are_kept_and_what_comes_again_is_counted(problems):
    for number in range(MOST + 5):
        log.warning("signature_invalid from=10.0.0.%d", number)
        log.warning("mark_lost call=%s%032x", "CA", number)
    kept = problems.latest()
    assert len(kept) == MOST
    assert [one["times"] for one in kept if one["event"] == "signature_invalid"] == [MOST + 5]
