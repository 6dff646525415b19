"""One clock for the frames of all calls: what is due at a tick is done then, in its order."""

import asyncio
from array import array

from simulator.pacer import TICKS, Lateness, Pacer


async def test_what_is_due_at_one_tick_is_done_in_the_order_in_which_it_was_asked_for():
    pacer, done, over = Pacer.running(), [], asyncio.Event()
    tick = pacer.next_tick() + 5
    for name in "abc":
        pacer.at(tick, lambda name=name: done.append(name))
    pacer.at(tick, over.set)
    await over.wait()
    assert done == ["a", "b", "c"]


async def test_nothing_is_done_before_its_tick():
    pacer, loop = Pacer.running(), asyncio.get_running_loop()
    tick, struck = pacer.next_tick() + 20, loop.create_future()
    pacer.at(tick, lambda: struck.set_result(loop.time()))
    # A timer may go off as much too early as the clock is coarse.
    assert await struck >= tick / TICKS - 1e-6


async def test_a_tick_that_is_over_is_made_up_for_at_once():
    pacer, over = Pacer.running(), asyncio.Event()
    pacer.at(pacer.next_tick() - 1000, over.set)
    await over.wait()


async def test_a_loop_has_one_pacer():
    assert Pacer.running() is Pacer.running()


def test_lateness_is_told_in_milliseconds():
    late = Lateness.of(array("f", [n / 1000 for n in range(101)]))
    assert late == Lateness(frames=101, p50_ms=50.0, p99_ms=99.0, worst_ms=100.0)


def test_a_call_without_a_frame_was_not_late():
    assert Lateness.of(array("f")) == Lateness(0, 0.0, 0.0, 0.0)
