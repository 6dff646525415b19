"""The handler `realtime`, with a caller at one end and a service at the other that says OpenAI Realtime's events."""

import asyncio
import shutil
import subprocess
import sys
from base64 import b64decode
from http import HTTPStatus

import pytest

from calls import handlers
from calls import realtime as module
from calls.handlers import ExpectedCall
from calls.media.rows import EventRow
from calls.realtime import RealtimeError, open_early, realtime
from tests.support.line import payload
from tests.support.model import ERROR, SPEECH_STARTED, SPEECH_STOPPED, TRANSCRIPT, Model
from tests.support.phone import CALL, QUIET, STREAM, Phone, begin, done


CALLING = ExpectedCall(CALL, "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978", "+14155550100", "+14155550199", "inbound", {}, 0)
A, B, C = b"\x21" * 8000, b"\x22" * 8000, b"\x23" * 8000


@pytest.fixture(autouse=True)
async def model(settings):
    async with Model() as model:
        settings.REALTIME_URL, settings.REALTIME_KEY = model.url, "sk-squirrel"
        settings.REALTIME_INSTRUCTIONS, settings.REALTIME_VOICE = "Take orders for pizza.", "marin"
        settings.REALTIME_TRANSFER_TO = {}
        yield model


class Talk:
    """A caller with the model: the phone, the model's session, and the handler's task."""

    def __init__(self, phone):
        self.phone = phone
        self.handling = begin(realtime(phone.stream))

    async def connect(self, model):
        self.session = await model.session()
        self.update, self.hint = await self.session.opened()

    async def end(self):
        self.phone.hang_up()
        await done(self.handling)

    def audio(self):
        return b"".join(payload(message) for message in self.phone.sent if message["event"] == "media")

    async def sounds(self, audio):
        """Waits until so much was sent to Twilio."""
        while len(self.audio()) < len(audio):
            await self.phone.heard("media")
        assert self.audio() == audio

    def notes(self):
        return [row.data["text"] for row in self.phone.rows(EventRow) if row.kind == "note"]


@pytest.fixture
async def talk(model):
    talk = Talk(Phone())
    await talk.connect(model)
    yield talk
    if not talk.handling.done():
        await talk.end()
    await done(asyncio.wait({talk.handling}))


def logged(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "calls.realtime"]


# --- a session --------------------------------------------------------------------------------------------------------


async def test_a_session_begins_with_what_the_settings_say(talk):
    assert talk.session.key == "Bearer sk-squirrel"
    assert talk.hint == "A caller is on the line. Greet them."
    assert talk.update == {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "instructions": "Take orders for pizza.",
            "output_modalities": ["audio"],
            "audio": {
                "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
                "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
            },
            "tools": [
                {
                    "type": "function",
                    "name": "hang_up",
                    "description": "Ends the call, once the caller has heard what you have said. Say goodbye before.",
                    "parameters": {"type": "object", "properties": {}, "required": []},
                }
            ],
        },
    }


async def test_the_services_own_voice_is_left_to_it(model, settings):
    settings.REALTIME_VOICE = ""
    talk = Talk(Phone())
    await talk.connect(model)
    assert talk.update["session"]["audio"]["output"] == {"format": {"type": "audio/pcmu"}}
    await talk.end()


async def test_the_model_may_transfer_to_the_names_of_the_settings_and_sees_no_number(model, settings):
    settings.REALTIME_TRANSFER_TO = {"sales": "+14155550123", "support": "+14155550124"}
    talk = Talk(Phone())
    await talk.connect(model)
    assert talk.update["session"]["tools"][1]["parameters"] == {
        "type": "object",
        "properties": {"to": {"type": "string", "enum": ["sales", "support"]}},
        "required": ["to"],
    }
    assert "+1415555012" not in str(talk.update)
    await talk.end()


async def test_a_call_that_was_connected_again_is_not_greeted(model):
    talk = Talk(Phone(resumed=1))
    await talk.connect(model)
    assert talk.hint.startswith("The line was interrupted and is back. Do not greet again")
    await talk.end()


async def test_a_session_that_was_opened_at_the_webhook_is_taken_with_what_it_has_said(model):
    phone = Phone()
    phone.live.prepared = await open_early(CALLING)
    session = await model.session()
    await session.answer(A)
    talk = Talk(phone)
    await talk.sounds(A)
    assert model.count == 1
    await talk.end()


async def test_a_session_that_cannot_be_opened_at_the_webhook_is_opened_when_the_stream_is_there(model):
    model.refusal = (HTTPStatus.SERVICE_UNAVAILABLE, "busy")
    phone = Phone()
    phone.live.prepared = await open_early(CALLING)
    model.refusal = None
    talk = Talk(phone)
    await talk.connect(model)
    await talk.end()


async def test_the_session_is_closed_when_the_caller_leaves(talk):
    await talk.end()
    await talk.session.gone()


# --- both ways --------------------------------------------------------------------------------------------------------


async def test_the_caller_is_heard_frame_by_frame(talk):
    frames = [bytes([value]) * 160 for value in (1, 2, 3)]
    for frame in frames:
        talk.phone.say(frame)
    await talk.session.heard(3)
    assert [b64decode(audio) for audio in talk.session.audio] == frames


async def test_what_the_model_says_is_heard_from_its_first_chunk_on(talk):
    await talk.session.begin()
    await talk.session.say(A)
    await talk.sounds(A)


async def test_the_older_names_of_the_events_are_known(talk):
    await talk.session.begin()
    await talk.session.say(A, kind="response.audio.delta")
    await talk.sounds(A)


async def test_a_second_item_is_heard_after_the_first(talk):
    await talk.session.answer(A, "msg_1", "resp_1")
    await talk.session.answer(B, "msg_2", "resp_2")
    await talk.sounds(A + B)


async def test_keys_are_told_together(talk):
    talk.phone.press("12")
    talk.phone.say(QUIET, times=50)
    talk.phone.press("3")
    talk.phone.say(QUIET, times=75)
    told = [await talk.session.told(), await talk.session.told()]
    assert told == [
        {
            "type": "conversation.item.create",
            "item": {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "The caller pressed 123."}],
            },
        },
        {"type": "response.create"},
    ]


async def test_keys_that_are_masked_are_not_told(talk, settings):
    settings.MASK_DTMF = True
    talk.phone.press("12")
    talk.phone.say(QUIET, times=75)
    await talk.phone.taken()
    settings.MASK_DTMF = False
    talk.phone.press("3")
    talk.phone.say(QUIET, times=75)
    told = await talk.session.told()
    assert told["item"]["content"] == [{"type": "input_text", "text": "The caller pressed 3."}]


async def test_an_event_that_is_unknown_or_lacks_something_is_left_out(talk):
    await talk.session.send('{"type":"response.output_audio.delta"}', '{"type":"response.done"}', '{"type":"new"}', "7")
    await talk.session.answer(A)
    await talk.sounds(A)


# --- interruption -----------------------------------------------------------------------------------------------------


async def interrupted(talk):
    """What the model is told of an interruption."""
    await talk.session.send(SPEECH_STARTED)
    return await talk.session.told()


async def test_what_the_caller_has_not_heard_is_cleared_and_forgotten_by_the_model(talk):
    await talk.session.answer(A * 3)
    await talk.sounds(A * 3)
    talk.phone.later(1240)
    told = await interrupted(talk)
    heard = told.pop("audio_end_ms")
    assert told == {"type": "conversation.item.truncate", "item_id": "msg_008", "content_index": 0}
    assert 1240 <= heard < 1740
    assert talk.phone.sent[-1] == {"event": "clear", "streamSid": STREAM}


async def test_the_model_learns_that_a_person_had_the_caller_who_has_not_heard_what_it_said_meanwhile(talk):
    await talk.phone.live.hold.begin(7, "anna")
    await talk.session.say(A)
    async with asyncio.timeout(8):
        while not talk.phone.live.speaking._unheard:  # noqa: ASYNC110 - the handler tells nobody that it has said it
            await asyncio.sleep(0.005)
    talk.phone.live.hold.end()
    told = [await talk.session.told() for _ in range(3)]
    assert [event["type"] for event in told] == [
        *("conversation.item.truncate", "conversation.item.create", "response.create")
    ]
    assert told[0]["audio_end_ms"] == 0
    assert "A colleague has just talked" in told[1]["item"]["content"][0]["text"]
    assert talk.audio() == b""


async def test_of_an_answer_that_waits_for_its_turn_nothing_was_heard(talk):
    await talk.session.answer(A * 2, "msg_1", "resp_1")
    await talk.session.answer(B, "msg_2", "resp_2")
    await talk.sounds(A * 2 + B)
    assert (await interrupted(talk))["item_id"] == "msg_1"
    second = await talk.session.told()
    assert (second["item_id"], second["audio_end_ms"]) == ("msg_2", 0)


async def test_late_audio_of_an_interrupted_response_is_not_heard_and_the_next_one_is(talk):
    await talk.session.begin("resp_1")
    await talk.session.say(A, "msg_1", "resp_1")
    await talk.sounds(A)
    await interrupted(talk)
    await talk.session.say(B, "msg_1", "resp_1")
    await talk.session.end(response="resp_1", status="cancelled")
    await talk.session.answer(C, "msg_2", "resp_2")
    await talk.sounds(A + C)


async def test_what_was_heard_to_its_end_is_not_truncated(talk):
    await talk.session.answer(A, "msg_1", "resp_1")
    await talk.sounds(A)
    talk.phone.later(2000)
    await talk.session.send(SPEECH_STARTED)
    await talk.session.answer(B, "msg_2", "resp_2")
    await talk.sounds(A + B)
    talk.phone.later(100)
    assert (await interrupted(talk))["item_id"] == "msg_2"
    assert [message["event"] for message in talk.phone.sent].count("clear") == 1


async def test_a_frame_that_was_filled_up_does_not_count_as_more_than_there_is(talk):
    await talk.session.begin()
    await talk.session.say(A[:1001])
    await talk.phone.heard("media")
    await talk.phone.heard("media")
    talk.phone.later(2000)
    assert (await interrupted(talk))["audio_end_ms"] == 125


# --- what the model may do --------------------------------------------------------------------------------------------


async def test_the_model_hangs_up_when_its_goodbye_has_been_heard(talk):
    await talk.session.begin()
    await talk.session.say(A)
    await talk.session.call("hang_up")
    await talk.phone.play_out()
    assert not talk.phone.stream.ended
    await talk.phone.play_out()
    await done(talk.handling)
    assert talk.phone.live.hung_up
    await talk.session.gone()


async def test_a_function_that_does_not_exist_is_answered(talk):
    await talk.session.call("order_pizza")
    assert await talk.session.told() == {
        "type": "conversation.item.create",
        "item": {
            "type": "function_call_output",
            "call_id": "call_oMfFnI1bWqy4nNLD",
            "output": "There is no order_pizza.",
        },
    }
    assert await talk.session.told() == {"type": "response.create"}


@pytest.mark.parametrize("arguments", ['{"to":"+19005550199"}', '{"to":["sales"]}', "{}", "[]", '{"to":', "sales"])
async def test_the_model_can_dial_nobody_but_those_who_are_named(talk, settings, arguments):
    settings.REALTIME_TRANSFER_TO = {"sales": "+14155550123"}
    await talk.session.call("transfer", arguments)
    assert (await talk.session.told())["item"]["output"] == "Nobody was called: `to` is one of sales."
    assert not talk.phone.stream.ended


async def test_half_a_call_of_an_interrupted_response_is_not_made(talk):
    await talk.session.end('{"type":"function_call","name":"hang_up","call_id":"c","arguments":""}', status="cancelled")
    await talk.session.answer(A)
    await talk.sounds(A)


async def test_an_answer_that_was_asked_for_too_early_is_asked_for_again(talk):
    await talk.session.call("order_pizza")
    await talk.session.told()
    await talk.session.told()
    await talk.session.send(ERROR % ("conversation_already_has_active_response", "Wait until it is finished"))
    await talk.session.end()
    assert await talk.session.told() == {"type": "response.create"}
    assert talk.notes() == []


# --- what goes wrong --------------------------------------------------------------------------------------------------


async def failed(talk):
    """The caller hears what was said, and the handler fails."""
    await talk.phone.play_out()
    await done(asyncio.wait({talk.handling}))
    return str(talk.handling.exception())


@pytest.mark.parametrize(
    ("status", "body"),
    [(HTTPStatus.UNAUTHORIZED, "Incorrect API key provided"), (HTTPStatus.NOT_FOUND, "no such model")],
)
async def test_a_refused_handshake_is_told_with_the_services_words(model, status, body):
    model.refusal = (status, body)
    assert await failed(Talk(Phone())) == f"REALTIME_URL answers {status.value}: {body}"


@pytest.mark.parametrize("code", ["invalid_api_key", "invalid_value"])
async def test_a_session_that_is_not_set_up_as_asked_says_nothing_since_it_would_be_noise(model, code):
    talk = Talk(Phone())
    session = await model.session()
    await session.send(ERROR % (code, "Not like that."))
    await session.answer(A)
    assert await failed(talk) == f"the session is refused: {code}: Not like that."
    assert talk.audio() == b""
    assert model.count == 1


async def test_a_service_that_is_not_there_is_told(settings):
    settings.REALTIME_URL = "ws://127.0.0.1:1/v1/realtime"
    assert (await failed(Talk(Phone()))).startswith("REALTIME_URL cannot be reached: ")


async def test_without_a_key_nobody_is_asked(model, settings):
    settings.REALTIME_KEY = ""
    assert await failed(Talk(Phone())) == "REALTIME_KEY is not set"
    assert model.count == 0


async def test_the_key_is_in_no_log_at_any_level(caplog, model):
    caplog.set_level("DEBUG")
    talk = Talk(Phone())
    await talk.connect(model)
    await talk.end()
    # The service of this test logs what it gets.
    assert "squirrel" not in "".join(
        r.getMessage() for r in caplog.records if not r.name.startswith("websockets.server")
    )


async def test_an_error_of_the_services_is_logged_and_noted_and_the_session_goes_on(talk, caplog):
    await talk.session.send(ERROR % ("invalid_value", "Audio content of 3700ms is already shorter than 3760ms"))
    await talk.session.answer(A)
    await talk.sounds(A)
    assert talk.notes() == ["The model: invalid_value: Audio content of 3700ms is already shorter than 3760ms"]
    assert logged(caplog) == [
        f"realtime_error call={CALL}: invalid_value: Audio content of 3700ms is already shorter than 3760ms"
    ]


FAILED = '{"type":"failed","error":{"type":"requests","code":"rate_limit_exceeded","message":"Try again in 1 s."}}'


async def test_a_response_that_failed_is_asked_for_again(talk, monkeypatch):
    monkeypatch.setattr(module, "RETRY", 0)
    await talk.session.end(status="failed", details=FAILED)
    assert await talk.session.told() == {"type": "response.create"}
    await talk.session.answer(A)
    await talk.session.end(status="failed", details="null")
    assert await talk.session.told() == {"type": "response.create"}
    assert talk.notes() == ["The model: rate_limit_exceeded: Try again in 1 s.", "The model: no reason was given"]


async def test_a_response_that_fails_twice_ends_the_call_with_its_reason(talk, monkeypatch):
    monkeypatch.setattr(module, "RETRY", 0)
    await talk.session.end(status="failed", details=FAILED)
    await talk.session.end(status="failed", details=FAILED)
    assert await failed(talk) == "no answer: rate_limit_exceeded: Try again in 1 s."


async def test_a_session_that_is_cut_in_mid_sentence_goes_on_in_another_one(talk, model, caplog):
    await talk.session.send(TRANSCRIPT % {"response": "resp_0", "item": "msg_0", "words": "Which pizza?"})
    await talk.session.begin()
    await talk.session.say(A)
    await talk.sounds(A)
    talk.session.cut()
    await talk.connect(model)
    assert talk.hint.endswith("You have said: Which pizza?")
    await talk.session.answer(B, "msg_1", "resp_1")
    await talk.sounds(A + B)
    talk.phone.say(QUIET)
    await talk.session.heard(1)
    assert talk.notes() == ["The connection to the model broke: no close frame received or sent"]
    assert logged(caplog) == [f"realtime_cut call={CALL}: no close frame received or sent"]


async def test_a_session_that_has_expired_goes_on_in_another_one(talk, model):
    await talk.session.answer(A)
    await talk.sounds(A)
    await talk.session.send(ERROR % ("session_expired", "Your session hit the maximum duration of 60 minutes."))
    await talk.session.socket.close(1001, "Your session hit the maximum duration of 60 minutes.")
    await talk.connect(model)
    assert talk.notes()[-1].startswith("The connection to the model broke: session_expired: Your session hit")


async def test_sessions_that_break_without_a_word_end_the_call(talk, model):
    talk.session.cut()
    await talk.connect(model)
    await talk.session.send(ERROR % ("server_error", "The server had an error."))
    await talk.session.socket.close(1011, "server_error")
    assert await failed(talk) == "the model is gone: server_error: The server had an error."


async def test_if_the_service_is_gone_for_good_what_it_said_is_heard_first(talk, model):
    await talk.session.begin()
    await talk.session.say(A)
    await talk.sounds(A)
    model.refusal = (HTTPStatus.SERVICE_UNAVAILABLE, "down")
    talk.session.cut()
    await talk.phone.heard("mark")
    assert (await talk.phone.heard("mark"))["mark"]["name"] == "callstream:1"
    assert not talk.handling.done()
    talk.phone.return_mark("callstream:0")
    talk.phone.return_mark("callstream:1")
    with pytest.raises(RealtimeError, match="503: down"):
        await done(talk.handling)
    assert talk.audio() == A


async def test_a_slow_answer_is_noted_and_heard(talk, monkeypatch, caplog):
    monkeypatch.setattr(module, "SLOW", 0.05)
    await talk.session.send(SPEECH_STOPPED)
    while not (notes := talk.notes()):  # noqa: ASYNC110 - a note comes without an event
        await asyncio.sleep(0.01)
    await talk.session.answer(A)
    await talk.sounds(A)
    assert notes == ["The model has not answered for 0.05 s"]
    assert logged(caplog) == [f"realtime_slow call={CALL}: no answer for 0.05 s"]


async def test_a_model_that_nobody_has_asked_anything_is_not_slow(talk, monkeypatch):
    monkeypatch.setattr(module, "SLOW", 0.02)
    await talk.session.answer(A)
    await talk.sounds(A)
    talk.notes()
    await asyncio.sleep(0.1)
    assert talk.notes() == []


async def test_a_caller_who_leaves_while_the_model_speaks_is_no_failure(talk):
    await talk.session.begin()
    await talk.session.say(A * 3)
    await talk.sounds(A * 3)
    await talk.end()


async def test_a_service_that_takes_nothing_costs_the_oldest_audio_and_holds_nothing_up(talk):
    talk.session.socket.transport.pause_reading()
    for _ in range(2000):
        talk.phone.say(b"\x20" * 16000)
        for _ in range(20):
            await asyncio.sleep(0)
    assert talk.phone.stream.overruns
    assert len(talk.phone.live.inbox) <= 100
    talk.session.socket.transport.resume_reading()


# --- where it is ------------------------------------------------------------------------------------------------------


LAZY = """
import django; django.setup()
import sys
from calls import handlers
assert "realtime" in handlers.names() and "calls.realtime" not in sys.modules
assert handlers.find("realtime").options.prepare and "calls.realtime" in sys.modules
"""


def test_it_is_imported_only_when_it_is_asked_for():
    done = subprocess.run([sys.executable, "-c", LAZY], env={"DJANGO_SETTINGS_MODULE": "tests.settings"}, text=True)
    assert done.returncode == 0


async def test_a_copy_of_it_is_a_handler_of_ones_own(model, settings, tmp_path, monkeypatch):
    shutil.copy(module.__file__, tmp_path / "luigi.py")
    monkeypatch.syspath_prepend(tmp_path)
    settings.STREAM_HANDLERS = {"luigi": "luigi.realtime"}
    phone = Phone()
    talk = begin(handlers.find("luigi")(phone.stream))
    await (await model.session()).answer(A)
    assert payload(await phone.heard("media")) == A[:3200]
    phone.hang_up()
    await done(talk)


def test_a_handler_of_yours_with_its_name_takes_its_place(settings):
    settings.STREAM_HANDLERS = {"realtime": "calls.handlers.echo"}
    assert handlers.find("realtime").talk is handlers.echo
