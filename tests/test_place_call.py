"""`manage.py place_call` against the simulator's REST API."""

import pytest
from django.core.management import CommandError, call_command

from calls.management.commands import place_call
from calls.management.commands.place_call import follow
from calls.models import Call
from simulator import PhoneNumber, TwilioApi
from tests.support.factories import make_event, make_live_call


ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
TOKEN = "0123456789abcdef0123456789abcdef"
OURS, THEIRS = "+14155550199", "+14155550100"

pytestmark = pytest.mark.django_db


async def busy(call):
    """Somebody who is on the phone already; none of our callbacks gets through."""
    call.status = "busy"


async def brief(call):
    call.status, call.duration = "completed", "7"


def api_with(settings, answer=None):
    settings.DEFAULT_FROM_NUMBER = OURS
    return TwilioApi(ACCOUNT, TOKEN, [PhoneNumber(OURS), PhoneNumber("+14155550177")], answer).running()


@pytest.fixture
def api(settings):
    with api_with(settings) as api:
        settings.TWILIO_API_URL = api.url
        yield api


def test_it_calls_a_number_and_says_so(api, capsys):
    call_command("place_call", THEIRS, handler="echo")
    call = Call.objects.get()
    assert capsys.readouterr().out == f"{call.sid}: queued, {OURS} calls {THEIRS} for echo.\n"


def test_the_number_to_call_from_can_be_named(api):
    call_command("place_call", THEIRS, "--from", "+14155550177")
    assert api.requests[-1][2]["From"] == ["+14155550177"]


def test_parameters_and_machine_detection_are_passed_on(api):
    call_command("place_call", THEIRS, "--param", "order=17", "--param", "note=a=b", "--machine-detection")
    assert Call.objects.get().events.get().data == {"parameters": {"order": "17", "note": "a=b"}}
    assert api.requests[-1][2]["MachineDetection"] == ["Enable"]


def test_a_parameter_without_a_value_is_explained(api):
    with pytest.raises(CommandError, match="'order': write it as NAME=VALUE"):
        call_command("place_call", THEIRS, "--param", "order")


def test_a_handler_that_does_not_exist_is_refused_before_twilio_is_asked(api):
    with pytest.raises(CommandError, match="no handler 'ecko'; there are echo, monitor, realtime, voicemail"):
        call_command("place_call", THEIRS, handler="ecko")
    assert (api.requests, Call.objects.count()) == ([], 0)


def test_what_twilio_refuses_is_said_in_words(api):
    with pytest.raises(CommandError, match="write it with \\+ and its country code, like \\+14155550100"):
        call_command("place_call", "0415")


def test_an_unknown_outcome_is_said(api):
    api.mishaps = ["break"]
    with pytest.raises(CommandError, match="may have done it all the same: look before trying again"):
        call_command("place_call", THEIRS)


def test_waiting_tells_what_happens_until_the_call_is_over():
    call = make_live_call(status="ringing")
    lines = follow(call, 0, 60)
    make_event(call, kind="ringing")
    assert next(lines) == "15:09:26 ringing (call status callback)"
    make_event(call, kind="in-progress", data={"AnsweredBy": "human"})
    assert next(lines) == "15:09:26 in-progress (call status callback), answered by human"
    Call.objects.update(status="completed", ended_at=call.created_at, duration=49, audio_samples=8000)
    assert list(lines) == ["The call is over: completed after 49 s, 1.0 s recorded."]


def test_without_callbacks_twilio_is_asked_and_the_address_is_named(settings, monkeypatch, capsys):
    monkeypatch.setattr(place_call, "PATIENCE", 0)
    monkeypatch.setattr(place_call, "LOOK_EVERY", 0)
    with api_with(settings, brief) as api:
        settings.TWILIO_API_URL = api.url
        call_command("place_call", THEIRS, wait=True)
    out = capsys.readouterr().out
    assert "completed, says Twilio; its callbacks do not reach us at https://voice.example.org." in out
    assert out.endswith("The call is over: completed after 7 s, 0.0 s recorded.\n")


def test_a_call_that_reached_nobody_is_a_failure(settings, monkeypatch):
    monkeypatch.setattr(place_call, "PATIENCE", 0)
    with api_with(settings, busy) as api:
        settings.TWILIO_API_URL = api.url
        with pytest.raises(CommandError, match="There was no conversation: busy"):
            call_command("place_call", THEIRS, wait=True)


def test_ctrl_c_ends_the_waiting_and_not_the_call(api, monkeypatch):
    def pressed(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(place_call.time, "sleep", pressed)
    with pytest.raises(CommandError, match="goes on"):
        call_command("place_call", THEIRS, wait=True)
    assert Call.objects.get().ended_at is None
