"""Iterating over a stream in C: what a handler may do while it waits, and that nothing of it is lost or kept."""

import asyncio
import contextvars
import gc
import weakref

import pytest

from tests.support.phone import begin, done
from tests.support.quick import FRAME, QuickPhone, need_build


need_build()


async def park(coroutine):
    """A task that runs until it waits."""
    task = begin(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def arrive(phone, frames=None):
    """A frame comes as from a socket: not in a task."""
    done = asyncio.get_running_loop().create_future()

    def come():
        try:
            done.set_result(phone.hear(frames))
        except BaseException as error:
            done.set_exception(error)

    asyncio.get_running_loop().call_soon(come)
    await done


async def taken(phone, media, *, into):
    async for event in media:
        into.append(event)


async def test_who_waits_has_run_when_the_frame_has_been_taken():
    phone, heard, seen = QuickPhone.talking(), [], []
    await park(taken(phone, phone.stream, into=heard))
    asyncio.get_running_loop().call_soon(lambda: (phone.hear(), seen.append(len(heard))))
    await asyncio.sleep(0)
    assert seen == [1]


async def test_frames_of_one_read_come_one_after_the_other():
    phone, heard = QuickPhone.talking(), []
    await park(taken(phone, phone.stream, into=heard))
    await arrive(phone, phone.media() + phone.media() + phone.media())
    assert [media.timestamp for media in heard] == [40, 60, 80]


async def test_what_comes_within_a_task_goes_by_the_loop():
    phone, heard = QuickPhone.talking(), []
    await park(taken(phone, phone.stream, into=heard))
    phone.hear()
    assert heard == []
    await asyncio.sleep(0)
    assert len(heard) == 1


async def test_who_is_cancelled_while_waiting_loses_nothing():
    phone = QuickPhone.talking()
    task = await park(anext(aiter(phone.stream)))
    task.cancel()
    await arrive(phone)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(phone.live.inbox) == 1


async def test_who_is_cancelled_when_the_frame_is_there_loses_nothing():
    phone = QuickPhone.talking()
    task = await park(anext(aiter(phone.stream)))
    phone.hear()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(phone.live.inbox) == 1


async def test_a_cancelled_iterator_with_a_default_is_cancelled_too():
    phone = QuickPhone.talking()

    async def wait():
        return await anext(aiter(phone.stream), None)

    task = await park(wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_default_is_given_at_the_end():
    phone = QuickPhone.talking()
    phone.hang_up()
    assert await anext(aiter(phone.stream), "nothing") == "nothing"


async def test_the_next_event_can_be_a_task():
    phone = QuickPhone.talking()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(anext(aiter(phone.stream)))
        await asyncio.sleep(0)
        phone.hear()
    assert task.result().timestamp == 40


async def test_a_timeout_around_a_loop_ends_it():
    phone = QuickPhone.talking()

    async def handler():
        async with asyncio.timeout(0.001):
            await taken(phone, phone.stream, into=[])

    with pytest.raises(TimeoutError):
        await handler()
    phone.hear()
    assert len(phone.live.inbox) == 1


async def test_a_second_task_at_one_iterator_is_refused():
    phone = QuickPhone.talking()
    coming = aiter(phone.stream)
    first = await park(anext(coming))
    with pytest.raises(RuntimeError):
        await anext(coming)
    await arrive(phone)
    assert (await done(first)).timestamp == 40


async def test_a_second_task_does_not_take_a_cancellation_from_the_first():
    phone = QuickPhone.talking()
    coming = aiter(phone.stream)
    first = await park(anext(coming))
    first.cancel()
    with pytest.raises(RuntimeError):
        await anext(coming)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_second_task_does_not_take_a_wake_up_from_the_first():
    phone = QuickPhone.talking()
    coming = aiter(phone.stream)
    first = await park(anext(coming))
    phone.live.inbox.wake()
    with pytest.raises(RuntimeError):
        await anext(coming)
    await asyncio.sleep(0)
    await arrive(phone)
    assert (await done(first)).timestamp == 40


async def test_two_iterators_share_what_comes():
    phone, one, other = QuickPhone.talking(), [], []
    await park(taken(phone, phone.stream, into=one))
    await park(taken(phone, phone.stream, into=other))
    for _ in range(5):
        await arrive(phone)
        await asyncio.sleep(0)
    assert sorted(media.timestamp for media in one + other) == [40, 60, 80, 100, 120]


async def test_a_coroutine_that_is_closed_while_it_waits_waits_no_more():
    phone = QuickPhone.talking()
    coming = aiter(phone.stream)

    async def wait():
        return await anext(coming)

    left = wait()
    left.send(None)
    left.close()
    assert phone.live.inbox._waiters == []
    phone.hear()
    assert (await anext(coming)).timestamp == 40


async def test_who_waits_at_the_end_of_the_stream_is_told():
    phone, heard = QuickPhone.talking(), []
    task = await park(taken(phone, phone.stream, into=heard))
    phone.hang_up()
    await done(task)
    assert heard == []


async def test_after_the_end_there_is_nothing():
    phone = QuickPhone.talking()
    phone.hear()
    phone.hang_up()
    coming = aiter(phone.stream)
    assert (await anext(coming)).timestamp == 40
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(coming)


async def test_an_iterator_that_was_not_begun_reads_nothing():
    phone = QuickPhone.talking()
    coming = aiter(phone.stream)
    for _ in range(102):
        phone.hear()
    assert phone.stream.overruns == 0
    await anext(coming)
    phone.hear()
    phone.hear()
    assert phone.stream.overruns == 1


async def test_an_iterator_that_was_left_reads_nothing():
    phone = QuickPhone.talking()
    gc.disable()

    async def one():
        async for _ in phone.stream:
            break

    task = await park(one())
    await arrive(phone)
    await done(task)
    for _ in range(101):
        phone.hear()
    gc.enable()
    assert phone.stream.overruns == 0


async def test_an_iterator_that_was_closed_gives_nothing():
    phone = QuickPhone.talking()
    coming = aiter(phone.stream)
    phone.hear()
    await anext(coming)
    await coming.aclose()
    phone.hear()
    with pytest.raises(StopAsyncIteration):
        await anext(coming)
    assert phone.live.inbox._readers == 0


async def test_an_iterator_cannot_be_closed_while_a_task_waits():
    phone = QuickPhone.talking()
    coming = aiter(phone.stream)
    task = await park(anext(coming))
    with pytest.raises(RuntimeError):
        await coming.aclose()
    await arrive(phone)
    assert (await done(task)).timestamp == 40


async def test_the_tasks_context_is_kept():
    phone, name, seen = QuickPhone.talking(), contextvars.ContextVar("name", default=""), []

    async def handler():
        name.set("handler")
        async for _ in phone.stream:
            seen.append(name.get())

    await park(handler())
    await arrive(phone)
    assert seen == ["handler"]
    assert name.get() == ""


async def test_the_tasks_context_is_the_same_in_the_loop():
    phone, name, seen = QuickPhone.talking(), contextvars.ContextVar("name", default=""), []

    async def handler():
        async for _ in phone.stream:
            name.set("within the frame")
            await asyncio.sleep(0)
            seen.append(name.get())

    await park(handler())
    await arrive(phone)
    await asyncio.sleep(0)
    assert seen == ["within the frame"]


async def test_who_wants_audio_alone_gets_no_keys():
    phone = QuickPhone.talking()
    phone.press("5")
    phone.hear()
    assert (await anext(phone.stream.media())).payload == FRAME
    assert len(phone.live.inbox) == 0


async def test_who_waits_while_a_person_talks_hears_nothing():
    phone, heard = QuickPhone.talking(), []
    await park(taken(phone, phone.stream, into=heard))
    phone.live.inbox.hold()
    await asyncio.sleep(0)
    await arrive(phone)
    assert phone.left == []
    assert heard == []


async def test_a_context_that_is_entered_already_goes_by_the_loop():
    phone, heard, context = QuickPhone.talking(), [], contextvars.copy_context()
    task = asyncio.get_running_loop().create_task(taken(phone, phone.stream, into=heard), context=context)
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(phone.hear, context=context)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(heard) == 1
    task.cancel()


async def test_what_a_handler_raises_is_its_tasks():
    phone = QuickPhone.talking()

    async def handler():
        async for _ in phone.stream:
            raise ZeroDivisionError

    task = await park(handler())
    await arrive(phone)
    with pytest.raises(ZeroDivisionError):
        await task
    await arrive(phone)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_handler_that_exits_does_not_end_the_server():
    phone = QuickPhone.talking()

    async def handler():
        async for _ in phone.stream:
            raise SystemExit

    task = await park(handler())
    await arrive(phone)
    assert isinstance(task.exception(), SystemExit)


async def test_a_handler_may_cancel_itself():
    phone = QuickPhone.talking()

    async def handler():
        async for _ in phone.stream:
            asyncio.current_task().cancel()

    task = await park(handler())
    await arrive(phone, phone.media() + phone.media())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert phone.protocol.next_sequence == 5


async def test_a_handler_may_hang_up_within_a_frame():
    phone = QuickPhone.talking()

    async def handler():
        async for _ in phone.stream:
            await phone.stream.hang_up()

    task = await park(handler())
    await arrive(phone, phone.media() + phone.media())
    await done(task)
    assert phone.tape.frames_received == 3


async def test_a_handler_may_close_the_path_within_a_frame():
    phone = QuickPhone.talking()

    async def handler():
        async for _ in phone.stream:
            phone.live.path.close()

    await park(handler())
    frames = phone.media(), phone.media()
    await arrive(phone, b"".join(frames))
    assert phone.left == [frames[1]]


async def test_waits_may_be_gathered():
    phone = QuickPhone.talking()
    task = await park(gathered(phone))
    await arrive(phone)
    assert (await done(task))[0].timestamp == 40


async def gathered(phone):
    return await asyncio.gather(anext(aiter(phone.stream)), asyncio.sleep(0))


async def test_a_stream_is_freed_with_its_iterator():
    phone, heard = QuickPhone.talking(), []
    task = await park(taken(phone, phone.stream, into=heard))
    await arrive(phone)
    kept = [weakref.ref(phone.live), weakref.ref(phone.stream), weakref.ref(task)]
    phone.hang_up()
    await done(task)
    del phone, task
    await asyncio.sleep(0)
    gc.collect()
    assert [each() for each in kept] == [None, None, None]


async def test_a_stream_is_freed_whose_handler_still_waits():
    phone = QuickPhone.talking()
    coming = aiter(phone.stream)
    waiting = coming.__anext__()
    waiting.send(None)
    kept = weakref.ref(phone.live)
    del phone, coming, waiting
    gc.collect()
    assert kept() is None
