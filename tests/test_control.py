"""What is done to a running call from outside of its handler, and what it and the timeline are told of that."""

import asyncio
import logging
import time
import uuid
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import async_to_sync

from calls.admin import wording
from calls.media.audio import tone
from calls.models import Call, CallEvent, Stream
from calls.post.post import mailbox, post
from calls.recorder import recorder
from calls.server import control as controlling
from calls.server.control import NoAnswer, NotLive, Objection, control
from calls.server.outings import outings
from calls.server.switchboard import switchboard
from calls.streams import Control, StreamEnded
from calls.supervision import stepping_in
from calls.supervision.acts import acts
from calls.supervision.acts import held as find_held
from tests.support.factories import make_live_call, make_staff, make_stream
from tests.support.line import PATIENCE, Line, payload, stored, until
from tests.support.webhooks import INCOMING, document
from tests.support.webhooks import post as post_form


pytestmark = [
    pytest.mark.usefixtures("process", "own"),
    pytest.mark.django_db(transaction=True, databases=["default", "recorder"]),
]

SOUND = tone(440, 300)
LONG = tone(440, 5000)


# --- the handlers of this page ----------------------------------------------------------------------------------------

said = []


async def listens(stream):
    async for event in stream:
        if isinstance(event, Control):
            said.append(event)


async def talks(stream):
    said.append(await stream.play(LONG))
    await listens(stream)


async def talks_and_may_be_interrupted(stream):
    said.append(await stream.say(LONG, barge_in=True))
    await listens(stream)


async def talks_in_frames(stream):
    for at in range(0, 1600, 160):
        playing = await stream.play(LONG[at : at + 160], wait=False)
    said.append(await playing)
    await listens(stream)


async def talks_on(stream):
    """Does not notice that the caller is gone until it says something."""
    await until_said("over")
    try:
        await stream.play(SOUND)
    except StreamEnded:
        said.append("ended")
        raise


async def returns(stream):
    await until_said("over")


async def fails(stream):
    await until_said("over")
    raise LookupError("the handler's own fault")


async def dials(stream):
    await until_said("over")
    await stream.dial("+14155550177")


async def next_one(stream):
    said.append(("next", stream.resumed, stream.handed, stream.parameters))
    async for _ in stream:
        pass


HANDLERS = (listens, talks, talks_and_may_be_interrupted, talks_in_frames, talks_on, returns, fails, dials, next_one)


async def until_said(what):
    async with asyncio.timeout(PATIENCE):
        while what not in said:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
def own(settings):
    settings.STREAM_HANDLERS = {handler.__name__: f"tests.test_control.{handler.__name__}" for handler in HANDLERS}
    said.clear()


@pytest.fixture
async def held():
    """This process empties its mailbox."""
    post.take("control.act", acts.take)
    emptying = asyncio.create_task(post.run(recorder.owner))
    yield
    emptying.cancel()


@pytest.fixture
def anna():
    return make_staff("supervise_call", username="anna")


@asynccontextmanager
async def line_to(handler, **facts):
    """A line whose stream the database knows."""
    async with Line(handler, **facts) as line:
        await until(Stream.objects.filter(sid=line.stream_sid).exists)
        yield line


async def closed(line):
    """Plays whatever comes until we close the socket."""
    while (message := await line.answer())["type"] != "websocket.close":
        if b'"mark"' in message["text"].encode():
            line.return_mark(message["text"].split('"name":"')[1].split('"')[0])
    await line.gone()
    return message["code"]


def events(*kinds):
    return [(event.kind, event.data) for event in CallEvent.objects.filter(kind__in=kinds).order_by("pk")]


def the_row():
    return Stream.objects.order_by("started_at").first()


# --- clear ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", ["talks", "talks_and_may_be_interrupted"])
async def test_clear_takes_away_what_plays_and_what_waits(held, handler):
    async with line_to(handler) as line:
        assert payload(await line.heard())
        done = await control(line.call_sid).clear()
        assert 0 < 5000 - done["cleared_ms"] < 3000
        while (await line.heard())["event"] != "clear":
            pass
        await until_said(Control("clear"))
    assert said[0].outcome == "cleared"
    assert said[0].heard_ms + done["cleared_ms"] in (4999, 5000)


async def test_clear_takes_away_frames_that_were_sent_one_by_one(held):
    async with line_to("talks_in_frames") as line:
        await line.heard()
        done = await control(line.call_sid).clear()
        await until_said(Control("clear"))
    assert 0 <= done["cleared_ms"] <= 200
    assert said[0].heard_ms + done["cleared_ms"] in (199, 200)


async def test_clear_is_staffs_in_the_timeline_and_no_interruption_of_the_callers(held, anna):
    async with line_to("talks") as line:
        await line.heard()
        done = await control(line.call_sid, user=anna).clear()
    event = await stored(lambda: CallEvent.objects.select_related("user").get(kind="clear"))
    assert (event.source, event.user, event.data) == ("control", anna, done)
    assert said[-1] == Control("clear", "anna")
    assert not await stored(lambda: Call.objects.get().was_interrupted)


# --- play -------------------------------------------------------------------------------------------------------------


async def test_a_sound_follows_what_was_said_before(held):
    async with line_to("talks") as line:
        await line.heard()
        done = await control(line.call_sid).play(SOUND, name="beep.wav")
        assert (done["name"], done["length_ms"]) == ("beep.wav", 300)
        assert 0 < done["waits_ms"] <= 5000
        audio = await line.play_out() + await line.play_out()
    assert audio.endswith(SOUND)


async def test_a_sound_is_heard_and_the_timeline_says_so(held, anna):
    async with line_to("listens") as line:
        assert (await control(line.call_sid, user=anna).play(SOUND, name="beep.wav"))["waits_ms"] == 0
        assert await line.play_out() == SOUND.ljust(2400, b"\xff")
        await until(CallEvent.objects.filter(kind="play-heard").exists)
    asked, heard = await stored(lambda: events("play", "play-heard"))
    assert asked == ("play", {"name": "beep.wav", "length_ms": 300, "waits_ms": 0})
    assert heard == ("play-heard", {"name": "beep.wav", "length_ms": 300, "heard_ms": 300})
    assert await stored(lambda: {e.user for e in CallEvent.objects.filter(source="control")}) == {anna}


async def test_a_sound_that_is_cleared_was_not_heard_to_its_end(held):
    async with line_to("listens") as line:
        await control(line.call_sid).play(LONG)
        await control(line.call_sid).clear()
        await until(CallEvent.objects.filter(kind="play-cleared").exists)
    ((_, data),) = await stored(lambda: events("play-cleared"))
    assert data["heard_ms"] < data["length_ms"] == 5000


async def test_a_sound_that_the_end_of_the_call_cuts_says_so_too(held):
    async with line_to("listens") as line:
        await control(line.call_sid).play(LONG)
        line.stop()
        await line.gone()
        await until(CallEvent.objects.filter(kind="play-cleared").exists)


@pytest.mark.parametrize(
    ("audio", "why"),
    [
        (b"", "there is nothing to play"),
        (b"\xff" * 480_001, "60 s are too long: at most 60 s are played at once"),
        ("beep.wav", "play takes µ-law as bytes, not str"),
    ],
)
async def test_what_is_never_played_is_refused_before_anybody_is_asked(audio, why):
    with pytest.raises(Objection, match=why):
        await control("CA" + "1" * 32).play(audio)


async def test_the_process_that_holds_the_call_refuses_too_much_as_well(held, monkeypatch):
    async with line_to("listens") as line:
        monkeypatch.setattr(controlling, "check_audio", lambda audio: None)
        with pytest.raises(Objection, match="too long"):
            await control(line.call_sid).play(b"\xff" * 480_001)


async def test_a_minute_goes_through_one_letter(held):
    async with line_to("listens") as line:
        assert (await control(line.call_sid).play(b"\xff" * 480_000))["length_ms"] == 60_000


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_a_hang_up_lets_the_caller_hear_what_plays_then_ends_the_call(held, anna):
    async with line_to("talks") as line:
        await line.heard()
        done = await control(line.call_sid, user=anna).hang_up()
        assert 0 < done["waits_ms"] <= 5000
        assert await closed(line) == 1000
    assert said == [said[0], Control("hang-up", "anna")]
    assert said[0].outcome == "played"
    row = await stored(the_row)
    assert (row.end_reason, bool(row.handler_finished_at), row.handler_failed) == ("handler", True, False)
    assert wording.of_end(row) == "hung up, as anna asked"


async def test_the_log_says_who_had_a_call_hung_up(held, anna, caplog):
    caplog.set_level(logging.INFO)
    async with line_to("talks") as line:
        await line.heard()
        await control(line.call_sid, user=anna).hang_up()
        await control(line.call_sid).clear()
        assert await closed(line) == 1000
    done, _, ended = [text for text in caplog.messages if text.startswith(("act_done", "stream_closed"))]
    assert done == f"act_done call={line.call_sid} act=hang-up user={anna.pk} by=anna"
    assert f"call={line.call_sid} stream={line.stream_sid} reason=handler code=1000" in ended
    assert ended.endswith(": the call was hung up, as anna asked")


async def test_a_hang_up_waits_no_longer_than_it_may(held, monkeypatch):
    monkeypatch.setattr(stepping_in, "LONGEST_WAIT", 0.05)
    async with line_to("talks") as line:
        await line.heard()
        assert (await control(line.call_sid).hang_up())["waits_ms"] == 50
        while (await line.answer())["type"] != "websocket.close":
            pass
    assert said[0].outcome == "cleared"


async def test_a_clear_hurries_a_hang_up(held):
    async with line_to("talks") as line:
        await line.heard()
        await control(line.call_sid).hang_up()
        with pytest.raises(Objection, match="being hung up already"):
            await control(line.call_sid).hand_over("next_one")
        with pytest.raises(Objection, match="being hung up already"):
            await control(line.call_sid).play(SOUND)
        await control(line.call_sid).clear()
        assert await closed(line) == 1000
    assert said[0].outcome == "cleared"


async def test_a_handler_that_talks_on_is_not_blamed(held):
    async with line_to("talks_on") as line:
        await control(line.call_sid).hang_up()
        while (await line.answer())["type"] != "websocket.close":
            pass
        said.append("over")
        await line.gone()
    assert said == ["over", "ended"]
    kinds = await stored(lambda: {event.kind for event in CallEvent.objects.all()})
    assert kinds == {"hang-up"}
    assert not await stored(lambda: the_row().handler_failed)


@pytest.mark.parametrize("handler", ["returns", "fails", "dials"])
async def test_what_was_asked_for_comes_before_what_the_handler_does_meanwhile(held, handler):
    async with line_to(handler) as line:
        await control(line.call_sid).play(SOUND)
        await control(line.call_sid).hand_over("next_one")
        said.append("over")
        assert await closed(line) == 1000
    row = await stored(the_row)
    assert (row.end_reason, row.dial["handler"]) == ("dial", "next_one")
    assert switchboard.departures[line.call_sid].handler == "next_one"


async def test_the_intention_is_kept_before_the_caller_has_heard_what_plays(held):
    """So that a process which dies now does not forget it."""
    async with line_to("talks") as line:
        await line.heard()
        await control(line.call_sid).hand_over("next_one")
        await until(Stream.objects.filter(sid=line.stream_sid, ended_at=None, dial__handler="next_one").exists)


async def test_the_other_handler_begins_as_on_a_new_call(held, async_client):
    async with line_to("listens") as line:
        assert (await control(line.call_sid).hand_over("next_one")) == {"handler": "next_one", "waits_ms": 0}
        assert await closed(line) == 1000
    form = {**INCOMING, "CallSid": line.call_sid, "CallStatus": "in-progress", "CallerName": "ANNA"}
    answer = document(await post_form(async_client, "/stream-ended?handler=listens&resumed=0", form))
    found = {each.get("name"): each.get("value") for each in answer.iter("Parameter")}
    more = f',"CallerName":"{found["CallerName"]}"'
    async with Line(call_sid=line.call_sid, token=found["token"], more=more) as second:
        await until(Stream.objects.filter(sid=second.stream_sid, name="next_one").exists)
    assert said == [Control("hand-over"), ("next", 0, 1, {"CallerName": "ANNA"})]
    assert await stored(lambda: Call.objects.get().handler) == "next_one"
    assert switchboard.departures == {}


async def test_a_dial_leaves_a_gap_that_says_with_whom(held, anna):
    async with line_to("listens") as line:
        done = await control(line.call_sid, user=anna).dial("+1 415 555 0100", timeout=30)
        assert done == {"number": "+14155550100", "waits_ms": 0}
        assert await closed(line) == 1000
        await asyncio.sleep(0.05)
        await stored(lambda: Call.objects.note(line.call_sid, status="completed"))
    kinds = dict(await stored(lambda: events("dial", "dialled")))
    assert kinds == {"dial": done, "dialled": {"number": "+14155550100", "caller_id": ""}}
    assert await stored(lambda: wording.of_end(the_row())) == "another number was dialled, as anna asked"


async def test_a_caller_who_hangs_up_first_is_handed_to_nobody(held):
    async with line_to("talks") as line:
        await line.heard()
        await control(line.call_sid).hand_over("next_one")
        line.stop()
        await line.gone()
    assert await stored(lambda: wording.of_end(the_row())) == "Twilio said stop"


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda call: call.dial("415 555"), "'415 555' cannot be dialled"),
        (lambda call: call.dial("+14155550100", timeout=2), "a phone rings for 5 to 600 s, not for 2"),
        (lambda call: call.hand_over("nobody"), "there is no handler 'nobody'; there are dials, echo, fails"),
        (lambda call: call.hand_over(""), "there is no handler ''"),
    ],
)
async def test_what_cannot_be_done_is_said_before_anything_is(held, act, why):
    async with line_to("listens") as line:
        with pytest.raises(Objection, match=why):
            await act(control(line.call_sid))
        assert line.left() == []
    assert said == []


@pytest.mark.parametrize(
    ("act", "advice"),
    [
        (lambda call: call.clear(), ""),
        (lambda call: call.play(SOUND), ""),
        (lambda call: call.hang_up(), "calls.rest.end_call"),
        (lambda call: call.dial("+14155550100"), "calls.rest.transfer"),
        (lambda call: call.hand_over("next_one"), "nothing to hand over"),
    ],
)
async def test_a_stream_that_only_listens_says_what_to_do_instead(held, act, advice):
    async with line_to("listens", bidirectional=False, tracks='["inbound","outbound"]') as line:
        with pytest.raises(Objection, match=f"this stream only listens.*{advice}"):
            await act(control(line.call_sid))


# --- who is asked, and how often --------------------------------------------------------------------------------------


def letter(line, act="play", **facts):
    return {
        **{"type": "control.act", "call": line.call_sid, "act": act, "facts": {"audio": SOUND, "name": ""}},
        **{"id": uuid.uuid4().hex, "until": time.time() + 4, **facts},
    }


async def test_a_letter_that_comes_twice_is_done_once_and_answered_twice(held):
    async with line_to("listens") as line:
        twice = letter(line)
        first = await post.ask(mailbox(recorder.owner), twice, PATIENCE)
        assert await post.ask(mailbox(recorder.owner), twice, PATIENCE) == first
        assert first["outcome"] == "done"
        assert await line.play_out() == SOUND.ljust(2400, b"\xff")
    assert len(await stored(lambda: events("play"))) == 1


async def test_a_letter_that_comes_too_late_is_not_done(held, caplog):
    async with line_to("listens") as line:
        answer = await post.ask(mailbox(recorder.owner), letter(line, until=time.time() - 1), PATIENCE)
        assert answer == {"type": "control.answer", "outcome": "objection", "why": "it came too late, and was not done"}
    assert await stored(lambda: events("play")) == []
    assert any(message.startswith(f"act_late call={line.call_sid} act=play") for message in caplog.messages)


async def test_acts_on_one_call_keep_their_order(held):
    async with line_to("listens") as line:
        audio = [bytes([value]) * 160 for value in (1, 2, 3, 4)]
        for each in audio:
            acts.take({**letter(line, facts={"audio": each, "name": ""}), "answer_to": "nobody"})
        heard = b"".join([await line.play_out() for _ in audio])
    assert heard == b"".join(audio)


async def test_of_two_sockets_of_a_call_the_later_one_is_acted_upon():
    async with line_to("listens") as broken, line_to("listens", call_sid=broken.call_sid) as line:
        assert find_held(line.call_sid).sid == line.stream_sid


async def test_a_thread_with_a_loop_of_its_own_may_ask_too(held):
    async with line_to("listens") as line:
        found = []
        act = async_to_sync(control(line.call_sid).play, force_new_loop=True)
        await stored(lambda: found.append(act(SOUND)))
    assert found[0]["length_ms"] == 300


async def test_a_synchronous_view_may_ask(held, monkeypatch):
    async with line_to("listens") as line:
        done = await stored(lambda: async_to_sync(control(line.call_sid).clear)())
    assert done == {"cleared_ms": 0}


async def test_a_caller_who_is_with_somebody_else_is_not_there(held, anna):
    said.append("over")
    async with line_to("dials") as line:
        while (await line.answer())["type"] != "websocket.close":
            pass
        await line.gone()
        # From a process that has read of the stream before it ended, and from one that looks now.
        answer = await post.ask(mailbox(recorder.owner), letter(line), PATIENCE)
        assert answer["why"] == "its handler has had another number dialled, and waits for the caller"
        await stored(lambda: Call.objects.update(dialing=True))
        with pytest.raises(NotLive, match="its caller is with somebody else at the moment"):
            await control(line.call_sid, user=anna).clear()
    outings.lose(line.call_sid)


async def test_a_call_that_is_over_is_not_live_and_staff_find_that_in_its_timeline(anna):
    call = await stored(lambda: make_live_call(sid="CA" + "2" * 32))
    await stored(lambda: Call.objects.note(call.sid, status="completed"))
    with pytest.raises(NotLive, match="this call is over"):
        await control(call.sid, user=anna).dial("+14155550100")
    event = await stored(lambda: CallEvent.objects.select_related("user").get(kind="dial"))
    assert (event.source, event.user) == ("control", anna)
    assert event.data == {"number": "+14155550100", "timeout": 20, "outcome": "not live", "why": "this call is over"}
    assert wording.about_event(event, event.data) == "+14155550100: this call is over"


async def test_what_ends_the_stream_is_in_the_database_before_it_is_acknowledged(held):
    async with line_to("talks") as line:
        await line.heard()
        await control(line.call_sid).hand_over("next_one")
        # A process that dies now does not undo it.
        assert (await stored(Stream.objects.get)).dial["handler"] == "next_one"
        assert await stored(lambda: events("hand-over"))


async def test_a_call_that_nobody_knows_is_not_live(anna):
    with pytest.raises(NotLive, match="there is no call 'CA1'"):
        await control("CA1", user=anna).clear()


async def test_without_redis_another_process_says_what_is_missing(settings, anna):
    settings.REDIS_URL = ""
    call = await stored(lambda: make_live_call(sid="CA" + "3" * 32))
    await stored(lambda: make_stream(call, ended_at=None, end_reason="", lease_owner="another"))
    with pytest.raises(NoAnswer, match="REDIS_URL is not set"):
        await control(call.sid, user=anna).play(SOUND, name="beep.wav")
    ((_, data),) = await stored(lambda: events("play"))
    assert (data["name"], data["outcome"], "audio" in data) == ("beep.wav", "no answer", False)


async def test_a_process_that_does_not_answer_is_not_waited_for_longer(settings, anna, monkeypatch):
    settings.REDIS_URL = settings.REDIS_URL or "redis://elsewhere"
    monkeypatch.setattr(controlling, "PATIENCE", 0.05)
    call = await stored(lambda: make_live_call(sid="CA" + "4" * 32))
    await stored(lambda: make_stream(call, ended_at=None, end_reason="", lease_owner="dead"))
    with pytest.raises(NoAnswer, match="not answered within 3 s"):
        await control(call.sid, user=anna).hang_up()
    ((_, data),) = await stored(lambda: events("hang-up"))
    assert data["outcome"] == "no answer"
