"""Handlers that are called in memory: all of Callstream but the server, and the database only if it is asked for."""

import asyncio
import time
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import TestCase

from calls import handlers
from calls.handlers import NotAHandler, echo, handler
from calls.media.audio import tone
from calls.models import AudioChunk, Call
from calls.recorder import recorder
from calls.rehearsal import HandlerPhone
from simulator.dialled import Dialled


A, B = tone(440, 1000), tone(350, 1000)
CALLER = Path(__file__).parent.parent / "calls/sounds/caller.wav"


class TestDjangosOwn(TestCase):
    async def test_a_handler_has_the_transaction_of_its_test(self):
        async def greet(stream):
            stream.set(users=[user.username async for user in User.objects.all()])
            await stream.play(A)

        await User.objects.acreate(username="ada")
        with HandlerPhone() as phone:
            assert (await phone.call(greet)).data == {"users": ["ada"]}


@pytest.fixture
def phone(process):
    with HandlerPhone() as phone:
        yield phone


async def test_what_a_handler_plays_after_a_second_is_heard_at_sample_8000(phone):
    async def late(stream):
        await asyncio.sleep(1.0)
        await stream.play(A)

    call = await phone.call(late)
    assert call.ok
    assert call.heard_at_ms(A) == 1000
    assert call.heard[8000:16000] == A


async def test_a_minute_of_echo_has_3000_frames(phone):
    call = await phone.call(echo, says=tone(440, 60_000), seconds=60)
    assert call.report.streams[0].frames_sent == 3000
    assert call.heard[: 59 * 8000] == call.said[: 59 * 8000]


async def test_a_handler_is_called_by_its_name_too(phone, settings):
    settings.STREAM_HANDLERS = {"pizza": "handlers.pizza.pizza"}
    assert (await phone.call("pizza", keys="1")).has_heard(handlers.sound("thanks"))


async def test_what_a_handler_writes_down_is_told(phone):
    async def order(stream):
        stream.set(order="A-17", amount=11)
        stream.note("asked for a refund")
        stream.set(amount=12)
        await stream.play(A)

    call = await phone.call(order)
    assert call.data == {"order": "A-17", "amount": 12}
    assert call.notes == ["asked for a refund"]


async def test_what_a_handler_raises_is_told_from_its_own_line_on(phone):
    async def fail(stream):
        raise LookupError("no such pizza")

    call = await phone.call(fail)
    assert isinstance(call.handler_error, LookupError)
    assert not call.ok
    assert call.errors[0].startswith("the handler raised:\nTraceback")
    assert call.handler_trace.count("File") == 1


async def test_a_handler_whose_caller_hangs_up_has_not_failed(phone):
    async def talk_on(stream):
        while True:
            await stream.play(A)

    call = await phone.call(talk_on, seconds=2.5)
    assert call.ok
    assert call.handler_error is None


async def test_a_handler_that_returns_at_once_is_told_so(phone):
    async def forget(stream):
        pass

    assert "the handler returned at once" in (await phone.call(forget)).story()


async def test_what_a_handler_declares_holds(phone):
    async def warm_up(call):
        return call.from_number

    @handler(prepare=warm_up)
    async def prepared(stream):
        stream.set(prepared=stream.prepared)
        await stream.play(A)

    assert (await phone.call(prepared, from_number="+14155550123")).data == {"prepared": "+14155550123"}


async def test_a_handler_is_told_what_its_call_was_placed_with(phone):
    async def read(stream):
        stream.set(**stream.parameters)
        await stream.play(A)

    assert (await phone.call(read, parameters={"order": "A-17"})).data == {"order": "A-17"}


async def test_a_handler_hears_the_same_turns_each_time(phone):
    async def answer(stream):
        async for turn in stream.speech():
            stream.note(f"{turn.start_ms} {len(turn.audio)}")
            await stream.play(B)

    calls = [await phone.call(answer, says=[CALLER, 3.0, CALLER]) for _ in range(2)]
    assert calls[0].notes
    assert calls[0].notes == calls[1].notes
    assert calls[0].heard == calls[1].heard
    assert 400 < calls[0].response_ms < 1100


async def test_a_caller_who_is_sent_to_somebody_else_comes_back(phone):
    async def connect(stream):
        dialled = await stream.dial("+14155550177")
        stream.set(status=dialled.status)
        await stream.play(A)

    call = await phone.call(connect, seconds=20)
    assert call.ok
    assert call.report.dialled == ["+14155550177"]
    assert call.data == {"status": "completed"}
    assert call.has_heard(A)


@pytest.mark.parametrize("dial", ["busy", "busy:1", ["busy"], Dialled("busy")])
async def test_what_becomes_of_a_number_that_is_dialled_is_said_in_a_word(phone, dial):
    async def connect(stream):
        stream.set(status=(await stream.dial("+14155550177")).status)

    assert (await phone.call(connect, dial=dial)).data == {"status": "busy"}


async def test_a_handler_that_blocks_the_loop_is_late(phone):
    async def block(stream):
        time.sleep(1)  # noqa: ASYNC251
        await stream.play(A)

    assert (await phone.call(block)).heard_at_ms(A) >= 1000


async def test_a_handler_with_work_in_a_thread_is_not(phone):
    async def work(stream):
        await asyncio.to_thread(time.sleep, 0.05)
        await stream.play(A)

    assert (await phone.call(work)).heard_at_ms(A) == 0


async def test_calls_at_once_may_be_of_handlers_of_one_name(phone):
    def make(audio):
        async def talk(stream):
            await stream.play(audio)

        return talk

    first, second = await asyncio.gather(phone.call(make(A)), phone.call(make(B)))
    assert [first.has_heard(A), first.has_heard(B)] == [True, False]
    assert [second.has_heard(A), second.has_heard(B)] == [False, True]


async def test_a_name_that_is_no_handlers_is_told_so(phone):
    with pytest.raises(NotAHandler, match="there is no handler 'pizzza'; there are echo"):
        await phone.call("pizzza")


async def test_what_is_no_coroutine_is_no_handler(phone):
    with pytest.raises(NotAHandler, match="not a coroutine"):
        await phone.call(lambda stream: None)


async def test_settings_without_an_account_are_told_so(settings):
    settings.TWILIO_AUTH_TOKENS = []
    with pytest.raises(ImproperlyConfigured, match="TWILIO_AUTH_TOKEN"):
        HandlerPhone()


async def test_afterwards_nothing_is_left(phone):
    call = asyncio.create_task(phone.call(echo, says=A))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait({call})
    assert (recorder.stand_in, handlers.REHEARSED) == (None, {})


async def test_calls_at_once_are_all_recorded_or_none(phone):
    calls = phone.call(echo, says=A), phone.call(echo, says=A, records=True)
    first, second = await asyncio.gather(*calls, return_exceptions=True)
    assert first.ok
    assert "either all" in str(second)


@pytest.mark.django_db(transaction=True)
async def test_a_call_that_is_recorded_is_in_the_database(phone):
    async def order(stream):
        stream.set(order="A-17")
        await stream.play(A)

    call = await phone.call(order, records=True)
    row = await Call.objects.aget(sid=call.sid)
    assert (row.status, row.data) == ("completed", {"order": "A-17"})
    assert await AudioChunk.objects.filter(stream__call=row, track="outbound").aexists()


@pytest.mark.django_db(transaction=True)
async def test_a_call_is_not_recorded_without_being_asked_for(phone, caplog):
    assert (await phone.call(echo, says=A)).ok
    assert not await Call.objects.aexists()
    assert [record.message for record in caplog.records if record.levelname != "INFO"] == []


@pytest.mark.django_db(transaction=True)
async def test_a_handler_finds_the_row_of_its_call(phone):
    async def look(stream):
        stream.set(handler=(await Call.objects.aget(sid=stream.call_sid)).handler)
        await stream.play(A)

    assert (await phone.call(look, records=True)).data == {"handler": "look"}


@pytest.mark.django_db(transaction=True)
async def test_a_handler_has_the_database_of_its_test(phone):
    async def greet(stream):
        stream.set(users=[user.username async for user in User.objects.all()])
        await stream.play(A)

    await User.objects.acreate(username="ada")
    assert (await phone.call(greet)).data == {"users": ["ada"]}
