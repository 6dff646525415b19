"""The example handler, called in memory: `pytest handlers`. No server, no database, no Twilio account."""

from calls.handlers import sound
from calls.rehearsal import HandlerPhone
from handlers.pizza import pizza


pytest_plugins = ["calls.testing"]


async def test_a_key_is_thanked_for(phone: HandlerPhone) -> None:
    call = await phone.call(pizza, keys="1")
    assert call.ok
    assert call.has_heard(sound("thanks"))
    assert call.ended_by == "server"


async def test_a_key_interrupts_the_greeting(phone: HandlerPhone) -> None:
    call = await phone.call(pizza, keys=[(1.0, "1")])
    assert call.clears == 1
    assert call.heard_at_ms(sound("thanks")) < 1200


async def test_who_presses_nothing_hears_an_apology(phone: HandlerPhone) -> None:
    call = await phone.call(pizza, seconds=30)
    assert call.has_heard(sound("apology"))
