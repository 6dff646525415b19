"""The handlers that ship and those of a project, on a real socket or by their documents alone."""

import asyncio
import logging
import sys

import pytest

from calls import handlers
from calls.media.audio import tone
from calls.models import AudioChunk, Call, CallEvent, Dtmf, Gap, Stream
from calls.security import StreamToken
from calls.server import talker
from calls.server.switchboard import switchboard
from calls.webhooks.reconnecting import last_streams
from tests.support.line import Line, payload, stored, until
from tests.support.phone import Phone, begin, done
from tests.support.webhooks import INCOMING, document, post, token, verbs


pytestmark = pytest.mark.usefixtures("process")
recorded = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])

LOUD = tone(440, 20, level=0.9)
QUIET = b"\xff" * 160


def lane(track):
    """What is stored of a track, from its beginning."""
    audio = b""
    for start, run in AudioChunk.objects.filter(track=track).order_by("start").values_list("start", "payload"):
        audio = audio.ljust(start, b"\xff") + bytes(run)
    return audio


def sound(name):
    """A shipped sound as it is sent."""
    audio = handlers.sound(name)
    return audio + b"\xff" * (-len(audio) % 160)


def the_stream():
    return Stream.objects.get()


HERE = "tests/test_handlers.py"


def line_of(function):
    """Where its `def` stands."""
    return function.__code__.co_firstlineno


# --- echo -------------------------------------------------------------------------------------------------------------


@recorded
async def test_echo_says_back_what_the_caller_says_frame_by_frame():
    frames = [tone(hertz, 20) for hertz in (300, 500, 700)]
    async with Line("echo") as line:
        for frame in frames:
            line.say(frame)
        assert [payload(await line.heard()) for _ in frames] == frames
    assert await stored(lambda: lane("inbound")) == b"".join(frames)


# --- voicemail --------------------------------------------------------------------------------------------------------


async def leave_a_message(line, *frames):
    """Hears greeting and beep, says that, and hears the thanks."""
    greeting, beep = await line.play_out(), await line.play_out()
    for frame in frames:
        line.say(frame)
    thanks = await line.play_out()
    await line.gone()
    return greeting, beep, thanks


@recorded
async def test_voicemail_greets_beeps_records_thanks_and_hangs_up():
    async with Line("voicemail") as line:
        heard = await leave_a_message(line, *[LOUD] * 50, *[QUIET] * 400)
    assert heard == tuple(sound(name) for name in ("greeting", "beep", "thanks"))
    assert await stored(lambda: lane("inbound")) == LOUD * 50 + QUIET * 400
    stream = await stored(the_stream)
    assert (stream.end_reason, stream.handler_failed, stream.handler_finished_at is None) == ("handler", False, False)
    assert switchboard.finished == {line.call_sid: "finished"}


@recorded
async def test_a_hash_ends_the_message():
    async with Line("voicemail") as line:
        await line.play_out()
        await line.play_out()
        line.say(LOUD)
        line.press("#")
        assert await line.play_out() == sound("thanks")
        await line.gone()


@recorded
async def test_a_key_skips_the_greeting_and_is_not_the_end_of_the_message():
    async with Line("voicemail") as line:
        while (await line.heard())["event"] != "mark":
            pass
        line.press("#")
        assert (await line.heard())["event"] == "clear"
        line.return_mark("callstream:0")
        assert await line.play_out() == sound("beep")
        for frame in [LOUD] * 5 + [QUIET] * 400:
            line.say(frame)
        assert await line.play_out() == sound("thanks")
        await line.gone()
    assert await stored(lambda: lane("inbound")) == LOUD * 5 + QUIET * 400


async def test_the_silence_before_the_beep_is_not_the_callers():
    phone = Phone()
    recording = begin(handlers.voicemail(phone.stream))
    phone.say(QUIET, times=100)
    await phone.play_out()
    await phone.play_out()
    sent = len(phone.sent)
    for _ in range(240):
        phone.say(QUIET)
        await phone.taken()
    assert len(phone.sent) == sent
    phone.say(QUIET, times=20)
    await phone.play_out()
    await done(recording)


@recorded
async def test_a_message_ends_though_a_silent_phone_sends_nothing(monkeypatch):
    monkeypatch.setattr(handlers, "LONGEST_MESSAGE_SECONDS", 0.05)
    async with Line("voicemail") as line:
        await leave_a_message(line)


@recorded
async def test_nobody_is_greeted_twice():
    async with Line("voicemail", resumed=1) as line:
        assert await line.play_out() == sound("beep")


@recorded
async def test_a_caller_who_hangs_up_in_the_middle_of_the_greeting_is_no_failure(caplog):
    async with Line("voicemail") as line:
        await line.heard()
    stream = await stored(the_stream)
    assert (stream.end_reason, stream.handler_failed, stream.handler_finished_at) == ("stop", False, None)
    assert "Traceback" not in caplog.text


# --- monitor ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_monitor_listens_to_both_people_and_connects_them(client, settings):
    settings.MONITOR_DIAL = "+14155550142"
    response = post(client, "/incoming/monitor", INCOMING)
    start, dial = document(response)
    assert (start.tag, start.attrib, dial.tag, dial.text) == ("Start", {}, "Dial", "+14155550142")
    assert start.find("Stream").attrib == {
        "url": "wss://voice.example.org/connection",
        "name": "monitor-start",
        "statusCallback": "https://voice.example.org/stream-status",
        "track": "both_tracks",
    }
    assert Call.objects.get().dialing


@pytest.mark.django_db
def test_monitor_without_a_number_to_dial_is_an_apology_and_a_line(client, caplog):
    assert verbs(post(client, "/incoming/monitor", INCOMING)) == ["Say", "Hangup"]
    assert "MONITOR_DIAL is not set" in caplog.text


@pytest.mark.django_db
def test_the_token_of_monitor_lets_nothing_be_sent(client, settings):
    settings.MONITOR_DIAL = "+14155550142"
    assert not StreamToken.read(token(post(client, "/incoming/monitor", INCOMING))).bidirectional


@recorded
async def test_monitor_records_each_person_on_a_lane_of_their_own():
    caller, callee = tone(300, 20), tone(700, 20)
    async with Line("monitor", bidirectional=False, tracks='["inbound","outbound"]') as line:
        for at in range(100, 300, 20):
            line.say(caller, timestamp=at)
            line.say(callee, timestamp=at, track="outbound")
    assert await stored(lambda: lane("inbound")) == caller * 10
    assert await stored(lambda: lane("outbound")) == callee * 10
    assert (await stored(the_stream)).tracks == ["inbound", "outbound"]
    assert [message["type"] for message in line.left()] == ["websocket.close"]


@recorded
async def test_a_person_who_joins_later_begins_where_they_joined():
    async with Line("monitor", bidirectional=False, tracks='["inbound","outbound"]') as line:
        for at in range(100, 200, 20):
            line.say(LOUD, timestamp=at)
        line.say(LOUD, timestamp=180, track="outbound")
    assert await stored(lambda: lane("outbound")) == QUIET * 4 + LOUD
    assert await stored(lambda: list(Gap.objects.values_list("track", "start", "length"))) == [("outbound", 0, 640)]


# --- a project's own --------------------------------------------------------------------------------------------------


async def fails(stream):
    async for _ in stream.media():
        raise LookupError("no such flight")


async def waits_for_what_it_cancelled(stream):
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    await task


async def exits(stream):
    sys.exit("no flights today")


async def fails_in_a_group(stream):
    async with asyncio.TaskGroup() as group:
        group.create_task(stream.play(LOUD * 5))
        group.create_task(stream.play(LOUD * 5))


async def hangs(stream):
    await asyncio.Event().wait()


cleaned_up = asyncio.Event()


async def hangs_up(stream):
    """Has more to do once it has hung up."""
    await stream.play(LOUD, wait=False)
    await stream.hang_up()
    await cleaned_up.wait()
    cleaned_up.clear()


async def hangs_up_on_two(stream):
    await stream.hang_up()


async def fails_behind_the_end(stream):
    await stream.hang_up()
    raise LookupError("the cleaning up")


async def plays_behind_the_end(stream):
    await stream.hang_up()
    await stream.play(LOUD)


async def asks(stream):
    await stream.mark("ready")
    typed = await stream.digits(4, sensitive=True)
    await stream.mark(f"{len(typed)} keys from {stream.parameters['lang']}")
    async for _ in stream:
        pass


@handlers.handler(records=False)
async def off_the_record(stream):
    await stream.play(LOUD, wait=False)
    async for _ in stream:
        pass


async def pauses(stream):
    async for event in stream:
        if event == handlers.Dtmf("1"):
            stream.pause_recording()
        elif event == handlers.Dtmf("2"):
            stream.resume_recording()
        await stream.mark("seen")


def _document(noun):
    response = noun.start(track="inbound_track")
    response.say(f"You called {noun.parameters['To']} for the {noun.resumed}th time")
    return noun.connect(response)


@handlers.handler(twiml=_document)
async def has_a_document(stream):
    pass


EXITS = {"waits_for_what_it_cancelled": "CancelledError: ", "exits": "SystemExit: no flights today"}
ENDINGS = ("asks_late", "hangs_up", "hangs_up_on_two", "fails_behind_the_end", "plays_behind_the_end", *EXITS)


@pytest.fixture
def own(settings):
    """Every handler of this page, by its name."""
    names = ("fails", "fails_in_a_group", "hangs", "asks", "off_the_record", "pauses", "has_a_document", *ENDINGS)
    settings.STREAM_HANDLERS = {name: f"tests.test_handlers.{name}" for name in names}


def test_handlers_are_found_by_name(own, settings):
    assert handlers.find("fails").talk is fails
    assert handlers.find("echo").talk is handlers.echo
    assert handlers.find("").talk is handlers.voicemail
    assert handlers.find("").name == "voicemail"
    assert handlers.find("nobody") is None
    assert {"echo", "monitor", "realtime", "voicemail", "fails"} <= set(handlers.names())


def test_a_project_may_replace_a_handler_that_ships(settings):
    settings.STREAM_HANDLERS = {"echo": "tests.test_handlers.hangs"}
    assert handlers.find("echo").talk is hangs


@pytest.mark.django_db
def test_a_handler_may_write_the_document_around_its_stream(client, own):
    response = post(client, "/incoming/has_a_document", INCOMING)
    assert verbs(response) == ["Start", "Say", "Connect"]
    assert document(response).find("Say").text == "You called +14155550199 for the 0th time"
    tokens = [found.get("value") for found in document(response).iter("Parameter")]
    assert [StreamToken.read(text).bidirectional for text in tokens] == [False, True]


@recorded
async def test_a_handler_that_raises_ends_its_conversation_and_not_its_recording(own, caplog):
    async with Line("fails") as line:
        for _ in range(3):
            line.say(LOUD)
        await line.gone()
    stream = await stored(the_stream)
    assert (stream.end_reason, stream.handler_failed, line.closed["code"]) == ("error", True, 1000)
    assert await stored(lambda: lane("inbound")) == LOUD * 3
    event = await stored(lambda: CallEvent.objects.get(kind="handler-failed"))
    assert event.data == {"error": "LookupError: no such flight", "line": f"{HERE}:{line_of(fails) + 2} in fails"}
    assert f"handler_failed handler=fails call={line.call_sid}" in caplog.messages


@recorded
@pytest.mark.parametrize("name", EXITS)
async def test_a_handler_that_ends_by_an_exit_or_a_cancelled_task_of_its_own_has_failed(own, name):
    async with Line("echo") as other:
        async with Line(name) as line:
            await line.gone()
        await other.sync()
    stream = await stored(lambda: Stream.objects.get(sid=line.stream_sid))
    assert (stream.end_reason, stream.handler_failed) == ("error", True)
    assert (await stored(lambda: CallEvent.objects.get(kind="handler-failed"))).data["error"] == EXITS[name]


@recorded
async def test_a_handler_that_raises_touches_no_other_call(own):
    async with Line("echo") as other:
        async with Line("fails") as line:
            line.say(LOUD)
            await line.gone()
        await other.sync()
    ends = dict(await stored(lambda: list(Stream.objects.values_list("sid", "end_reason"))))
    assert ends == {line.stream_sid: "error", other.stream_sid: "stop"}


@recorded
async def test_a_handler_that_raises_on_a_start_stream_does_not_end_the_recording(own):
    async with Line("fails", bidirectional=False) as line:
        for _ in range(5):
            line.say(LOUD)
    stream = await stored(the_stream)
    assert (stream.end_reason, stream.handler_failed, stream.frames_received) == ("stop", True, 5)


@recorded
async def test_a_caller_who_hangs_up_on_a_group_of_tasks_is_no_failure(own, caplog):
    async with Line("fails_in_a_group") as line:
        await line.heard()
        line.drop()
    assert not (await stored(the_stream)).handler_failed
    assert "Traceback" not in caplog.text


@recorded
async def test_a_handler_that_hangs_is_ended_with_its_stream(own, monkeypatch):
    monkeypatch.setattr(talker, "HANDLER_GRACE", 0.01)
    async with Line("hangs") as line:
        for _ in range(150):
            line.say(LOUD)
    stream = await stored(the_stream)
    assert (stream.end_reason, stream.frames_received, stream.handler_overruns) == ("stop", 150, 0)


@recorded
async def test_a_handler_that_is_cut_says_in_which_line_it_stood(own, monkeypatch, caplog):
    monkeypatch.setattr(talker, "HANDLER_GRACE", 0.01)
    async with Line("hangs"):
        pass
    event = await stored(lambda: CallEvent.objects.get(kind="handler-cut"))
    assert event.data["line"].startswith("tests/test_handlers.py:")
    assert event.data["line"].endswith(" in hangs")
    assert any(message.startswith("handler_cut ") and " in hangs " in message for message in caplog.messages)


@recorded
async def test_hanging_up_ends_the_call_before_the_handler_has_cleaned_up(own):
    async with Line("hangs_up") as line:
        await line.play_out()
        assert (await line.answer())["type"] == "websocket.close"
        stream = await stored(the_stream)
        assert (stream.handler_finished_at is None, switchboard.finished) == (False, {line.call_sid: "finished"})
        cleaned_up.set()
        await line.gone()
        assert not cleaned_up.is_set()
    assert (await stored(the_stream)).end_reason == "handler"
    assert not await stored(CallEvent.objects.filter(kind="handler-cut").exists)


@recorded
async def test_hanging_up_on_a_start_stream_ends_no_recording(own):
    async with Line("hangs_up_on_two", bidirectional=False) as line:
        line.say(LOUD)
        line.say(LOUD)
    stream = await stored(the_stream)
    assert (stream.end_reason, stream.frames_received) == ("stop", 2)


@recorded
async def test_a_handler_that_fails_after_its_hang_up_has_failed_no_caller(own):
    async with Line("fails_behind_the_end") as line:
        await line.gone()
    stream = await stored(the_stream)
    assert (stream.end_reason, stream.handler_failed, switchboard.finished[line.call_sid]) == (
        "handler",
        True,
        "finished",
    )
    switchboard.finished.clear()
    assert await stored(lambda: last_streams(line.call_sid, 1, 0).how) == "finished"


@recorded
async def test_playing_after_hanging_up_is_named_with_its_line(own, caplog):
    async with Line("plays_behind_the_end") as line:
        await line.gone()
    event = await stored(lambda: CallEvent.objects.get(kind="sent-after-hang-up"))
    assert event.data["line"].endswith(" in plays_behind_the_end")
    assert any(message.startswith("sent_after_hang_up ") for message in caplog.messages)


@recorded
async def test_sensitive_keys_reach_the_handler_and_nothing_else(own, caplog):
    caplog.set_level(logging.DEBUG)
    async with Line("asks", more=',"lang":"de"') as line:
        await line.heard()
        line.press("9753")
        assert (await line.heard())["mark"]["name"] == "4 keys from de"
    assert await stored(lambda: [row.digit for row in Dtmf.objects.all()]) == ["•"] * 4
    assert "9753" not in caplog.text


async def asks_late(stream):
    await stream.play(LOUD)
    await stream.digits(4, sensitive=True)
    await stream.mark("taken")
    async for _ in stream:
        pass


@recorded
async def test_sensitive_keys_that_were_stored_before_they_were_asked_for_are_masked(own):
    async with Line("asks_late") as line:
        line.press("9753")
        await until(lambda: [key.digit for key in Dtmf.objects.all()] == ["9", "7", "5", "3"])
        await line.play_out()
        await line.heard()
    assert await stored(lambda: [key.digit for key in Dtmf.objects.all()]) == ["•"] * 4


@recorded
async def test_a_handler_that_does_not_record_leaves_no_audio(own):
    async with Line("off_the_record") as line:
        await line.heard()
        line.say(LOUD)
        line.say(LOUD)
    assert await stored(AudioChunk.objects.count) == 0
    assert (await stored(the_stream)).frames_received == 2
    assert await stored(lambda: Gap.objects.get(track="inbound").reason) == "paused"


@recorded
async def test_a_recording_that_was_paused_is_silent_there_and_says_so(own):
    async with Line("pauses") as line:
        for key in ("", "1", "2"):
            line.press(key)
            if key:
                await line.heard()
            line.say(LOUD)
            await line.heard()
    assert await stored(lambda: lane("inbound")) == LOUD + QUIET + LOUD
    gaps = await stored(lambda: list(Gap.objects.filter(track="inbound").values_list("start", "length", "reason")))
    assert gaps == [(160, 160, "paused")]
