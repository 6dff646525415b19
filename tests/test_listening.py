"""A <Start> stream that was lost is asked for again: by one process, a few times, and not where it makes no sense."""

import asyncio
import datetime as dt

import pytest
from django.utils import timezone

from calls.models import Call, Stream
from calls.security import StreamToken
from calls.server import conversation, listening
from calls.server.listening import start_again
from simulator import ApiError, PlacedCall
from tests.support.factories import make_live_call, make_stream
from tests.support.line import Line, stored


ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"

pytestmark = pytest.mark.django_db


class Phone:
    """A call in progress as the API sees it: it notes what streams are asked for and stopped."""

    class Opened:
        name = "monitor-start"

        class report:
            sid = "MZ" + "5" * 32

    def __init__(self):
        self.asked, self.stopped = [], []
        self.at_stop = lambda: None

    def start_stream(self, verb):
        (noun,) = verb.nouns
        self.asked.append((noun.attributes, {each.get("name"): each.get("value") for each in noun.nouns}))
        return self.Opened

    def stop_stream(self, name):
        self.stopped.append(name)
        self.at_stop()
        return self.Opened


def known(api, call_sid):
    phone = Phone()
    api.calls[call_sid] = PlacedCall(ACCOUNT, {}, call_sid, "in-progress", line=phone)
    return phone


def lost(call=None, **facts):
    """A monitored call whose stream broke a second ago."""
    now = timezone.now()
    return make_stream(
        call or make_live_call(handler="monitor", account_sid=ACCOUNT, dialing=True),
        **{
            "bidirectional": False,
            "name": "monitor-start",
            "tracks": ["inbound", "outbound"],
            "started_at": now - dt.timedelta(seconds=60),
            "ended_at": now - dt.timedelta(seconds=1),
            "end_reason": "shutdown",
            **facts,
        },
    )


def attempts(stream):
    return [event.kind for event in stream.events.order_by("occurred_at", "pk")]


def later(stream):
    """Time passes."""
    for event in stream.events.all():
        event.occurred_at -= dt.timedelta(seconds=11)
        event.save()


def test_a_stream_is_asked_for_as_it_was_with_a_fresh_token(api):
    stream = lost(custom_parameters={"order": "92774"})
    phone = known(api, stream.call.sid)
    assert start_again(stream.sid)
    ((attributes, parameters),) = phone.asked
    assert attributes == {
        "url": "wss://voice.example.org/connection",
        "name": "monitor-start",
        "track": "both_tracks",
        "statusCallback": "https://voice.example.org/stream-status",
        "statusCallbackMethod": "POST",
    }
    token = StreamToken.read(parameters.pop("token"))
    assert (token.call_sid, token.handler, token.bidirectional, token.resumed) == (stream.call.sid, "monitor", False, 1)
    assert parameters == {"order": "92774"}


def test_of_several_processes_one_asks(api):
    stream = lost()
    phone = known(api, stream.call.sid)
    assert [start_again(stream.sid) for _ in range(3)] == [True, False, False]
    assert len(phone.asked) == 1


def test_a_stream_that_does_not_come_is_asked_for_five_times_and_then_given_up_with_a_word(api, caplog):
    stream = lost()
    phone = known(api, stream.call.sid)
    for _ in range(8):
        start_again(stream.sid)
        later(stream)
    assert len(phone.asked) == 5
    assert attempts(stream) == ["listen-again"] * 5 + ["listening-given-up"]
    assert len([line for line in caplog.messages if line.startswith("listening_given_up")]) == 1


def test_a_refusal_that_may_pass_is_tried_again(api):
    stream = lost()
    phone = known(api, stream.call.sid)
    api.refusals.append(ApiError(429, 20429, "Too Many Requests"))
    assert not start_again(stream.sid)
    later(stream)
    assert start_again(stream.sid)
    assert len(phone.asked) == 1


def test_a_call_that_twilio_does_not_know_is_not_asked_about_again(api):
    stream = lost()
    for _ in range(3):
        assert not start_again(stream.sid)
        later(stream)
    assert attempts(stream) == ["listen-again-failed"]
    assert Call.objects.get().ended_at is None


def test_a_call_that_turns_out_to_be_over_ends(api):
    stream = lost()
    known(api, stream.call.sid)
    api.calls[stream.call.sid].status = "completed"
    assert not start_again(stream.sid)
    assert Call.objects.get().status == "completed"


def test_streams_that_break_at_once_again_and_again_are_given_up(api):
    call = make_live_call(handler="monitor")
    phone = known(api, call.sid)
    now = timezone.now()
    for number in range(6):
        begun = now - dt.timedelta(seconds=60 - number)
        last = lost(call, started_at=begun, ended_at=begun + dt.timedelta(seconds=1))
    assert not start_again(last.sid)
    assert phone.asked == []
    assert attempts(last) == ["listening-given-up"]


@pytest.mark.parametrize(
    "facts",
    [
        {"end_reason": "stop"},
        {"end_reason": "handler"},
        {"handler_finished_at": timezone.now()},
        {"bidirectional": True},
        {"ended_at": None},
    ],
    ids=lambda facts: ",".join(facts),
)
def test_a_stream_that_was_not_lost_is_left_alone(api, facts):
    stream = lost(**facts)
    phone = known(api, stream.call.sid)
    assert not start_again(stream.sid)
    assert phone.asked == []


def test_a_stream_that_another_one_has_replaced_is_left_alone(api):
    stream = lost()
    lost(stream.call, started_at=timezone.now(), ended_at=None, end_reason="")
    assert not start_again(stream.sid)


def test_a_call_that_is_over_is_left_alone(api):
    stream = lost()
    Call.objects.update(status="completed", ended_at=timezone.now())
    assert not start_again(stream.sid)


def test_twilio_is_not_asked_about_a_simulated_call(settings):
    settings.TWILIO_API_URL = "https://api.twilio.com"
    stream = lost(make_live_call(parameters={"Simulated": "yes"}))
    assert stream.call.is_simulated
    assert not start_again(stream.sid)
    assert attempts(stream) == ["listen-again-failed"]


def test_what_others_have_lost_is_found(api):
    stream = lost()
    phone = known(api, stream.call.sid)
    listening.listening.look()
    assert len(phone.asked) == 1


# --- a handler that has heard enough ----------------------------------------------------------------------------------


async def has_heard_enough(stream):
    async for _ in stream.media():
        await stream.hang_up()
        return


recorded = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])


@pytest.fixture
def own(settings, process):
    settings.STREAM_HANDLERS = {"enough": "tests.test_listening.has_heard_enough"}


@recorded
@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_handler_that_hangs_up_a_start_stream_has_twilio_stop_it(api, own, monkeypatch, is_closed):
    """Twilio closes the socket behind its `stop`; if it does not, we do."""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(conversation, "REST_PATIENCE", 6 if is_closed else 1)
    async with Line("enough", bidirectional=False) as line:

        def stop():
            line.stop()
            if is_closed:
                line.drop(1000)

        phone = known(api, line.call_sid)
        phone.at_stop = lambda: loop.call_soon_threadsafe(stop)
        line.say(b"\x2a" * 160)
        await line.gone()
    stream = await stored(Stream.objects.get)
    assert phone.stopped == [stream.sid]
    assert (stream.end_reason, stream.handler_finished_at is None) == ("handler", False)
    assert phone.asked == []


@recorded
async def test_where_twilio_cannot_be_asked_its_socket_is_closed_and_not_opened_again(own, settings):
    settings.TWILIO_API_URL = "http://127.0.0.1:9"
    async with Line("enough", bidirectional=False) as line:
        line.say(b"\x2a" * 160)
        await line.gone()
    stream = await stored(Stream.objects.get)
    assert (stream.end_reason, line.closed["code"]) == ("handler", 1000)
    assert not await stored(lambda: Stream.objects.lost(timezone.now() - dt.timedelta(hours=1)).exists())
