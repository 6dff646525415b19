"""What is left of the voice requests: an event each, with what Twilio said and what we answered."""

import datetime as dt
import json

import pytest
from django.utils import timezone

from calls.media.rows import StreamChange
from calls.models import Call, CallEvent
from calls.recorder.writer import Writer
from calls.security import CallRef, StreamToken
from calls.server.switchboard import switchboard
from tests.support.factories import make_live_call, make_stream
from tests.support.webhooks import CALL, COMPLETED, INCOMING, post, token, verbs


pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("process")]

DELIVERY = {"I-Twilio-Idempotency-Token": "6b0d1c7e-3f55-4f0e-9a0b-2d8f1f7c9f10"}
DIAL = "<Response><Dial>+14155550123</Dial></Response>"
# What Twilio sends to the VoiceFallbackUrl when our first answer failed.
FAILED = {**INCOMING, "ErrorCode": "11200", "ErrorUrl": "https://voice.example.org/incoming/echo"}


def ended(client, query="handler=echo&resumed=0", **facts):
    return post(client, f"/stream-ended?{query}", {**INCOMING, "CallStatus": "in-progress", **facts})


def event(kind):
    return CallEvent.objects.get(call__sid=CALL, kind=kind)


# --- the timeline -----------------------------------------------------------------------------------------------------


def test_the_first_request_is_an_event_with_our_answer(client):
    post(client, "/incoming/echo", INCOMING)
    found = event("incoming")
    assert (found.source, found.data["CallStatus"], found.data["answer"]) == ("system", "ringing", "connected to echo")
    assert '<Connect action="https://voice.example.org/stream-ended' in found.data["twiml"]


def test_the_end_of_a_stream_is_an_event_with_our_answer(client):
    switchboard.note_finished(CALL, "finished")
    ended(client, "handler=echo&resumed=2")
    found = event("stream-ended")
    assert (found.data["resumed"], found.data["answer"]) == ("2", "hung up: the conversation is over")
    assert "<Hangup" in found.data["twiml"]


def test_no_token_and_no_reference_is_in_an_event_or_a_call(client):
    ref = CallRef(make_live_call(sid=None).pk, {"name": "Anna"}).sign()
    response = post(
        client, f"/incoming?ref={ref}", {**INCOMING, "ErrorCode": "11200", "ErrorUrl": f"https://x/?ref={ref}"}
    )
    post(client, "/call-status", {**COMPLETED, "ErrorUrl": f"https://x/?a=1&ref={ref}"})
    kept = json.dumps([*CallEvent.objects.values_list("data"), *Call.objects.values_list("parameters")])
    assert token(response) not in kept
    assert "https://x/" in kept
    assert ref not in kept


def test_a_request_that_is_delivered_twice_is_one_event(client):
    for _ in range(2):
        post(client, "/incoming", INCOMING, **DELIVERY)
        ended(client)
    assert CallEvent.objects.count() == 2


def test_each_request_of_one_call_is_an_event_of_its_own(client):
    for resumed in range(3):
        ended(client, f"handler=echo&resumed={resumed}")
    assert CallEvent.objects.filter(kind="stream-ended").count() == 3


@pytest.mark.parametrize(
    ("settle", "answer"),
    [
        ({"handler": "retired"}, "apologised: there is no handler 'retired'"),
        ({"handler": "monitor"}, "apologised: the document of 'monitor' could not be made (ImproperlyConfigured"),
    ],
)
def test_why_we_apologised_is_said(client, settle, answer):
    post(client, f"/incoming/{settle['handler']}", INCOMING)
    assert event("incoming").data["answer"].startswith(answer)


# --- a call that is refused -------------------------------------------------------------------------------------------


def test_a_refused_call_is_a_row_that_staff_find_by_its_warning(client, settings):
    settings.MAX_STREAMS = 0
    assert verbs(post(client, "/incoming/echo", INCOMING)) == ["Reject"]
    call = Call.objects.get()
    assert (call.status, call.handler, call.has_warning) == ("busy", "echo", True)
    assert call.ended_at is not None
    assert (event("refused").data["reason"], event("refused").data["answer"]) == ("full", "refused: full")


def test_a_call_that_was_picked_up_while_we_are_full_gets_an_apology_and_is_not_busy(client, settings):
    settings.MAX_STREAMS = 0
    answered = {**INCOMING, "Direction": "outbound-api", "CallStatus": "in-progress"}
    assert verbs(post(client, "/incoming/echo", answered)) == ["Say", "Hangup"]
    call = Call.objects.get()
    assert (call.status, call.ended_at, call.handler, call.has_warning) == ("in-progress", None, "echo", True)
    post(client, "/call-status", {**COMPLETED, "CallDuration": "49"})
    assert (Call.objects.get().status, Call.objects.get().duration) == ("completed", 49)


# --- a fallback -------------------------------------------------------------------------------------------------------


def test_why_twilio_fell_back_is_kept_and_logged(client, caplog):
    assert verbs(post(client, "/incoming/echo", FAILED)) == ["Connect"]
    data = event("incoming").data
    assert (data["ErrorCode"], data["ErrorUrl"]) == ("11200", "https://voice.example.org/incoming/echo")
    assert f"voice_fallback call={CALL} code=11200 url=https://voice.example.org/incoming/echo" in caplog.messages


@pytest.mark.parametrize("code", ["11750", "12100", "12300"])
def test_a_document_that_twilio_could_not_use_is_not_made_again(client, code):
    assert verbs(post(client, "/incoming/echo", {**FAILED, "ErrorCode": code})) == ["Say", "Hangup"]


def test_a_stream_whose_end_nobody_answered_goes_on_and_is_not_greeted_again(client):
    call = make_live_call(sid=CALL, handler="echo")
    now = timezone.now()
    make_stream(call, started_at=now - dt.timedelta(minutes=1), ended_at=now, end_reason="disconnect")
    url = "https://voice.example.org/stream-ended?handler=echo&resumed=2"
    response = post(client, "/incoming", {**FAILED, "CallStatus": "in-progress", "ErrorUrl": url})
    said = StreamToken.read(token(response))
    assert (said.handler, said.resumed) == ("echo", 3)


def test_who_places_a_call_through_an_application_chooses_no_handler(client):
    """Its parameters are signed like Twilio's own: https://www.twilio.com/docs/voice/sdks/javascript/twiml-apps."""
    url = "https://voice.example.org/stream-ended?handler=monitor&resumed=1"
    assert verbs(post(client, "/incoming/echo", {**FAILED, "ErrorUrl": url})) == ["Connect"]
    assert Call.objects.get().handler == "echo"


def test_two_ends_of_streams_that_nobody_answered_are_two_events(client):
    url = "https://voice.example.org/stream-ended?handler=echo&resumed="
    for resumed in "0", "1", "1":
        post(client, "/incoming", {**FAILED, "CallStatus": "in-progress", "ErrorUrl": url + resumed})
    assert CallEvent.objects.filter(kind="stream-ended").count() == 2


@pytest.mark.parametrize("url", ["", "https://[", "https://voice.example.org/stream-ended?resumed=x&handler=\x00"])
def test_no_address_of_a_fallback_is_too_strange(client, url):
    response = post(client, "/incoming/echo", {**FAILED, "CallStatus": "in-progress", "ErrorUrl": url})
    assert verbs(response) in (["Connect"], ["Say", "Hangup"])


# --- dialing ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def failed(settings):
    """A call whose handler has failed, and who goes on to a colleague."""
    settings.FAILED_HANDLER_TWIML = DIAL
    call = make_live_call(sid=CALL)
    make_stream(call, sid="MZ" + "5" * 32, started_at=timezone.now(), handler_failed=True)
    return call


def test_a_call_that_goes_on_to_a_dial_lives_without_a_stream(client, failed):
    assert verbs(ended(client)) == ["Dial"]
    later = timezone.now() + dt.timedelta(minutes=5)
    assert list(Call.objects.abandoned(later, dt.timedelta(seconds=60))) == []


@pytest.mark.parametrize("stream_ends_first", [True, False])
def test_the_end_of_the_stream_before_does_not_end_the_dial(client, failed, stream_ends_first):
    end = StreamChange("MZ" + "5" * 32, {"ended_at": timezone.now(), "end_reason": "error"})
    steps = [lambda: Writer("default").write([end]), lambda: ended(client)]
    for step in steps if stream_ends_first else reversed(steps):
        step()
    assert Call.objects.get().dialing


def test_a_document_without_a_dial_ends_the_dialing(client, settings):
    make_live_call(sid=CALL, dialing=True)
    ended(client)
    assert not Call.objects.get().dialing
