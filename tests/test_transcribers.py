"""What the presets say to their services, and what they make of the answers; each answer is literal."""

import asyncio
import json

import msgspec
import pytest

from calls.media.reel import Missing
from calls.media.transcript import Heard
from calls.speech import deepgram, vosk
from calls.speech.sockets import connected, sending
from calls.speech.transcribers import Refused, find
from calls.speech.transcription import few
from tests.support.transcribers import REFUND, Deepgram, Vosk


FINAL = (
    '{"type":"Results","channel_index":[0,1],"duration":2.1,"start":4.0,"is_final":true,"speech_final":true,'
    '"channel":{"alternatives":[{"transcript":"I want a refund.","confidence":0.98,"words":['
    '{"word":"i","start":4.2,"end":4.3,"confidence":0.99,"punctuated_word":"I"},'
    '{"word":"want","start":4.3,"end":4.6,"confidence":0.99},'
    '{"word":"a","start":4.6,"end":4.7,"confidence":0.97,"punctuated_word":"a"},'
    '{"word":"refund","start":4.7,"end":5.3,"confidence":0.96,"punctuated_word":"refund."}]}]}}'
)
SILENT = (
    '{"type":"Results","duration":3.0,"start":6.0,"is_final":true,'
    '"channel":{"alternatives":[{"transcript":"","confidence":0,"words":[]}]}}'
)


async def pieces(*audio):
    for piece in audio:
        yield piece


@pytest.fixture
async def service(settings):
    async with Deepgram().running() as service:
        settings.TRANSCRIBER_URL, settings.TRANSCRIBER_KEY = service.url, "the key"
        yield service


# --- Deepgram ---------------------------------------------------------------------------------------------------------


def test_a_final_result_is_what_was_said_with_its_punctuation():
    words = [("I", 4.2, 4.3), ("want", 4.3, 4.6), ("a", 4.6, 4.7), ("refund.", 4.7, 5.3)]
    assert deepgram.read(FINAL) == Heard("I want a refund.", 4.2, 5.3, words)


def test_a_result_without_words_says_that_nobody_spoke():
    assert deepgram.read(SILENT) == Heard("", 6.0, 9.0)


@pytest.mark.parametrize(
    "text",
    [
        FINAL.replace('"is_final":true', '"is_final":false'),
        '{"type":"Metadata","request_id":"8479"}',
        '{"type":"SpeechStarted","timestamp":1.0}',
    ],
)
def test_what_may_still_change_and_what_is_about_something_else_is_passed_over(text):
    assert deepgram.read(text) is None


def test_a_result_without_alternatives_is_silence():
    assert deepgram.read('{"type":"Results","start":1,"duration":1,"is_final":true,"channel":{}}') == Heard("", 1, 2)


@pytest.mark.parametrize("text", ["<html>", "{}", '{"type":"Results"}', "[]", b"\xff"])
def test_what_is_no_message_is_an_error(text):
    with pytest.raises(msgspec.DecodeError):
        deepgram.read(text)


async def test_it_asks_for_mulaw_with_the_key_and_keeps_what_the_address_says(service, settings):
    settings.TRANSCRIBER_LANGUAGE = "de"
    assert [heard.text async for heard in deepgram.transcribe(pieces(REFUND * 4000))] == ["Refund"]
    [request] = service.requests
    assert request.headers["Authorization"] == "Token the key"
    assert request.path == (
        "/v1/listen?encoding=mulaw&sample_rate=8000&channels=1&interim_results=false&punctuate=true&language=de"
        "&model=nova-3"
    )
    assert service.texts == [['{"type":"CloseStream"}']]


def test_without_an_address_it_is_deepgrams_own(settings):
    settings.TRANSCRIBER_URL = ""
    assert deepgram.address().startswith("wss://api.deepgram.com/v1/listen?encoding=mulaw&")


async def test_a_silent_line_is_kept_alive(service, monkeypatch):
    monkeypatch.setattr(deepgram, "KEEP_ALIVE", 0.01)

    async def hesitates():
        yield REFUND * 800
        while len(service.texts[0]) < 2:  # noqa: ASYNC110 - the service tells nobody
            await asyncio.sleep(0)
        yield REFUND * 800

    [heard] = [heard async for heard in deepgram.transcribe(hesitates())]
    assert heard == Heard("Refund", 0.0, 0.2, [("Refund", 0.0, 0.2)])
    assert service.texts[0][:2] == ['{"type":"KeepAlive"}'] * 2


@pytest.mark.parametrize(
    ("status", "error"), [(401, Refused), (402, Refused), (404, Refused), (429, OSError), (503, OSError)]
)
async def test_what_a_service_refuses_for_good_is_told_from_what_may_pass(service, status, error):
    service.refuses = status
    with pytest.raises(error, match=f"the service answered {status}"):
        await anext(deepgram.transcribe(pieces(REFUND)))


async def test_an_address_that_is_none_is_refused():
    with pytest.raises(Refused):
        async with connected("https://127.0.0.1"):
            pass


async def test_audio_that_cannot_be_sent_ends_the_receiving_with_its_reason(service):
    async def breaks():
        yield REFUND
        raise KeyError("no more")

    with pytest.raises(KeyError):
        await anext(deepgram.transcribe(breaks()))


async def test_what_is_cancelled_while_it_sends_leaves_no_task():
    async def forever():
        await asyncio.Event().wait()

    async with sending(forever(), lambda: None):
        pass
    assert asyncio.all_tasks() == {asyncio.current_task()}


# --- Vosk -------------------------------------------------------------------------------------------------------------


async def test_vosk_is_told_the_rate_and_the_end(settings):
    async with Vosk().running() as service:
        settings.TRANSCRIBER_URL = service.url
        heard = [heard async for heard in vosk.transcribe(pieces(REFUND * 4000)) if heard.text]
    assert heard == [Heard("refund", 0.0, 0.5, [("refund", 0.0, 0.5)])]
    assert [json.loads(text) for text in service.texts[0]] == [
        {"config": {"sample_rate": 8000, "words": 1}},
        {"eof": 1},
    ]


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ('{"partial" : "i want"}', None),
        ('{"partial" : ""}', Heard("", 4.0, 4.0)),
        ('{"text" : ""}', Heard("", 4.0, 4.0)),
        ('{"text" : "a refund"}', Heard("a refund", 4.0, 5.0)),
        (
            '{"result" : [{"conf" : 1.0, "end" : 1.11, "start" : 0.84, "word" : "refund"}], "text" : "refund"}',
            Heard("refund", 0.84, 1.11, [("refund", 0.84, 1.11)]),
        ),
    ],
)
def test_vosks_answers(text, heard):
    assert vosk.read(text, 5.0) == heard


@pytest.mark.parametrize("text", ["", "no", '{"result":1}'])
def test_what_is_no_answer_of_vosks_is_an_error(text):
    with pytest.raises(msgspec.DecodeError):
        vosk.read(text, 1.0)


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["deepgram", "vosk", "pocketsphinx"])
def test_a_preset_is_found_by_its_name(settings, name):
    settings.TRANSCRIBER = name
    assert find().__module__.startswith("calls.speech.")


def test_no_name_is_no_transcriber(settings):
    settings.TRANSCRIBER = ""
    assert find() is None


def test_many_parts_are_told_as_a_few():
    parts = [Missing(10 * number, 5, "slow") for number in range(30)]
    assert few(parts) == [*parts[:9], Missing(90, 205, "slow")]
    assert few(parts[:10]) == parts[:10]
