"""How a server process ends: by a signal, by a second one, and by kill -9. What had arrived is in the recording.

A test ends its own servers, and has calls talk for a second before and after: with the drains, 3 to 9 s.
"""

import contextlib
import signal

import pytest

from calls.models import Call, Stream
from tests.support.balancer import Balancer
from tests.support.callers import Calls, place
from tests.support.factories import sid
from tests.support.recorded import gaps, loss, stored_to_the_end, verify, worst_silence
from tests.support.servers import Server, until


pytestmark = [pytest.mark.process, pytest.mark.clock, pytest.mark.django_db(transaction=True)]

# uvicorn raises the signal again when it is done; 143 is what a shell calls that.
# What serves where the database is SQLite, and what serves where it is PostgreSQL.
SERVERS = pytest.mark.parametrize(
    ("kind", "code"), [("daphne", 0), pytest.param("uvicorn", -signal.SIGTERM, marks=pytest.mark.once)]
)


def kept(reports, tail):
    """Nothing is missing of what had arrived: no hole, and no more at the end than was on its way."""
    found = loss(reports)
    assert found.holes == 0
    assert found.tail <= tail
    verify()


def closed_codes(calls):
    """What each call's first socket was closed with; the calls go on, and fail, because nobody is there any more."""
    return [report.streams[0].closed_code for report in calls]


@SERVERS
def test_sigterm_writes_everything_and_closes_each_socket_with_1000(tmp_path, kind, code):
    with Server(kind, tmp_path) as server:
        calls = Calls(server, 3, handler="echo").talk(1.0)
        half_open = server.half_open()
        server.send(signal.SIGTERM)
        assert server.wait() == code
        assert server.errors == []
        reports = calls.result()
        for line in half_open:
            line.close()
    assert closed_codes(reports) == [1000] * 3
    assert [stream.end_reason for stream in Stream.objects.all()] == ["shutdown"] * 3
    kept(reports, tail=300)


@SERVERS
def test_a_draining_server_lets_calls_finish_and_takes_no_new_ones(tmp_path, kind, code):
    with Server(kind, tmp_path, DRAIN_SECONDS="20") as server:
        calls = Calls(server, 1, handler="echo", hang_up_after=60.0).talk(0.5)
        server.send(signal.SIGTERM)
        until(lambda: server.get("/healthz/ready") == 503, "readiness to be withdrawn")
        assert server.get("/healthz") == 200
        until(lambda: server.shake_hands() in (403, 503), "new sockets to be refused")
        assert server.post("/incoming", CallSid="CA" + "0" * 32) == 200
        (report,) = calls.hang_up().result()
        assert server.wait() == code
    assert report.errors == []
    assert Stream.objects.get().end_reason == "stop"
    kept([report], tail=0)


@SERVERS
def test_a_second_signal_skips_the_wait(tmp_path, kind, code):
    with Server(kind, tmp_path, DRAIN_SECONDS="600") as server:
        calls = Calls(server, 2, handler="echo").talk(0.5)
        server.send(signal.SIGTERM)
        until(lambda: server.get("/healthz/ready") == 503, "the drain to begin")
        server.send(signal.SIGTERM)
        assert server.wait() == code
        reports = calls.result()
    assert closed_codes(reports) == [1000] * 2
    kept(reports, tail=300)


@pytest.mark.parametrize("kind", ["runserver", pytest.param("uvicorn", marks=pytest.mark.once)])
def test_ctrl_c_ends_calls_at_once_and_keeps_what_was_said(tmp_path, kind):
    with Server(kind, tmp_path, DRAIN_SECONDS="600") as server:
        calls = Calls(server, 2, handler="echo").talk(0.5)
        server.send(signal.SIGINT)
        server.wait()
        assert server.errors == []
        reports = calls.result()
    assert closed_codes(reports) == [1000] * 2
    kept(reports, tail=300)


@pytest.mark.once
def test_a_server_that_nobody_has_called_ends_at_once(tmp_path):
    for kind, code in [("daphne", 0), ("uvicorn", -signal.SIGTERM)]:
        with Server(kind, tmp_path) as server:
            server.send(signal.SIGTERM)
            assert server.wait() == code
            assert server.errors == []


@pytest.mark.once
def test_no_webhook_is_refused_until_the_server_listens_no_more(tmp_path):
    with Server("uvicorn", tmp_path) as server:
        calls = Calls(server, 1, handler="echo").talk(0.5)
        server.send(signal.SIGTERM)
        answers = []
        with contextlib.suppress(OSError):
            while True:
                answers.append(server.post("/incoming/echo", CallSid=sid("CA")))
        calls.result()
        assert server.wait() == -signal.SIGTERM
        assert server.errors == []
    assert set(answers) == {200}
    assert Call.objects.count() == len(answers) + 1


@pytest.mark.once
def test_a_call_that_a_draining_worker_answers_begins_on_another(tmp_path):
    with (
        Balancer() as front,
        Server("uvicorn", tmp_path, public_url=front.url, DRAIN_SECONDS="60") as first,
        Server("uvicorn", tmp_path, public_url=front.url) as second,
    ):
        front.targets = [first.port]
        busy = Calls(first, 1, handler="echo", hang_up_after=60.0).talk(0.5)
        first.send(signal.SIGTERM)
        until(lambda: first.shake_hands() in (403, 503), "new sockets to be refused")
        front.targets, front.unaware = [second.port], [first.port]
        (report,) = place(second, handler="echo", hang_up_after=1.0)
        stored_to_the_end(busy.hang_up().result())
    assert ["<Pause" in document for document in report.twiml] == [True]
    assert len(report.streams) == 1
    kept([report], tail=0)


@pytest.mark.once
def test_both_workers_of_one_uvicorn_drain(tmp_path):
    with Server("workers", tmp_path) as server:
        calls = Calls(server, 6, handler="echo").talk(1.0)
        server.send(signal.SIGTERM)
        server.wait()
        reports = calls.result()
        assert server.log.count("drain_done") == 2
    assert closed_codes(reports) == [1000] * 6
    kept(reports, tail=300)


@pytest.mark.once
def test_a_drained_worker_hands_its_calls_to_another(tmp_path):
    with Balancer() as front, Server("uvicorn", tmp_path, public_url=front.url) as first:
        front.targets.append(first.port)
        calls = Calls(first, 3, handler="echo", hang_up_after=30.0).talk(1.0)
        with Server("uvicorn", tmp_path, public_url=front.url) as second:
            front.targets.append(second.port)
            first.send(signal.SIGTERM)
            reports = calls.reconnect().hang_up().result()
            first.wait()
            stored_to_the_end(reports)
    assert [error for report in reports for error in report.errors] == []
    assert [len(report.streams) for report in reports] == [2, 2, 2]
    assert worst_silence() <= 1.5
    kept(reports, tail=300)


@pytest.mark.once
def test_after_kill_9_the_call_goes_on_elsewhere_and_half_a_second_at_most_is_missing(tmp_path):
    quick = {"DJANGO_SETTINGS_MODULE": "tests.support.child_settings", "LEASE": "4"}
    with Balancer() as front, Server("uvicorn", tmp_path, public_url=front.url) as first:
        front.targets.append(first.port)
        calls = Calls(first, 3, handler="echo", hang_up_after=30.0).talk(1.0)
        with Server("uvicorn", tmp_path, public_url=front.url, **quick) as second:
            front.targets.append(second.port)
            first.kill()
            reports = calls.reconnect().hang_up().result()
            until(lambda: second.log.count("orphan_stream call=") == 3, "the dead worker's streams to be closed")
            stored_to_the_end(reports)
    assert [error for report in reports for error in report.errors] == []
    assert [len(report.streams) for report in reports] == [2, 2, 2]
    assert worst_silence() <= 1.5
    dead = Stream.objects.filter(end_reason="interrupted")
    assert gaps(stream__in=dead, reason="crash") == [("inbound", "crash", 500)] * 3
    kept(reports, tail=500)
