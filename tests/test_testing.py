"""The fixtures for your handlers, in tests of their own."""

import pytest
from asgiref.sync import sync_to_async

from calls import rest
from calls.models import Call
from handlers.pizza import pizza
from simulator import TwilioApi


pytest_plugins = ["calls.testing"]


async def test_a_phone_calls_a_handler(phone):
    async def greet(stream):
        await stream.play(b"\x20" * 800)

    assert (await phone.call(greet)).heard_at_ms(b"\x20" * 800) == 0


async def test_a_phones_calls_are_the_accounts(phone, twilio_api):
    call = await phone.call("echo", says=b"\x20" * 800)
    assert twilio_api.calls[call.sid].status == "completed"


async def test_the_settings_lead_to_the_api(twilio_api, settings):
    assert isinstance(twilio_api, TwilioApi)
    assert twilio_api.url == settings.TWILIO_API_URL


@pytest.mark.django_db(transaction=True)
async def test_a_handler_hangs_its_call_up_through_the_api(phone, twilio_api):
    async def other(stream):
        call = await Call.objects.aget(sid=stream.call_sid)
        await sync_to_async(rest.end_call)(call)
        async for _ in stream:
            pass

    call = await phone.call(other, records=True, seconds=60)
    assert "hung up on by the API" in call.report.ended


@pytest.mark.django_db(transaction=True)
async def test_a_call_that_was_placed_is_answered(phone, twilio_api):
    async def ask(stream):
        stream.set(**stream.parameters, direction=stream.direction)
        await stream.play(b"\x20" * 800)

    placed = await sync_to_async(rest.place_call)("+14155550123", handler="ask", parameters={"order": "A-17"})
    call = await phone.answer(handler=ask)
    assert call.ok
    assert call.data == {"order": "A-17", "direction": "outbound-api"}
    assert (await Call.objects.aget(pk=placed.pk)).status == "completed"


@pytest.mark.django_db(transaction=True)
async def test_a_call_that_nobody_answers_is_known_to_have_been_in_vain(phone, twilio_api):
    placed = await sync_to_async(rest.place_call)("+14155550123", handler="echo")
    await phone.answer("busy")
    assert (await Call.objects.aget(pk=placed.pk)).status == "busy"


async def test_who_has_placed_no_call_is_told_so(phone, twilio_api):
    with pytest.raises(LookupError, match="no call waits"):
        await phone.answer()


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
async def test_a_server_process_is_called(callstream_server):
    call = await callstream_server(pizza).call(pizza, keys=[(0.5, "1")])
    assert call.ok
    assert call.clears == 1
    assert call.ended_by == "server"
