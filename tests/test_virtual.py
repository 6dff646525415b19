"""Time that jumps, on the loop that runs."""

import asyncio
import threading
import time
from contextlib import suppress
from functools import partial

import pytest

from simulator import virtual
from simulator.virtual import NoVirtualTime, clock_of_running_loop, virtual_time


REAL = time.monotonic


async def test_a_wait_takes_no_time_and_is_exact():
    began = REAL()
    with virtual_time():
        await asyncio.sleep(0)
        at = time.monotonic()
        await asyncio.sleep(3600)
        assert time.monotonic() - at == 3600
    assert REAL() - began < 3600


async def test_time_stands_still_while_something_runs():
    with virtual_time():
        await asyncio.sleep(0)
        at = time.monotonic()
        sum(range(100_000))
        await asyncio.sleep(0)
        assert (time.monotonic(), asyncio.get_running_loop().time()) == (at, at)


async def test_of_timers_for_one_moment_the_first_set_runs_first():
    ran = []
    with virtual_time():
        at = asyncio.get_running_loop().time() + 1
        for number in range(50):
            asyncio.get_running_loop().call_at(at, ran.append, number)
        await asyncio.sleep(2)
    assert ran == list(range(50))


async def test_the_same_waits_take_the_same_time_whenever_they_are():
    async def waits():
        at = time.monotonic()
        for _ in range(50):
            await asyncio.sleep(0.1)
        return time.monotonic() - at

    with virtual_time():
        await asyncio.sleep(0)
        first = await waits()
        await asyncio.sleep(1_000_003)
        assert await waits() == first


async def test_time_waits_for_a_thread():
    with virtual_time():
        await asyncio.sleep(0)
        at = time.monotonic()
        await asyncio.wait_for(asyncio.to_thread(partial(threading.Event().wait, 0.05)), timeout=0.001)
        assert time.monotonic() == at


async def test_a_thread_has_the_machines_own_time():
    with virtual_time():
        await asyncio.sleep(1000)
        there = await asyncio.to_thread(time.monotonic)
        assert time.monotonic() - there > 900


async def test_a_thread_that_waits_for_time_gets_it(monkeypatch):
    monkeypatch.setattr(virtual, "THREAD_PATIENCE", 0.05)
    over = threading.Event()
    with virtual_time() as clock:
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, over.set)
        assert await asyncio.to_thread(over.wait, 60)
        assert "in a thread" in clock.held_by


async def test_while_a_connection_is_open_time_runs_as_anybodys():
    async def answer(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        with virtual_time() as clock:
            at, began = time.monotonic(), REAL()
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await asyncio.sleep(0.05)
            assert time.monotonic() - at < REAL() - began + 0.125 + 0.01  # it begins at an eighth of a second
            writer.close()
            await writer.wait_closed()
    assert "connection" in clock.held_by


async def test_a_socket_that_only_listens_holds_up_nobody():
    async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0):
        with virtual_time() as clock:
            await asyncio.sleep(3600)
    assert clock.held_by == ""


async def test_who_blocks_the_loop_lets_time_pass():
    with virtual_time():
        await asyncio.sleep(0)
        at = time.monotonic()
        time.sleep(5)  # noqa: ASYNC251 - this is what a handler must not do
        assert time.monotonic() - at == 5


async def test_who_waits_for_time_without_a_wait_gets_it():
    with virtual_time():
        at = time.monotonic()
        while time.monotonic() < at + 2:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_who_waits_for_time_and_holds_up_the_loop_gets_it_too():
    with virtual_time():
        await asyncio.sleep(0)
        at = time.monotonic()
        while time.monotonic() < at + 2:
            pass


async def test_afterwards_everything_is_as_it_was():
    loop = asyncio.get_running_loop()
    before = (time.monotonic, time.sleep, asyncio.wrap_future, loop._selector.select)
    with suppress(ZeroDivisionError), virtual_time():
        await asyncio.sleep(1)
        raise ZeroDivisionError
    assert before == (time.monotonic, time.sleep, asyncio.wrap_future, loop._selector.select)
    assert abs(loop.time() - REAL()) < 60


async def test_a_cancelled_call_gives_the_time_back():
    async def call():
        with virtual_time():
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert time.monotonic is REAL


async def test_between_calls_time_runs_on_from_where_it_was():
    clock = clock_of_running_loop()
    try:
        with clock.running():
            await asyncio.sleep(1000)
            at = time.monotonic()
        assert at <= time.monotonic() < at + 500
    finally:
        clock.remove()


async def test_what_still_waits_is_not_late_when_the_time_is_given_back():
    over = asyncio.Event()
    with virtual_time():
        await asyncio.sleep(10_000)
        asyncio.get_running_loop().call_later(0.01, over.set)
    await asyncio.wait_for(over.wait(), 60)


async def test_who_is_within_already_shares_the_clock():
    with virtual_time() as outer:
        with virtual_time() as inner:
            await asyncio.sleep(1)
        await asyncio.sleep(1000)
        assert inner is outer


def test_a_loop_of_another_kind_is_told_so():
    uvloop = pytest.importorskip("uvloop")

    async def call():
        with virtual_time():
            pass

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(NoVirtualTime, match="uvloop"):
        runner.run(call())
