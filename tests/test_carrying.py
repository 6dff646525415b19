"""A caller who was sent to another number comes back to any worker, and is carried to the one whose handler waits.

Real processes behind one address. Each caller is away for a second or two, and each call ends with a drain of its own.
"""

import signal

import pytest

from calls.media.tones import press
from calls.models import Call, CallEvent, Stream
from simulator import Dialled
from tests.support.balancer import Balancer
from tests.support.callers import Calls
from tests.support.recorded import stored_to_the_end, verify
from tests.support.servers import Server, until


pytestmark = [pytest.mark.process, pytest.mark.clock, pytest.mark.django_db(transaction=True)]

CHILD = {"DJANGO_SETTINGS_MODULE": "tests.support.child_settings", "STREAM_HANDLERS": "dials=tests.support.child.dials"}
AWAY = (Dialled("completed", 2),)


def server(kind, folder, front, **facts):
    return Server(kind, folder, public_url=front.url, **{**CHILD, **facts})


def dialling(where, **facts):
    """Calls that are on the phone with somebody else."""
    calls = Calls(where, 1, handler="dials", **{"dial": AWAY, "hang_up_after": 30.0, **facts})
    until(lambda: all(call.report.dialled for call in calls.calls), "somebody to be dialled")
    return calls


def heard_again(calls, keys):
    """Waits until the caller is back, and has heard these keys and then themselves; returns the reports."""
    until(lambda: all(len(call.report.streams) == 2 for call in calls.calls), "the callers to be back")
    calls.talk(min(call.seconds for call in calls.calls) + 1.5)
    reports = calls.hang_up().result()
    assert [error for report in reports for error in report.errors] == []
    assert all(press(keys) in report.streams[1].heard_audio for report in reports)
    stored_to_the_end(reports)
    verify()
    return reports


def streams():
    return [stream.end_reason for stream in Stream.objects.order_by("started_at")]


def owners():
    """How many processes have recorded the calls."""
    return len({stream.lease_owner for stream in Stream.objects.all()})


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_a_caller_is_back_at_the_worker_that_waits(tmp_path, kind):
    with Balancer() as front, server(kind, tmp_path, front) as only:
        front.targets.append(only.port)
        heard_again(dialling(only), "1")
        assert only.errors == []
    assert (streams(), owners()) == (["dial", "stop"], 1)
    assert not Call.objects.get().has_warning


@pytest.mark.parametrize("kinds", [("daphne", "uvicorn"), ("uvicorn", "daphne")])
def test_a_caller_who_is_back_elsewhere_is_carried_to_the_worker_that_waits(tmp_path, kinds):
    with Balancer() as front, server(kinds[0], tmp_path, front) as first, server(kinds[1], tmp_path, front) as second:
        front.targets.append(first.port)
        calls = dialling(first)
        front.targets[:] = [second.port]
        heard_again(calls, "1")
        assert second.log.count("carried call=") == 1
        assert first.errors == second.errors == []
    assert (streams(), owners()) == (["dial", "stop"], 1)


def test_a_caller_is_carried_to_one_of_two_workers_with_one_address(tmp_path):
    with Balancer() as front, server("workers", tmp_path, front) as both:
        front.targets.append(both.port)
        calls = Calls(both, 6, handler="dials", dial=AWAY, hang_up_after=30.0)
        heard_again(calls, "1")
        assert both.errors == []
    assert sorted(streams()) == ["dial"] * 6 + ["stop"] * 6
    assert CallEvent.objects.filter(kind="returned").count() == 6


def test_a_caller_whose_worker_was_killed_begins_anew_elsewhere(tmp_path):
    with Balancer() as front, server("uvicorn", tmp_path, front) as first, server("uvicorn", tmp_path, front) as second:
        front.targets.append(first.port)
        calls = dialling(first, dial=(Dialled("completed", 2), Dialled("busy", 1)))
        front.targets[:] = [second.port]
        first.kill()
        until(lambda: all(len(call.report.streams) == 3 for call in calls.calls), "the callers to be back twice")
        calls.talk(min(call.seconds for call in calls.calls) + 1.5)
        (report,) = calls.hang_up().result()
        assert second.log.count("not_carried call=") == 1
        assert second.errors == []
    assert press("29") in report.streams[2].heard_audio
    assert report.dialled == ["+14155550111"] * 2


def test_a_caller_comes_back_to_a_worker_that_drains(tmp_path):
    with (
        Balancer() as front,
        server("uvicorn", tmp_path, front, DRAIN_SECONDS="60") as first,
        server("uvicorn", tmp_path, front) as second,
    ):
        front.targets.append(first.port)
        calls = dialling(first, dial=(Dialled("completed", 6),))
        front.targets.append(second.port)
        first.send(signal.SIGTERM)
        until(lambda: first.shake_hands() in (403, 503), "new sockets to be refused")
        heard_again(calls, "1")
        assert first.wait() == -signal.SIGTERM
    assert (streams(), owners()) == (["dial", "stop"], 1)


def test_a_worker_that_is_gone_when_its_drain_is_over_waits_for_nobody(tmp_path):
    with Balancer() as front, server("uvicorn", tmp_path, front) as first, server("uvicorn", tmp_path, front) as second:
        front.targets.append(first.port)
        calls = dialling(first, dial=(Dialled("completed", 3), Dialled("busy", 1)))
        front.targets[:] = [second.port]
        first.send(signal.SIGTERM)
        assert first.wait() == -signal.SIGTERM
        assert first.errors == []
        until(lambda: all(len(call.report.streams) == 3 for call in calls.calls), "the callers to be back twice")
        calls.talk(min(call.seconds for call in calls.calls) + 1.5)
        (report,) = calls.hang_up().result()
    assert press("29") in report.streams[2].heard_audio


def test_a_worker_that_carries_ends_its_sockets_when_it_ends(tmp_path):
    with Balancer() as front, server("uvicorn", tmp_path, front) as first, server("uvicorn", tmp_path, front) as second:
        front.targets.append(first.port)
        calls = dialling(first, dial=(Dialled("completed", 2), Dialled("busy", 1)))
        front.targets[:] = [second.port]
        until(lambda: all(len(call.report.streams) == 2 for call in calls.calls), "the callers to be back")
        calls.talk(calls.calls[0].seconds + 0.5)
        front.targets[:] = [first.port]
        second.send(signal.SIGTERM)
        assert second.wait() == -signal.SIGTERM
        assert second.errors == []
        until(lambda: all(len(call.report.streams) == 4 for call in calls.calls), "the callers to be connected again")
        calls.talk(calls.calls[0].seconds + 1.5)
        (report,) = calls.hang_up().result()
    assert report.errors == []
    assert press("29") in report.streams[3].heard_audio
    assert streams() == ["dial", "disconnect", "dial", "stop"]


def test_a_carried_call_survives_the_death_of_the_worker_that_it_is_carried_to(tmp_path):
    with Balancer() as front, server("uvicorn", tmp_path, front) as first, server("uvicorn", tmp_path, front) as second:
        front.targets.append(first.port)
        calls = dialling(first, dial=(Dialled("completed", 2), Dialled("busy", 1)))
        front.targets[:] = [second.port]
        until(lambda: all(len(call.report.streams) == 2 for call in calls.calls), "the callers to be back")
        calls.talk(calls.calls[0].seconds + 0.5)
        first.kill()
        until(lambda: all(len(call.report.streams) == 4 for call in calls.calls), "the callers to be connected again")
        calls.talk(calls.calls[0].seconds + 1.5)
        (report,) = calls.hang_up().result()
        assert second.errors == []
    assert press("29") in report.streams[3].heard_audio
