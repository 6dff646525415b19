"""Whole calls with the handler `realtime`: a server process, a simulated caller, and a model beside them.

Callers talk in real time: 3 to 9 s each.
"""

import random
from http import HTTPStatus

import pytest

from calls.media.audio import SILENCE
from calls.models import CallEvent, Stream
from tests.support.callers import Calls, place
from tests.support.model import SPEECH_STARTED, ModelBeside
from tests.support.recorded import lane, stored_to_the_end, verify
from tests.support.servers import SPEECH, Server


pytestmark = [pytest.mark.process, pytest.mark.clock, pytest.mark.django_db(transaction=True)]

#: How far apart what the model is told and what the caller heard may be, in ms.
TOLD = 40


def serving(model, folder, **environment):
    return Server("uvicorn", folder, REALTIME_URL=model.url, REALTIME_KEY="sk-squirrel", **environment)


def notes(report):
    return list(CallEvent.objects.filter(call__sid=report.call_sid, kind="note").values_list("data__text", flat=True))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_each_interruption_the_model_knows_how_much_the_caller_has_heard(tmp_path, seed):
    moments, told = random.Random(seed), {}

    async def interrupts(session):
        await session.opened()
        for number, value in enumerate(b"\x31\x32\x33\x34"):
            await session.answer(bytes([value]) * 20_000, f"msg_{number}", f"resp_{number}")
            if number == 3:
                break
            await session.heard(len(session.audio) + moments.randint(15, 65))
            await session.send(SPEECH_STARTED)
            event = await session.told()
            assert event["item_id"] == f"msg_{number}"
            told[value] = event["audio_end_ms"]
        await session.call("hang_up")

    with ModelBeside(interrupts) as model, serving(model, tmp_path) as server:
        (report,) = place(server, handler="realtime", audio=SPEECH * 2)
    heard = report.streams[0].heard_audio
    apart = {value: abs(ms - heard.count(value) / 8) for value, ms in told.items()}
    assert (len(apart), max(apart.values()) <= TOLD) == (3, True), (apart, told)
    assert heard.count(0x34) == 20_000
    verify()


def test_the_greeting_is_there_when_the_caller_is_and_both_sides_are_recorded(tmp_path):
    received = []

    async def listens(session):
        await session.opened()
        await session.answer(SPEECH[:8000])
        await session.heard(75)
        received.extend(session.audio)
        await session.call("hang_up")

    with ModelBeside(listens) as model, serving(model, tmp_path) as server:
        (report,) = place(server, handler="realtime", audio=SPEECH)
        assert server.errors == []
    stream = Stream.objects.get(sid=report.stream_sids[0])
    greeting = SPEECH[:8000].strip(SILENCE)
    assert greeting in lane(stream, "outbound")
    assert greeting in report.streams[0].heard_audio
    assert len(received) >= 75
    assert (stream.end_reason, stream.handler_overruns) == ("handler", 0)
    verify()


def test_a_key_that_is_refused_is_in_the_log_once_and_on_the_call_and_the_caller_hears_an_apology(tmp_path):
    async def never(session):
        raise AssertionError("nobody is let in")

    refusal = (HTTPStatus.UNAUTHORIZED, "Incorrect API key")
    with ModelBeside(never, refusal) as model, serving(model, tmp_path) as server:
        reports = Calls(server, handler="realtime", audio=SPEECH).result()
        stored_to_the_end(reports)
        assert server.log.count("RealtimeError: REALTIME_URL answers 401: Incorrect API key") == 1
        assert "squirrel" not in server.log
    assert "<Say" in reports[0].twiml[-1]
    (event,) = CallEvent.objects.filter(kind="handler-failed")
    assert event.data["error"] == "RealtimeError: REALTIME_URL answers 401: Incorrect API key"


def test_a_model_that_is_cut_off_goes_on_in_another_session_and_the_caller_stays(tmp_path):
    sessions = []

    async def breaks(session):
        sessions.append((await session.opened())[1])
        await session.begin()
        await session.say(bytes([0x30 + len(sessions)]) * 8000)
        await session.heard(25)
        if len(sessions) == 1:
            session.cut()
        else:
            await session.call("hang_up")

    with ModelBeside(breaks) as model, serving(model, tmp_path) as server:
        (report,) = place(server, handler="realtime", audio=SPEECH)
    heard = report.streams[0].heard_audio
    assert (heard.count(0x31), heard.count(0x32), len(report.streams)) == (8000, 8000, 1)
    assert notes(report) == ["The connection to the model broke: no close frame received or sent"]
    assert sessions[1].startswith("The line was interrupted and is back.")


def test_the_model_transfers_the_caller_and_goes_on_when_they_are_back(tmp_path):
    told = []

    async def connects(session):
        await session.opened()
        await session.answer(b"\x31" * 4000, "msg_1")
        await session.call("transfer", '{"to":"sales"}')
        told.extend([await session.told(), await session.told()])
        frames = len(session.audio)
        await session.answer(b"\x32" * 4000, "msg_2")
        await session.heard(frames + 25)
        await session.call("hang_up")

    whom = {"REALTIME_TRANSFER_TO": "sales=+14155550123,support=+14155550124"}
    with ModelBeside(connects) as model, serving(model, tmp_path, **whom) as server:
        (report,) = place(server, handler="realtime", audio=SPEECH, callee_audio=SPEECH[:8000])
    assert ["+14155550123" in document for document in report.twiml].count(True) == 1
    assert told[0]["item"]["output"].startswith("The caller is back; the call to sales: completed, ")
    assert told[1] == {"type": "response.create"}
    first, second = report.streams
    assert (first.heard_audio.count(0x31), second.heard_audio.count(0x32)) == (4000, 4000)
    assert "The model transfers the caller to sales" in notes(report)
    verify()
