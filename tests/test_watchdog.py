"""A loop that stands still is seen: how long, at which line, in whose handler."""

import asyncio
import threading
import time

import pytest

from calls.process import watchdog
from calls.process.watchdog import Watchdog
from calls.server.preparations import ExpectedCall


class Seen:
    """What a watchdog tells."""

    def __init__(self):
        self.stalls = []
        self.stalled = asyncio.Event()
        self.hopeless = threading.Event()

    def stall(self, stall):
        self.stalls.append(stall)
        self.stalled.set()


@pytest.fixture
async def seen():
    seen = Seen()
    dog = Watchdog(seen.stall, seen.hopeless.set)
    dog.start()
    yield seen
    dog.stop()


async def test_the_line_that_holds_the_loop_is_named(seen, caplog):
    time.sleep(0.5)  # noqa: ASYNC251
    await seen.stalled.wait()
    (stall,) = seen.stalls
    assert stall.seconds > 0.25
    assert stall.place.startswith("tests/test_watchdog.py:")
    assert stall.place.endswith(" in test_the_line_that_holds_the_loop_is_named")
    assert f"s at {stall.place}; every call of this process waited" in caplog.text


async def test_a_line_that_waits_inside_a_library_is_named_and_not_the_library(seen):
    never = threading.Event()
    never.wait(0.5)
    await seen.stalled.wait()
    assert seen.stalls[0].place.startswith("tests/test_watchdog.py:")


async def test_a_call_that_is_prepared_for_is_named(seen):
    call = ExpectedCall("CA7b1e09d4c2a85f6390d1e4b7a2c8f056", "", "", "", "inbound", {}, 0)
    time.sleep(0.5)  # noqa: ASYNC251
    await seen.stalled.wait()
    assert seen.stalls[0].call_sid == call.call_sid


async def test_a_loop_that_only_waits_is_not_stalled(seen):
    await asyncio.sleep(0.5)
    assert seen.stalls == []


async def test_a_loop_that_does_not_move_again_is_hopeless(seen, monkeypatch):
    monkeypatch.setattr(watchdog, "HOPELESS", 0.5)
    # Nothing but the watchdog's own thread can end this.
    assert seen.hopeless.wait(10)


def test_a_loop_that_has_ended_is_not_hopeless(monkeypatch):
    monkeypatch.setattr(watchdog, "HOPELESS", 0.3)
    hopeless, before = threading.Event(), set(threading.enumerate())

    async def server():
        Watchdog(print, hopeless.set).start()

    asyncio.run(server())
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
    assert not hopeless.is_set()


async def test_while_it_lasts_a_long_stall_is_logged_with_its_whole_stack(seen, monkeypatch, caplog):
    monkeypatch.setattr(watchdog, "REPORTED", 0.3)
    never = threading.Event()
    while "loop_stands for more than" not in caplog.text:
        never.wait(0.1)
    assert "in test_while_it_lasts_a_long_stall_is_logged_with_its_whole_stack" in caplog.text


async def test_a_short_stall_of_another_line_is_another_line_of_the_log(seen, caplog):
    time.sleep(0.4)  # noqa: ASYNC251
    await seen.stalled.wait()
    seen.stalled.clear()
    time.sleep(0.4)  # noqa: ASYNC251
    await seen.stalled.wait()
    assert caplog.text.count("loop_blocked") == 2


async def test_many_short_stalls_are_one_line(seen, caplog):
    for _ in range(3):
        time.sleep(0.4)  # noqa: ASYNC251
        await seen.stalled.wait()
        seen.stalled.clear()
    assert len(seen.stalls) == 3
    assert caplog.text.count("loop_blocked") == 1
