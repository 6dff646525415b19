"""A worker is asked to take no new calls, does that, and is taken back: by the command, and in the process."""

import asyncio
import datetime as dt
import socket

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from calls.models import Worker
from calls.recorder import recorder
from calls.recorder.attendance import DrainOrder
from calls.server.draining import Orders
from calls.server.switchboard import Switchboard
from tests.support.factories import make_worker


GONE = dt.timedelta(seconds=15)
ORDER = DrainOrder(timezone.now(), None)


@pytest.fixture(autouse=True)
def recorder_of_the_process(monkeypatch):
    """A switchboard of a test's own takes it over, and gives it back."""
    monkeypatch.setattr(recorder, "on_refused", recorder.on_refused)


@pytest.fixture
def workers(db):
    return [make_worker("web-1"), make_worker("web-2"), make_worker("web-3", seen_at=timezone.now() - GONE)]


def asked():
    return list(Worker.objects.exclude(drain_asked_at=None).values_list("host", "drain_seconds"))


def drain(*words):
    call_command("drain", *words)


def test_a_worker_is_asked_by_its_name(workers):
    drain("web-1:7")
    assert asked() == [("web-1", None)]
    assert Worker.objects.get(host="web-1").drain_asked_by == "manage.py drain"


@pytest.mark.parametrize(("words", "seconds"), [(["--now"], 0), (["--seconds", "60"], 60)])
def test_its_calls_can_be_handed_on(workers, words, seconds):
    drain("web-1", *words)
    assert asked() == [("web-1", seconds)]


def test_those_of_this_host_are_meant_by_here(workers):
    make_worker(socket.gethostname(), pid=8)
    drain("--here")
    assert asked() == [(socket.gethostname(), None)]


REFUSED = {
    ("web-9",): "There is no worker web-9. Those that run: web-1:7, web-2:7.",
    ("web-3",): "web-3 is not there any more: last heard of at ",
    ("web-1", "web-2"): "No worker would take new calls any more. Start another one first, or say --all",
    ("--cancel",): "Take which workers back?",
    ("--now",): "Drain which workers? Name them",
    ("--wait", "5"): "Drain which workers? Name them",
    ("--cancel", "--all", "--now"): "--cancel takes nothing but the workers.",
    ("--all", "web-1"): "--all is all of them: name no others.",
}


def test_what_cannot_be_done_is_said_and_nothing_is(workers):
    for words, why in REFUSED.items():
        with pytest.raises(CommandError) as refused:
            drain(*words)
        assert str(refused.value).startswith(why)
    assert asked() == []


def test_the_last_one_that_takes_calls_is_not_drained_unless_that_is_meant(workers):
    drain("web-1")
    with pytest.raises(CommandError, match="No worker would take new calls any more"):
        drain("web-2")
    drain("--all")
    assert [host for host, _ in asked()] == ["web-1", "web-2"]


def test_a_worker_is_taken_back(workers):
    drain("web-1")
    drain("web-1", "--cancel")
    assert asked() == []


@pytest.mark.parametrize(
    ("facts", "ends"),
    [
        ({"draining": True, "streams": 0}, None),
        ({"draining": True, "streams": 2}, "2 calls left after 0 s. They go on."),
        # It has not read the order: another call may come.
        ({"draining": False, "streams": 0}, "0 calls left after 0 s. They go on."),
    ],
)
def test_waiting_ends_well_once_no_call_is_left(workers, facts, ends, capsys):
    Worker.objects.filter(host="web-1").update(**facts)
    if ends is None:
        return drain("web-1", "--wait", "0")
    with pytest.raises(CommandError, match=ends):
        drain("web-1", "--wait", "0")


# --- the worker -------------------------------------------------------------------------------------------------------


@pytest.fixture
def soon(monkeypatch):
    """The proxy has noticed at once."""
    monkeypatch.setattr("calls.server.switchboard.NOTICE", 0.0)
    monkeypatch.setattr("calls.server.draining.NOTICE", 0.0)


async def until(condition):
    """Lets the loop go on until that holds; nothing here waits for anybody else."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never does")


async def test_a_process_does_as_it_is_asked_and_is_taken_back(soon, caplog):
    board = Switchboard()
    orders = Orders(asyncio.get_running_loop(), board)
    orders.obey(ORDER)
    await until(lambda: "drain_empty" in caplog.text)
    assert board.draining
    orders.obey(ORDER)
    orders.obey(None)
    assert (board.leaving, board.draining) == (False, False)
    said = [line.getMessage() for line in caplog.records if line.name == "calls.server.draining"]
    assert said == ["drain_asked active=0 limit=none", "drain_empty cut=0", "drain_called_off active=0"]


async def test_one_that_is_called_off_while_calls_run_takes_calls_again(soon):
    board = Switchboard()
    board._all_gone = asyncio.Event().wait
    orders = Orders(asyncio.get_running_loop(), board)
    orders.obey(ORDER)
    await until(lambda: board.draining)
    orders.obey(None)
    assert (board.leaving, board.draining) == (False, False)


async def test_a_process_that_ends_takes_no_orders_any_more(soon):
    board = Switchboard()
    orders = Orders(asyncio.get_running_loop(), board)
    orders.close()
    orders.obey(ORDER)
    await asyncio.sleep(0)
    assert not board.leaving


async def test_a_drained_process_that_is_to_end_waits_for_no_proxy():
    board = Switchboard()
    board.draining = True
    async with asyncio.timeout(1):
        assert await board.drain(60, asyncio.Event()) == 0
