"""A stream on its socket, from `start` to the last row, with Twilio's own JSON."""

import asyncio
import logging
import time

import pytest

from calls.media.audio import SILENCE
from calls.models import AudioChunk, Call, Dtmf, Gap, Mark, Stream
from calls.recordings.verification import problems
from calls.security import StreamToken
from calls.server import conversation, talker
from calls.server.lifetime import Phase
from calls.server.switchboard import switchboard
from tests.support.factories import make_call, make_stream
from tests.support.line import CONNECTED, DTMF, MEDIA, START, Line, database_busy, payload, stored, until


pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "recorder"]),
    pytest.mark.usefixtures("process"),
]

LOUD = b"\x20" * 160


async def listens(stream):
    """A handler that takes everything and says nothing."""
    async for _ in stream:
        pass


async def leaves(stream):
    """A handler that is done at once."""


heard_at_the_end = []


async def talks_on(stream):
    """A handler with 9 s to say, that takes its time once its caller is gone."""
    await stream.play(LOUD * 450, wait=False)
    await stream.mark("said")
    async for _ in stream:
        pass
    heard_at_the_end.append(stream._live.hearing.heard)
    stream.pause_recording()
    await asyncio.sleep(0.3)


@pytest.fixture(autouse=True)
def handlers(settings):
    settings.STREAM_HANDLERS = {name: f"tests.test_media_socket.{name}" for name in ("listens", "leaves", "talks_on")}


def the_stream():
    return Stream.objects.select_related("call").get()


def said():
    """What is stored of the caller, holes and all."""
    audio = b""
    for start, chunk in AudioChunk.objects.filter(track="inbound").order_by("start").values_list("start", "payload"):
        audio = audio.ljust(start, b"\xff") + bytes(chunk)
    return audio


# --- what Twilio sends ------------------------------------------------------------------------------------------------


async def test_an_echo_is_what_the_caller_said():
    async with Line("echo") as line:
        line.say(LOUD)
        message = await line.heard()
    assert payload(message) == LOUD


async def test_what_we_send_has_the_fields_that_twilio_wants_and_no_others():
    async with Line("echo") as line:
        line.say(b"\x20" * 3)
        message = await line.heard()
    media = {"payload": message["media"]["payload"]}
    assert message == {"event": "media", "streamSid": line.stream_sid, "media": media}
    assert payload(message) == b"\x20" * 3 + b"\xff" * 157


async def test_a_stream_leaves_its_call_its_row_and_its_audio():
    async with Line("listens", from_number="+14155550100", to_number="client:anna") as line:
        line.say(LOUD)
    stream = await stored(the_stream)
    assert (stream.sid, stream.end_reason, stream.frames_received) == (line.stream_sid, "stop", 1)
    assert (stream.call.sid, stream.call.status, stream.call.handler) == (line.call_sid, "in-progress", "listens")
    assert (stream.call.from_number, stream.call.to_number) == ("+14155550100", "client:anna")
    assert await stored(said) == LOUD


async def test_start_may_come_without_connected_and_in_any_order_of_keys():
    line = Line("echo")
    await line.dial()
    line.send(
        f'{{"streamSid":"{line.stream_sid}","start":{{"customParameters":{{"token":"{line.token}"}},"new":[1],'
        f'"callSid":"{line.call_sid}"}},"event":"start","sequenceNumber":1}}'
    )
    await line.sync()
    line.stop()
    await line.gone()


async def test_the_token_is_not_among_the_stored_parameters():
    async with Line("listens", more=',"lang":"de"'):
        pass
    assert (await stored(the_stream)).custom_parameters == {"lang": "de"}


async def test_keys_are_stored_in_their_order():
    async with Line("listens") as line:
        line.press("42#")
    assert await stored(lambda: [row.digit for row in Dtmf.objects.all()]) == ["4", "2", "#"]


async def test_an_event_that_does_not_exist_ends_nothing():
    async with Line("echo") as line:
        for event in ("close", "closed", "error", "tempo"):
            line.send(f'{{"event":"{event}","streamSid":"{line.stream_sid}","sequenceNumber":"2"}}')
        await line.sync()
    assert (await stored(the_stream)).frames_rejected == 0


async def test_a_message_that_never_came_is_counted_and_its_audio_is_a_hole():
    async with Line("listens") as line:
        line.say(LOUD)
        line.number += 1
        line.say(LOUD, timestamp=line.timestamp + 20)
    stream = await stored(the_stream)
    assert (stream.sequence_gaps, stream.frames_missing, stream.timestamp_jumps) == (1, 1, 1)
    assert await stored(said) == LOUD + b"\xff" * 160 + LOUD
    assert await stored(lambda: [(g.start, g.length, g.reason) for g in Gap.objects.all()]) == [(160, 160, "sequence")]


# --- what breaks the protocol -----------------------------------------------------------------------------------------


def big(line):
    return f'{{"event":"media","streamSid":"{line.stream_sid}","media":{{"payload":"{"A" * 65536}","timestamp":"9"}}}}'


ILLEGAL = {
    "not JSON": lambda line: "{",
    "empty": lambda line: "",
    "a list": lambda line: "[1]",
    "null": lambda line: "null",
    "deep": lambda line: "[" * 60_000,
    "deep objects": lambda line: '{"a":' * 12_000,
    "NaN": lambda line: '{"event":"media","media":NaN}',
    "a lone surrogate": lambda line: "\ud800",
    "over 64 KiB": big,
    "another stream": lambda line: line.fill(MEDIA, stream="MZ" + "f" * 32),
    "no stream": lambda line: '{"event":"media","media":{"timestamp":"1","payload":"AAAA"}}',
    "bad base64": lambda line: line.fill(MEDIA, payload="!!!!AAAA"),
    "a timestamp of words": lambda line: line.fill(MEDIA, timestamp="soon"),
    "Arabic digits": lambda line: line.fill(MEDIA, timestamp="١٢"),
    "an underscore": lambda line: line.fill(MEDIA, timestamp="1_000"),
    "a wild timestamp": lambda line: line.fill(MEDIA, timestamp="9007199254740992"),
    "another track": lambda line: line.fill(MEDIA, track="sideways"),
    "our own track": lambda line: line.fill(MEDIA, track="outbound"),
    "a mark without a name": lambda line: f'{{"event":"mark","streamSid":"{line.stream_sid}","mark":{{}}}}',
    "a key that does not exist": lambda line: line.fill(DTMF, digit="55"),
    "a second start": lambda line: START % line.opening,
    "a second connected": lambda line: CONNECTED,
}


async def test_each_illegal_message_is_counted_and_the_stream_goes_on(caplog):
    async with Line("echo") as line:
        for count, (name, illegal) in enumerate(ILLEGAL.items(), start=1):
            line.send(illegal(line))
            await line.sync()
            assert switchboard.live[line.stream_sid].protocol.frames_rejected == count, name
    assert (await stored(the_stream)).frames_rejected == len(ILLEGAL)
    assert "Traceback" not in caplog.text


async def test_a_binary_frame_is_counted_and_the_stream_goes_on(caplog):
    async with Line("echo") as line:
        line.send_bytes(b"\x00\x01")
        line.send_bytes(b"")
        await line.sync()
    assert (await stored(the_stream)).frames_rejected == 2
    assert len([line for line in caplog.messages if line.startswith("frame_rejected kind=binary")]) == 1


async def test_a_binary_frame_before_start_is_counted_too():
    line = Line("echo")
    await line.dial()
    line.send_bytes(b"\x00\x01")
    line.start()
    await line.sync()
    line.stop()
    await line.gone()
    assert (await stored(the_stream)).frames_rejected == 1


async def test_audio_before_start_is_counted_and_not_recorded():
    line = Line("listens")
    await line.dial()
    line.send(line.fill(MEDIA))
    line.start()
    line.say(LOUD)
    line.stop()
    await line.gone()
    assert (await stored(the_stream)).frames_rejected == 1
    assert await stored(said) == LOUD


async def test_what_comes_after_stop_is_counted_and_not_recorded():
    async with Line("listens") as line:
        line.say(LOUD)
        line.stop()
        line.say(LOUD)
        line.stop()
        await line.gone()
    assert (await stored(the_stream)).frames_rejected == 2
    assert await stored(said) == LOUD


async def test_one_line_is_logged_for_each_kind_of_illegal_message(caplog):
    async with Line("echo") as line:
        for _ in range(50):
            line.send("{")
            line.send_bytes(b"\x00")
            line.send(CONNECTED)
        await line.sync()
    kinds = sorted(message.split()[1] for message in caplog.messages if message.startswith("frame_rejected"))
    assert kinds == ["kind=binary", "kind=json", "kind=order"]


async def test_unknown_events_and_marks_are_logged_once(caplog):
    caplog.set_level(logging.INFO)
    async with Line("echo") as line:
        for _ in range(50):
            line.send(f'{{"event":"tempo","streamSid":"{line.stream_sid}"}}')
            line.return_mark("never sent")
        await line.sync()
    said = [message.split()[0] for message in caplog.messages]
    assert (said.count("unknown_event"), said.count("mark_unknown")) == (1, 1)
    assert (await stored(the_stream)).frames_rejected == 0


async def test_no_key_token_signature_or_audio_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    async with Line("echo") as line:
        line.press("97531")
        line.send(line.fill(DTMF, digit="97531"))
        line.send(START % line.opening)
        line.send(line.fill(MEDIA, timestamp="soon"))
        await line.sync()
    for secret in ("97531", line.token, line.token[:20], line.headers["x-twilio-signature"], "VVVVVVVV"):
        assert secret not in caplog.text


# --- who has which stream ---------------------------------------------------------------------------------------------


async def refusal(line):
    await line.dial()
    line.start()
    answer = await line.answer()
    await line.gone()
    return answer.get("code"), answer.get("reason")


async def test_a_token_is_good_for_one_socket():
    async with Line("echo") as line:
        await line.sync()
        again = Line(call_sid=line.call_sid, token=line.token)
        assert await refusal(again) == (4403, "the token was used before")
        await line.sync()
    assert await refusal(Line(call_sid=line.call_sid, token=line.token)) == (4403, "the token was used before")
    assert (await stored(the_stream)).sid == line.stream_sid


async def test_a_second_socket_for_a_stream_that_is_here_is_refused():
    async with Line("echo") as line:
        await line.sync()
        assert await refusal(Line(call_sid=line.call_sid, stream_sid=line.stream_sid)) == (
            4409,
            "this stream is already here",
        )
        await line.sync()
    assert (await stored(the_stream)).end_reason == "stop"


async def test_a_call_may_have_a_second_stream():
    async with Line("echo") as line, Line("echo", call_sid=line.call_sid) as second:
        await second.sync()
        await line.sync()
    assert await stored(lambda: Call.objects.get().streams.count()) == 2


async def test_a_token_that_another_process_has_used_closes_the_socket_and_leaves_nothing():
    line = Line("listens")
    nonce = StreamToken.read(line.token).nonce
    await stored(lambda: make_stream(make_call(sid=line.call_sid), nonce=nonce, lease_owner="another process"))
    await line.dial()
    line.start()
    line.say(LOUD)
    assert (await line.answer())["code"] == 4403
    await line.gone()
    assert await stored(lambda: (Stream.objects.count(), AudioChunk.objects.count())) == (1, 0)


async def test_a_place_is_free_again_when_its_stream_has_ended(settings):
    settings.MAX_STREAMS = 1
    async with Line("echo") as line:
        await line.sync()
        assert (await Line("echo").dial())["code"] == 4403
    async with Line("echo") as line:
        await line.sync()


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1005, 1006])
async def test_a_socket_that_closes_without_stop_ends_its_stream(code):
    async with Line("listens") as line:
        line.say(LOUD)
        line.drop(code)
    stream = await stored(the_stream)
    assert (stream.end_reason, stream.close_code) == ("disconnect", code)
    assert await stored(said) == LOUD


@pytest.mark.parametrize("end", [Line.stop, Line.drop])
async def test_nothing_is_heard_once_the_caller_has_left_whatever_the_handler_does(end):
    async with Line("talks_on") as line:
        for _ in range(10):
            line.say(LOUD)
            await line.heard()
        end(line)
        await line.gone()
    stream = await stored(the_stream)
    heard = heard_at_the_end.pop()
    assert 0 < stream.heard == heard < 72_000
    assert stream.length == max(heard, 1600)
    gaps = await stored(lambda: list(Gap.objects.filter(track="outbound").values_list("length", "reason")))
    assert gaps == [(72_000 - heard, "cleared")]
    assert await stored(lambda: list(problems(Stream.objects.get()))) == []


@pytest.mark.parametrize(("end", "is_heard"), [(Line.stop, True), (Line.drop, False)])
async def test_a_socket_that_breaks_was_dead_since_its_last_word_and_one_that_stops_was_not(end, is_heard):
    async with Line("talks_on") as line:
        await line.heard()
        switchboard.live[line.stream_sid].hearing.advance(time.monotonic() + 5)
        end(line)
        await line.gone()
    assert (heard_at_the_end.pop() > 39_000) is is_heard


async def test_a_drain_sends_callers_on_one_after_the_other_or_all_at_once_if_it_must_hurry(monkeypatch):
    for name, seconds in {"NOTICE": 0.0, "TURN": 3600.0, "ALL_TURNS": 7200.0}.items():
        monkeypatch.setattr(f"calls.server.switchboard.{name}", seconds)
    hurry = asyncio.Event()
    async with Line("listens") as first, Line("listens") as second:
        draining = asyncio.create_task(switchboard.drain(0, hurry))
        await first.gone()
        assert second.closed is None
        hurry.set()
        await second.gone()
        assert await draining == 2


async def test_a_stream_whose_end_cannot_be_recorded_keeps_no_drain_waiting():
    line = Line("listens")
    await line.dial()
    line.start()
    await until(Stream.objects.exists)
    live = switchboard.live[line.stream_sid]
    live.clock = None
    line._task.cancel()
    with pytest.raises(AttributeError):
        await line.gone()
    assert live.lifetime.phase is Phase.GONE
    assert line.stream_sid not in switchboard.live


class HangsUpUnderOurHands(Line):
    """Twilio's `stop` is on its way while a send of ours fails."""

    async def _take(self, message):
        if message["type"] == "websocket.send":
            self.stop()
            self.drop()
            raise OSError("gone")
        await super()._take(message)


async def test_a_stop_that_is_read_after_a_failed_send_is_how_the_stream_ended():
    async with HangsUpUnderOurHands("echo") as line:
        line.say(LOUD)
        await line.gone()
    assert (await stored(the_stream)).end_reason == "stop"


async def test_a_mark_that_the_caller_did_not_wait_for_is_cleared():
    async with Line("talks_on") as line:
        await line.heard()
    heard_at_the_end.pop()
    assert await stored(lambda: [(mark.name, mark.outcome) for mark in Mark.objects.all()]) == [("said", "cleared")]


async def test_a_stop_closes_the_socket_and_is_not_the_end_of_the_call():
    async with Line("listens") as line:
        pass
    assert line.closed["code"] == 1000
    assert (await stored(lambda: Call.objects.get())).ended_at is None


async def test_that_a_handler_finished_is_stored_before_the_socket_closes():
    line, seen = Line("leaves"), []

    async def look():
        seen.append((await stored(the_stream)).handler_finished_at)

    line.at_close = look
    async with line:
        await line.gone()
    assert seen != [None]
    assert (await stored(the_stream)).end_reason == "handler"


async def test_a_finished_conversation_is_remembered_until_its_call_has_another_stream():
    async with Line("leaves") as line:
        await line.gone()
    assert switchboard.finished == {line.call_sid: "finished"}
    async with Line("echo", call_sid=line.call_sid) as second:
        await second.sync()
        assert switchboard.finished == {}


async def test_a_peer_that_does_not_read_costs_no_frame_and_no_time(monkeypatch):
    monkeypatch.setattr(talker, "HANDLER_GRACE", 0.05)
    monkeypatch.setattr(conversation, "CLOSE_PATIENCE", 0.05)
    monkeypatch.setattr("calls.server.socket.CLOSE_PATIENCE", 0.05)
    async with Line("echo") as line:
        line.is_stuck = True
        for _ in range(300):
            line.say(LOUD)
    stream = await stored(the_stream)
    assert (stream.frames_received, stream.end_reason) == (300, "stop")
    assert await stored(said) == LOUD * 300


async def test_a_flood_on_one_socket_lets_the_others_have_their_turn():
    async with Line("listens") as flood, Line("echo") as line:
        for _ in range(5000):
            flood.send("{")
        await line.sync()
        assert not flood._to_app.empty()
        flood.stop()
        await flood.gone()


async def test_a_stream_that_waits_for_its_last_commit_holds_up_no_other(settings, monkeypatch):
    settings.RECORDER_FLUSH_SECONDS = 0.02
    monkeypatch.setattr(conversation, "COMMIT_PATIENCE", 0.3)
    async with Line("listens") as ending, Line("listens") as line:
        await until(lambda: Stream.objects.count() == 2)
        with database_busy():
            ending.stop()
            await ending.gone()
        line.say(LOUD)
        # It has waited for its first word, which is a gap.
        assert (await until(said)).lstrip(SILENCE) == LOUD


async def test_the_database_may_be_away_while_a_stream_runs():
    async with Line("echo") as line:
        with database_busy():
            line.say(LOUD)
            assert payload(await line.heard()) == LOUD
    assert await stored(said) == LOUD
