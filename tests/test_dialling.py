"""Out and back: a handler has its caller dial somebody, and the same coroutine goes on when they are back."""

import asyncio
import json
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest

from calls.media.protocol import StateError
from calls.models import Call, CallEvent, Gap, Stream
from calls.security import StreamToken
from calls.server import missing, talker
from calls.server.outings import outings
from calls.server.switchboard import switchboard
from calls.server.tickets import Dialled, ReturnTicket
from calls.streams import StreamEnded
from tests.support.line import PATIENCE, Line, database_busy, payload, stored, until
from tests.support.phone import Phone
from tests.support.webhooks import COMPLETED, INCOMING, post


pytestmark = pytest.mark.usefixtures("process", "own")
recorded = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])

FRAME = b"\x55" * 160
ACTION = "/stream-ended?handler={}&resumed=0"
BACK = {"DialCallStatus": "completed", "DialCallDuration": "42", "DialCallSid": "CA" + "1" * 32}


# --- the handlers of this page ----------------------------------------------------------------------------------------

said = []
enough = asyncio.Event()


async def asks_a_person(stream):
    """Says whom it got, then echoes."""
    said.append(await stream.dial("+14155550100", timeout=20, caller_id="+14155550123"))
    said.append((stream.stream_sid, stream.resumed, stream.ended))
    async for media in stream.media():
        await stream.play(media.payload, wait=False)


async def asks_two(stream):
    said.extend([await stream.dial("+14155550100"), await stream.dial("sip:desk@example.org", timeout=5)])


async def plays_and_asks(stream):
    await stream.play(FRAME, wait=False)
    await stream.dial("+14155550100")


async def iterates_meanwhile(stream):
    async def listen():
        said.append([media.payload async for media in stream.media()])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen())
        said.append(await stream.dial("+14155550100"))


async def asks_twice_at_once(stream):
    first = asyncio.create_task(stream.dial("+14155550100"))
    await asyncio.sleep(0)
    with pytest.raises(StateError, match="on the way to another number already"):
        await stream.dial("+14155550101")
    said.append(await first)


async def waits_in_vain(stream):
    """Cleans up, as it would after a hang-up."""
    try:
        await stream.dial("+14155550100")
    except StreamEnded:
        said.append("not back")
        await asyncio.Event().wait()


async def writes_down(stream):
    """Before, while they are away, and when they do not come back."""
    stream.set(before=1)

    async def write():
        await enough.wait()
        stream.set(meanwhile=2)
        said.append("written")

    writing = asyncio.create_task(write())
    try:
        await stream.dial("+14155550100")
    except StreamEnded:
        stream.set(behind=3)
    await writing


async def gives_up(stream):
    waiting = asyncio.create_task(stream.dial("+14155550100"))
    await enough.wait()
    waiting.cancel()
    said.append("given up")


async def leaves_a_task_waiting(stream):
    said.append(asyncio.create_task(stream.dial("+14155550100")))
    await enough.wait()


async def fails_while_they_are_away(stream):
    async def fail():
        await enough.wait()
        raise LookupError("the handler's own fault")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail())
        await stream.dial("+14155550100")


async def asks_off_the_record(stream):
    stream.pause_recording()
    await stream.dial("+14155550100")
    said.append(stream.recording_paused)


NAMES = [name for name, value in vars().items() if asyncio.iscoroutinefunction(value)]


@pytest.fixture
def own(settings, monkeypatch):
    monkeypatch.setitem(globals(), "enough", asyncio.Event())
    settings.STREAM_HANDLERS = {name: f"tests.test_dialling.{name}" for name in NAMES}
    said.clear()
    yield
    assert outings.away == {}


# --- what Twilio does -------------------------------------------------------------------------------------------------


async def asked(client, line, action, **facts):
    """The document that an action of the line's call is answered with."""
    form = {**INCOMING, "CallSid": line.call_sid, "CallStatus": "in-progress", **facts}
    path = action.removeprefix("https://voice.example.org")
    response = await post(client, path, form)
    assert response.status_code == 200, response.content
    return ElementTree.fromstring(response.content)


async def sent_out(client, line, handler):
    """The <Dial> of a caller whose stream has been closed for it."""
    while (message := await line.answer())["type"] != "websocket.close":
        pass
    assert message["code"] == 1000
    return (await asked(client, line, ACTION.format(handler))).find("Dial")


def returning(document, line):
    """The line on which they come back."""
    stream = document.find("Connect/Stream")
    found = {each.get("name"): each.get("value") for each in stream.iter("Parameter")}
    more = f',"outing":"{found["outing"]}"'
    return Line(call_sid=line.call_sid, token=found["token"], more=more)


async def gone_out(client, handler):
    """A line whose stream is over since its handler dials, and the <Dial> that its caller is sent to."""
    async with Line(handler) as line:
        dial = await sent_out(client, line, handler)
        await line.gone()
    return line, dial


async def back(client, line, dial, **facts):
    return returning(await asked(client, line, dial.get("action"), **{**BACK, **facts}), line)


async def becomes(value):
    """Waits for what the handler says next."""
    async with asyncio.timeout(PATIENCE):
        while value not in said:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# --- out and back -----------------------------------------------------------------------------------------------------


@recorded
async def test_the_same_coroutine_goes_on_when_the_caller_is_back(async_client):
    line, dial = await gone_out(async_client, "asks_a_person")
    assert said == []
    async with await back(async_client, line, dial) as second:
        await second.sync()
    assert said == [Dialled("completed", 42), (second.stream_sid, 0, False)]


@recorded
async def test_twilio_is_asked_to_dial_as_the_handler_said(async_client):
    line, dial = await gone_out(async_client, "asks_a_person")
    assert (dial.get("timeout"), dial.get("callerId"), dial.findtext("Number")) == (
        "20",
        "+14155550123",
        "+14155550100",
    )
    action = urlsplit(dial.get("action"))
    query = parse_qs(action.query)
    assert (action.path, query["handler"], query["resumed"]) == ("/stream-ended", ["asks_a_person"], ["0"])
    assert ReturnTicket.read(query["outing"][0], line.call_sid).key in outings.away
    async with await back(async_client, line, dial):
        pass


@recorded
async def test_another_process_answers_from_the_database(async_client):
    async with Line("asks_a_person") as line:
        while (await line.answer())["type"] != "websocket.close":
            pass
        here, outings.away = outings.away, {}
        dial = (await asked(async_client, line, ACTION.format("asks_a_person"))).find("Dial")
        outings.away = here
        await line.gone()
    assert dial.findtext("Number") == "+14155550100"
    async with await back(async_client, line, dial) as second:
        await second.sync()
    assert said[0] == Dialled("completed", 42)


@pytest.mark.parametrize("status", ["completed", "answered", "busy", "no-answer", "failed", "canceled"])
@recorded
async def test_twilios_word_for_what_came_of_it_is_the_handlers(async_client, status):
    line, dial = await gone_out(async_client, "asks_a_person")
    async with await back(async_client, line, dial, DialCallStatus=status, DialCallDuration="") as second:
        await second.sync()
    assert said[0] == Dialled(status, 0)


@recorded
async def test_one_dial_may_follow_another(async_client):
    async with Line("asks_two") as line:
        first = await sent_out(async_client, line, "asks_two")
        await line.gone()
    async with await back(async_client, line, first) as second:
        while (await second.answer())["type"] != "websocket.close":
            pass
        # The action of the <Connect> on which they came back, which still has the first one's ticket.
        action = first.get("action").replace("resumed=0", "resumed=1")
        again = (await asked(async_client, second, action)).find("Dial")
        assert (again.findtext("Sip"), again.get("timeout")) == ("sip:desk@example.org", "5")
        await second.gone()
    async with await back(async_client, line, again, DialCallStatus="busy", DialCallDuration="0") as third:
        await third.gone()
    assert said == [Dialled("completed", 42), Dialled("busy")]
    assert switchboard.finished == {line.call_sid: "finished"}


@recorded
async def test_what_was_said_is_heard_first(async_client):
    async with Line("plays_and_asks") as line:
        assert payload(await line.heard()) == FRAME
        mark = await line.heard()
        assert mark["event"] == "mark"
        line.return_mark(mark["mark"]["name"])
        dial = await sent_out(async_client, line, "plays_and_asks")
        await line.gone()
    async with await back(async_client, line, dial) as second:
        await second.gone()


@recorded
async def test_whoever_iterates_meanwhile_is_done(async_client):
    line, dial = await gone_out(async_client, "iterates_meanwhile")
    await becomes([])
    async with await back(async_client, line, dial) as second:
        await second.gone()
    assert said == [[], Dialled("completed", 42)]


@recorded
async def test_a_caller_is_dialled_to_one_number_at_a_time(async_client):
    line, dial = await gone_out(async_client, "asks_twice_at_once")
    async with await back(async_client, line, dial) as second:
        await second.gone()
    assert said == [Dialled("completed", 42)]


@recorded
async def test_a_recording_that_is_paused_stays_so(async_client):
    line, dial = await gone_out(async_client, "asks_off_the_record")
    async with await back(async_client, line, dial) as second:
        await second.gone()
    assert said == [True]


# --- what is kept -----------------------------------------------------------------------------------------------------


@recorded
async def test_the_time_between_is_a_gap_and_no_warning(async_client):
    async with Line("asks_a_person") as line:
        line.say(FRAME)
        dial = await sent_out(async_client, line, "asks_a_person")
        await line.gone()
        assert await stored(lambda: Call.objects.get().dialing)
    # They are away for longer than a frame.
    await asyncio.sleep(0.05)
    async with await back(async_client, line, dial) as second:
        await second.sync()
    first, last = await stored(lambda: list(Stream.objects.all()))
    assert (first.end_reason, first.absent > 0, last.end_reason) == ("dial", True, "stop")
    assert await stored(Gap.objects.filter(stream=first, reason="no_stream").exists)
    call = await stored(Call.objects.get)
    assert (call.has_warning, call.dialing) == (False, False)


@recorded
async def test_the_timeline_says_whom_and_what_came_of_it(async_client):
    line, dial = await gone_out(async_client, "asks_a_person")
    async with await back(async_client, line, dial) as second:
        await second.sync()
    events = await stored(lambda: {event.kind: event.data for event in CallEvent.objects.filter(source="stream")})
    assert events == {
        "dialled": {"number": "+14155550100", "caller_id": "+14155550123"},
        "returned": {"number": "+14155550100", "status": "completed", "duration": 42},
    }


@recorded
async def test_what_is_written_down_meanwhile_is_kept(async_client):
    async with Line("writes_down") as line:
        await sent_out(async_client, line, "writes_down")
        await line.gone()
    enough.set()
    await becomes("written")
    switchboard.collect()
    await until(Call.objects.filter(data={"before": 1, "meanwhile": 2}).exists)
    outings.lose(line.call_sid)
    await until(Call.objects.filter(data={"before": 1, "meanwhile": 2, "behind": 3}).exists)


@recorded
async def test_what_was_written_down_meanwhile_is_kept_when_they_are_back(async_client):
    line, dial = await gone_out(async_client, "writes_down")
    enough.set()
    await becomes("written")
    async with await back(async_client, line, dial) as second:
        await second.gone()
    await until(Call.objects.filter(data={"before": 1, "meanwhile": 2}).exists)


@recorded
async def test_no_ticket_is_kept(async_client):
    line, dial = await gone_out(async_client, "asks_a_person")
    async with await back(async_client, line, dial) as second:
        await second.sync()
    ticket = parse_qs(urlsplit(dial.get("action")).query)["outing"][0]
    events = await stored(lambda: json.dumps([event.data for event in CallEvent.objects.all()]))
    assert ticket[:40] not in events
    assert "outing" not in (await stored(lambda: Stream.objects.get(sid=second.stream_sid))).custom_parameters


# --- what goes wrong --------------------------------------------------------------------------------------------------


@recorded
async def test_a_caller_who_hangs_up_meanwhile_does_not_come_back(async_client, monkeypatch):
    monkeypatch.setattr(talker, "HANDLER_GRACE", 0.05)
    line, dial = await gone_out(async_client, "waits_in_vain")
    over = await asked(async_client, line, dial.get("action"), **{**BACK, "CallStatus": "completed"})
    assert [verb.tag for verb in over] == ["Hangup"]
    await becomes("not back")
    await until(CallEvent.objects.filter(kind="handler-cut").exists)


@recorded
async def test_a_status_callback_says_it_too(async_client, monkeypatch):
    monkeypatch.setattr(talker, "HANDLER_GRACE", 0.05)
    async with Line("waits_in_vain") as line:
        await sent_out(async_client, line, "waits_in_vain")
        await line.gone()
    await post(async_client, "/call-status", {**COMPLETED, "CallSid": line.call_sid})
    await becomes("not back")


@recorded
async def test_what_another_process_is_told_is_found_in_the_database(async_client, monkeypatch):
    monkeypatch.setattr(talker, "HANDLER_GRACE", 0.05)
    async with Line("waits_in_vain") as line:
        await sent_out(async_client, line, "waits_in_vain")
        await line.gone()
    await missing.look()
    assert said == []
    await stored(lambda: Call.objects.note(line.call_sid, status="completed"))
    await missing.look()
    await becomes("not back")


@recorded
async def test_a_call_that_goes_on_with_another_handler_does_not_come_back(async_client, monkeypatch):
    monkeypatch.setattr(talker, "HANDLER_GRACE", 0.05)
    async with Line("waits_in_vain") as line:
        await sent_out(async_client, line, "waits_in_vain")
        await line.gone()
    async with Line("echo", call_sid=line.call_sid) as other:
        await until(Stream.objects.filter(sid=other.stream_sid).exists)
        await missing.look()
        await becomes("not back")


@recorded
async def test_a_caller_who_hangs_up_while_it_is_committed_is_not_dialled(async_client, monkeypatch):
    monkeypatch.setattr(talker, "HANDLER_GRACE", 0.05)
    with database_busy():
        async with Line("waits_in_vain") as line:
            async with asyncio.timeout(PATIENCE):
                while not outings.away:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            # Nothing that is played from here on would be heard.
            assert switchboard.live[line.stream_sid].lifetime.is_over
            line.stop()
            await becomes("not back")
    await line.gone()
    await until(Stream.objects.filter(sid=line.stream_sid, end_reason="stop", dial={}).exists)


@recorded
async def test_without_a_database_the_process_that_waits_still_knows(async_client):
    with database_busy():
        async with Line("asks_a_person") as line:
            dial = await sent_out(async_client, line, "asks_a_person")
            assert dial.findtext("Number") == "+14155550100"
            await line.gone()
        async with await back(async_client, line, dial) as second:
            await second.sync()
    assert said[0] == Dialled("completed", 42)
    await until(Stream.objects.filter(end_reason="stop").exists)


@recorded
async def test_an_action_that_is_asked_twice_is_answered_twice_and_counts_once(async_client):
    async with Line("asks_a_person") as line:
        dial = await sent_out(async_client, line, "asks_a_person")
        same = await asked(async_client, line, ACTION.format("asks_a_person"))
        assert same.find("Dial/Number").text == "+14155550100"
        await line.gone()
    tickets = [await back(async_client, line, dial) for _ in range(2)]
    async with tickets[0] as second:
        await second.sync()
    # The second of two documents that are both carried out: a handler of its own, and no coroutine with two streams.
    async with tickets[1] as third:
        await sent_out_again(async_client, third)
    assert said[0] == Dialled("completed", 42)


async def sent_out_again(client, line):
    while (await line.answer())["type"] != "websocket.close":
        pass
    await line.gone()
    outings.lose(line.call_sid)


@recorded
async def test_a_token_is_good_for_one_return(async_client):
    line, dial = await gone_out(async_client, "asks_a_person")
    second = await back(async_client, line, dial)
    thief = Line(call_sid=line.call_sid, token=second.token, more=second.more)
    async with second:
        await second.sync()
        await thief.dial()
        thief.start()
        assert (await thief.answer())["code"] == 4403


@recorded
async def test_a_return_whose_socket_did_not_open_is_tried_again(async_client):
    line, dial = await gone_out(async_client, "asks_a_person")
    document = await asked(async_client, line, dial.get("action"), **BACK)
    again = await asked(async_client, line, document.find("Connect").get("action"))
    async with returning(again, line) as second:
        await second.sync()
    assert said[0] == Dialled("completed", 42)


@recorded
async def test_whoever_comes_back_to_nobody_begins_anew(async_client):
    line, dial = await gone_out(async_client, "asks_a_person")
    outings.cut()
    async with await back(async_client, line, dial) as second:
        again = await sent_out(async_client, second, "asks_a_person")
        await second.gone()
    async with await back(async_client, line, again) as third:
        await third.sync()
    assert said == [Dialled("completed", 42), (third.stream_sid, 1, False)]


@recorded
async def test_a_handler_that_has_given_up_waiting_says_goodbye_to_who_comes_back(async_client):
    line, dial = await gone_out(async_client, "gives_up")
    enough.set()
    await until(Stream.objects.filter(handler_finished_at__isnull=False).exists)
    assert [verb.tag for verb in await asked(async_client, line, dial.get("action"), **BACK)] == ["Hangup"]
    assert said == ["given up"]


@recorded
async def test_a_task_that_waits_ends_with_its_handler(async_client):
    line, dial = await gone_out(async_client, "leaves_a_task_waiting")
    enough.set()
    await until(Stream.objects.filter(handler_finished_at__isnull=False).exists)
    assert [verb.tag for verb in await asked(async_client, line, dial.get("action"), **BACK)] == ["Hangup"]
    assert said[0].cancelled()


@recorded
async def test_a_handler_that_failed_meanwhile_is_apologised_for(async_client):
    line, dial = await gone_out(async_client, "fails_while_they_are_away")
    enough.set()
    await until(Stream.objects.filter(handler_failed=True, handler_finished_at__isnull=False).exists)
    assert [verb.tag for verb in await asked(async_client, line, dial.get("action"), **BACK)] == ["Say", "Hangup"]


@recorded
async def test_a_drain_waits_for_whoever_is_away_and_then_no_more(async_client):
    async with Line("asks_a_person") as line:
        await sent_out(async_client, line, "asks_a_person")
        await line.gone()
    skip = asyncio.Event()
    draining = asyncio.create_task(switchboard.drain(60, skip))
    await asyncio.sleep(0)
    assert outings.away
    skip.set()
    assert await draining == 1
    assert said == []


@recorded
async def test_a_place_is_kept_for_whoever_is_away(async_client, settings):
    settings.MAX_STREAMS = 1
    line, dial = await gone_out(async_client, "asks_a_person")
    assert (await Line("echo").dial())["type"] == "websocket.close"
    settings.MAX_STREAMS = 2
    second = await back(async_client, line, dial)
    assert (await second.dial())["type"] == "websocket.accept"
    settings.MAX_STREAMS = 1
    second.start()
    await second.sync()
    second.stop()
    await second.gone()
    assert said[0] == Dialled("completed", 42)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", ["", "911x", "client:anna", "4155550100", "+1", "sip:nobody", "sip:a@b c", "+123456"]
)
async def test_what_twilio_would_not_dial_is_refused(number):
    with pytest.raises(ValueError, match=r"cannot be dialled: write a number like \+14155550100, or sip:name@host"):
        await Phone().stream.dial(number)


@pytest.mark.parametrize("timeout", [4, 601, 0, -1])
async def test_no_phone_rings_for_so_long(timeout):
    with pytest.raises(ValueError, match="rings for 5 to 600 s"):
        await Phone().stream.dial("+14155550100", timeout=timeout)


async def test_who_calls_is_a_number_too():
    with pytest.raises(ValueError, match="'anna' cannot be dialled"):
        await Phone().stream.dial("+14155550100", caller_id="anna")


async def test_a_stream_that_listens_dials_nobody():
    with pytest.raises(StateError, match="nothing can be sent on a <Start> stream"):
        await Phone(bidirectional=False).stream.dial("+14155550100")


async def test_whose_caller_has_left_dials_nobody():
    phone = Phone()
    phone.hang_up()
    with pytest.raises(StreamEnded):
        await phone.stream.dial("+14155550100")


# --- tickets ----------------------------------------------------------------------------------------------------------


def test_a_ticket_is_one_calls():
    text = ReturnTicket("CA1", "key", "10.0.0.3:8000").sign()
    assert ReturnTicket.read(text, "CA1").address == "10.0.0.3:8000"
    assert ReturnTicket.read(text, "CA2") is None


def test_a_ticket_is_no_token_and_a_token_no_ticket():
    token = StreamToken("CA1", "echo").sign()
    assert ReturnTicket.read(token, "CA1") is None
    assert StreamToken.read(ReturnTicket("CA1", "key").sign()) is None


def test_a_ticket_fits_into_a_parameter():
    ticket = ReturnTicket("CA" + "f" * 32, "f" * 18, f"[{':'.join(['ffff'] * 8)}]:65535").stamped("no-answer", 86400)
    assert len("outing" + ticket.sign()) < 300


def test_what_twilio_did_not_say_is_unknown():
    assert ReturnTicket("CA1", "key").stamped("", 0).dialled == Dialled("unknown", 0)
