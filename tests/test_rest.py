"""Twilio's REST API through the unmodified twilio library, over HTTP, against the simulator's side of it."""

import datetime as dt
import logging
import socket
import traceback
from urllib.parse import parse_qs, urlsplit

import pytest

from calls import rest
from calls.models import Call, CallEvent
from calls.rest import OutcomeUnknown, RestError
from calls.security import CallRef
from simulator import ApiError
from tests.support.factories import START, make_call, make_live_call, make_staff, sid


ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
TOKEN = "0123456789abcdef0123456789abcdef"
OURS, THEIRS = "+14155550199", "+14155550100"

pytestmark = pytest.mark.django_db


def form(api):
    """What the last request carried."""
    return api.requests[-1][2]


def live(api, **facts):
    """A call that the API knows to be in progress, and our row of it."""
    call = rest.place_call(THEIRS)
    api.calls[call.sid].status = "in-progress"
    Call.objects.filter(pk=call.pk).update(status="in-progress", **facts)
    return Call.objects.get(pk=call.pk)


def events(call):
    return list(call.events.order_by("pk").values_list("source", "kind"))


def test_a_placed_call_is_a_row_with_twilios_sid_and_status(api):
    call = rest.place_call(THEIRS, handler="echo")
    assert call.sid == next(iter(api.calls))
    assert (call.from_number, call.to_number, call.direction) == (OURS, THEIRS, "outbound-api")
    assert (call.status, call.handler, call.account_sid) == ("queued", "echo", ACCOUNT)
    assert Call.objects.get() == call


def test_the_row_is_there_before_twilio_is_asked_and_its_key_is_in_both_addresses(api):
    call = rest.place_call(THEIRS, parameters={"order": "17"})
    url, callback = form(api)["Url"][0], form(api)["StatusCallback"][0]
    assert url.startswith("https://voice.example.org/incoming?ref=")
    assert callback.startswith("https://voice.example.org/call-status?ref=")
    assert read(url) == CallRef(call.pk, {"order": "17"})
    assert read(callback) == CallRef(call.pk)


def read(url):
    return CallRef.read(parse_qs(urlsplit(url).query)["ref"][0])


def test_an_answer_that_fails_is_asked_for_again(api):
    rest.place_call(THEIRS, handler="echo")
    assert form(api)["FallbackUrl"] == form(api)["Url"]


def test_each_status_callback_event_is_a_field_of_its_own(api):
    rest.place_call(THEIRS)
    assert form(api)["StatusCallbackEvent"] == ["initiated", "ringing", "answered", "completed"]


def test_the_handler_is_in_the_address_and_quoted(api):
    rest.place_call(THEIRS, handler="order.status")
    assert "/incoming/order.status?ref=" in form(api)["Url"][0]


def test_answering_machines_are_looked_for_only_on_request(api):
    rest.place_call(THEIRS)
    assert "MachineDetection" not in form(api)
    rest.place_call(THEIRS, machine_detection=True)
    assert form(api)["MachineDetection"] == ["Enable"]


def test_who_placed_a_call_is_on_record(api):
    user = make_staff()
    call = rest.place_call(THEIRS, parameters={"order": "17"}, user=user)
    event = call.events.get()
    assert (event.source, event.kind, event.user, event.data) == (
        "control",
        "place",
        user,
        {"parameters": {"order": "17"}},
    )


def test_a_refused_call_leaves_nothing_but_twilios_code_and_words(api, caplog):
    with pytest.raises(RestError, match="write it with \\+ and its country code") as raised:
        rest.place_call("4155550100")
    error = raised.value
    assert (error.code, error.message) == (21211, "The 'To' number 4155550100 is not a valid phone number.")
    assert (error.call, Call.objects.count()) == (None, 0)
    assert "unknown=False code=21211" in caplog.text


ERRORS = [
    (400, 10004, "wait until some are over"),
    (401, 20003, "check TWILIO_ACCOUNT_SID and TWILIO_API_KEY"),
    (429, 20429, "try again in a few seconds"),
    (400, 21205, "PUBLIC_URL has to be an https origin"),
    (400, 21210, "use one of the account's own numbers"),
    (400, 21211, "write it with + and its country code"),
    (400, 21212, "write it with + and its country code"),
    (400, 21215, "Geographic Permissions"),
    (400, 21216, "it is blocked"),
    (400, 21219, "verify this one in the Console"),
    (400, 21609, "PUBLIC_URL has to be an https origin"),
    (400, 21626, "a defect of ours"),
    (400, 99999, "Twilio refused"),
]


@pytest.mark.parametrize(("status", "code", "advice"), ERRORS)
def test_every_documented_error_is_a_sentence_that_says_what_to_do(api, status, code, advice):
    api.refusals = [ApiError(status, code, "In Twilio's words")]
    with pytest.raises(RestError) as raised:
        rest.place_call(THEIRS)
    assert advice in str(raised.value)
    assert f"Twilio says {code}: “In Twilio's words”" in str(raised.value)
    assert not Call.objects.exists()


def test_a_number_of_somebody_else_cannot_be_called_from(api):
    with pytest.raises(RestError, match="not yet verified"):
        rest.place_call(THEIRS, "+14155550177")


def test_a_trial_account_says_whom_it_may_not_call(api):
    api.verified = {"+14155550111"}
    with pytest.raises(RestError, match="Twilio says 21219"):
        rest.place_call(THEIRS)


def test_wrong_credentials_are_said(api, settings):
    settings.TWILIO_AUTH_TOKENS = ["f" * 32]
    with pytest.raises(RestError, match="Twilio does not accept our credentials"):
        rest.place_call(THEIRS)


def test_the_first_token_of_a_rotation_is_used(api, settings):
    settings.TWILIO_AUTH_TOKENS = [TOKEN, "f" * 32]
    assert rest.place_call(THEIRS).sid


@pytest.mark.parametrize(
    ("mishap", "said"),
    [("silence", "did not answer within 1 s"), ("break", "broke"), ("garbage", "is not Twilio's API")],
)
def test_a_request_whose_outcome_is_unknown_is_not_repeated_and_the_row_waits(api, monkeypatch, mishap, said):
    if mishap == "silence":
        monkeypatch.setattr("calls.rest.client.TIMEOUT", 1.0)
    api.mishaps = [mishap]
    with pytest.raises(OutcomeUnknown, match=said) as raised:
        rest.place_call(THEIRS)
    call = Call.objects.get()
    assert (len(api.requests), len(api.calls)) == (1, 1)
    assert (call.sid, call.status, call.ended_at) == (None, "queued", None)
    assert events(call)[-1] == ("system", "place-unknown")
    assert raised.value.call == call


def test_a_server_error_of_twilios_may_have_placed_the_call(api):
    api.refusals = [ApiError(503, 20503, "Service Unavailable")]
    with pytest.raises(OutcomeUnknown, match="look before trying again"):
        rest.place_call(THEIRS)
    assert Call.objects.get().status == "queued"


def test_an_api_that_nobody_listens_at_has_placed_nothing(settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings.TWILIO_API_URL = f"http://127.0.0.1:{port}"
    with pytest.raises(RestError, match=f"cannot be reached at 127.0.0.1:{port}, so nothing was done") as raised:
        rest.place_call(THEIRS, OURS)
    assert not isinstance(raised.value, OutcomeUnknown)
    assert not Call.objects.exists()


@pytest.mark.parametrize("lacking", ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKENS", "DEFAULT_FROM_NUMBER", "PUBLIC_URL"])
def test_what_is_not_configured_is_named_and_nothing_is_stored(api, settings, lacking):
    setattr(settings, lacking, "")
    with pytest.raises(RestError, match=lacking.removesuffix("S")):
        rest.place_call(THEIRS)
    assert (Call.objects.count(), api.requests) == (0, [])


def test_credentials_do_not_travel_in_the_clear(settings):
    settings.TWILIO_API_URL = "http://api.example.org"
    with pytest.raises(RestError, match="TWILIO_API_URL has to be https"):
        rest.numbers()


@pytest.mark.parametrize(
    "parameters",
    [{"token": "x"}, {"": "x"}, {"note": "x" * 500}, {"note": "a\0b"}, {f"n{n}": "x" * 400 for n in range(9)}],
)
def test_parameters_that_do_not_fit_are_refused_before_anything_happens(api, parameters):
    with pytest.raises(RestError, match="parameter"):
        rest.place_call(THEIRS, parameters=parameters)
    assert (Call.objects.count(), api.requests) == (0, [])


def test_the_token_is_in_no_log_and_no_error(api, caplog):
    caplog.set_level(logging.DEBUG)
    rest.place_call(THEIRS)
    api.refusals = [ApiError(401, 20003, "Authenticate")]
    with pytest.raises(RestError) as raised:
        rest.numbers()
    said = "".join(traceback.format_exception(raised.value)) + caplog.text
    assert "twilio_request POST" in said
    assert TOKEN not in said
    assert "authorization" not in said.lower()


def test_an_api_key_signs_instead_of_the_token(api, settings):
    settings.TWILIO_API_KEY, settings.TWILIO_API_SECRET = "SK" + "a" * 32, "the secret of the key"
    settings.TWILIO_AUTH_TOKENS = ["f" * 32]
    api.add_key("SK" + "a" * 32, "the secret of the key")
    assert rest.place_call(THEIRS).account_sid == ACCOUNT


def test_a_key_that_was_revoked_is_said_in_words(api, settings):
    settings.TWILIO_API_KEY, settings.TWILIO_API_SECRET = "SK" + "a" * 32, "the secret of the key"
    with pytest.raises(RestError, match="TWILIO_API_KEY with its secret") as raised:
        rest.place_call(THEIRS)
    assert "the secret of the key" not in str(raised.value)


# --- running calls


def test_hanging_up_completes_the_call(api):
    call = live(api)
    assert rest.end_call(call, user=make_staff()) is True
    assert form(api) == {"Status": ["completed"]}
    assert (call.status, events(call)[-1]) == ("completed", ("control", "hang-up"))


@pytest.mark.parametrize(
    "change", [rest.end_call, lambda c: rest.say_goodbye(c, "Bye."), lambda c: rest.transfer(c, THEIRS)]
)
def test_a_call_that_is_over_is_as_good_as_changed_and_the_row_learns_how_it_ended(api, change):
    call = live(api)
    api.calls[call.sid].status, api.calls[call.sid].duration = "completed", "42"
    assert change(call) is False
    call.refresh_from_db()
    assert (call.status, call.duration, call.dialing) == ("completed", 42, False)
    assert call.events.last().data["outcome"] == "the call was over already"


@pytest.mark.parametrize(
    "change", [rest.end_call, lambda c: rest.say_goodbye(c, "Bye."), lambda c: rest.transfer(c, THEIRS)]
)
def test_a_call_that_twilio_does_not_know_is_not_said_to_be_over(api, change):
    call = make_live_call(account_sid=ACCOUNT)
    with pytest.raises(RestError, match=r"knows no such call.*TWILIO_API_URL"):
        change(call)
    call.refresh_from_db()
    assert (call.status, call.ended_at, call.dialing) == ("in-progress", None, False)
    assert call.events.last().kind.endswith("-failed")


@pytest.mark.parametrize(
    "change", [rest.end_call, lambda c: rest.say_goodbye(c, "Bye."), lambda c: rest.transfer(c, THEIRS), rest.look_up]
)
def test_twilio_is_never_asked_about_a_simulated_call(api, change):
    call = make_live_call(parameters={"Simulated": "yes"})
    with pytest.raises(RestError, match="This call was simulated, and Twilio knows nothing of it"):
        change(call)
    assert (api.requests, Call.objects.get().dialing) == ([], False)


def test_a_call_of_another_account_is_said_to_be_one(api):
    with pytest.raises(RestError, match="of another Twilio account than TWILIO_ACCOUNT_SID"):
        rest.end_call(make_live_call(account_sid="AC" + "f" * 32))


def test_an_update_that_is_answered_404_is_done_if_twilio_says_that_the_call_is_over(api):
    call = live(api)
    api.calls[call.sid].status, api.calls[call.sid].duration = "busy", None
    api.refusals = [ApiError(404, 20404, "The requested resource was not found")]
    assert rest.end_call(call) is False
    assert Call.objects.get().status == "busy"


def test_an_update_that_is_answered_404_for_a_call_that_runs_is_refused(api):
    call = live(api)
    api.refusals = [ApiError(404, 20404, "The requested resource was not found")]
    with pytest.raises(RestError, match="20404"):
        rest.end_call(call)
    assert Call.objects.get().status == "in-progress"


def test_a_look_up_of_a_call_that_twilio_does_not_know_says_so(api):
    with pytest.raises(RestError, match="knows no such call"):
        rest.look_up(make_live_call(account_sid=ACCOUNT))


def test_a_call_that_is_not_answered_yet_cannot_be_redirected_and_is_not_over(api):
    call = rest.place_call(THEIRS)
    api.calls[call.sid].status = "ringing"
    with pytest.raises(RestError, match="has not been answered yet"):
        rest.say_goodbye(call, "Bye.")
    assert Call.objects.get().status == "ringing"
    assert events(call)[-1] == ("system", "goodbye-failed")


def test_goodbye_is_said_and_then_the_call_hangs_up(api):
    rest.say_goodbye(live(api), "Fish & chips")
    assert form(api)["Twiml"][0].endswith("<Response><Say>Fish &amp; chips</Say><Hangup /></Response>")


def test_a_goodbye_that_is_too_long_is_not_sent(api):
    call = live(api)
    before = len(api.requests)
    with pytest.raises(RestError, match="at most 4000 characters"):
        rest.say_goodbye(call, "x" * 4000)
    assert len(api.requests) == before


def test_a_transferred_call_lives_on_without_a_stream(api):
    call = live(api)
    assert rest.transfer(call, "+14155550122") is True
    assert "<Dial>+14155550122</Dial>" in form(api)["Twiml"][0]
    assert Call.objects.get().dialing


def test_a_transfer_that_is_refused_leaves_the_call_as_it_was(api):
    call = live(api)
    api.refusals = [ApiError(400, 13224, "Invalid number")]
    with pytest.raises(RestError, match="Twilio says 13224"):
        rest.transfer(call, "x")
    assert not Call.objects.get().dialing
    assert events(call)[-1] == ("system", "transfer-failed")


def test_a_transfer_that_may_have_been_done_is_taken_for_done(api):
    call = live(api)
    api.mishaps = ["break"]
    with pytest.raises(OutcomeUnknown):
        rest.transfer(call, "+14155550122")
    assert Call.objects.get().dialing
    assert events(call)[-1] == ("system", "transfer-unknown")


def test_twilio_can_be_asked_how_a_call_is(api):
    call = live(api)
    api.calls[call.sid].status, api.calls[call.sid].duration = "completed", "12"
    assert rest.look_up(call).duration == 12
    assert Call.objects.get().status == "completed"


def test_an_inbound_call_without_a_stream_tells_us_when_it_is_over(api):
    call = live(api, direction="inbound")
    rest.transfer(call, "+14155550122")
    assert form(api)["StatusCallback"] == ["https://voice.example.org/call-status"]


def test_a_call_that_twilio_has_not_confirmed_cannot_be_ended(api):
    with pytest.raises(RestError, match="not confirmed"):
        rest.end_call(make_call(sid=None, status="queued"))


# --- the race of Twilio's reply and its callbacks


def test_a_callback_that_came_first_and_the_reply_find_the_same_row():
    call, number = make_call(sid=None, status="queued", ended_at=None), sid("CA")
    for _ in range(2):
        Call.objects.claim(call.pk, number)
    assert Call.objects.get().sid == number


def test_a_row_that_was_made_twice_becomes_one_and_keeps_the_older_ones_events():
    pending = make_call(
        sid=None, status="queued", ended_at=None, answered_at=None, direction="outbound-api", notes="VIP"
    )
    rest.calls.note(pending, "place", None, {})
    known = make_live_call(handler="", direction="inbound")
    Call.objects.claim(pending.pk, known.sid)
    call = Call.objects.get()
    assert (call.pk, call.status, call.direction) == (known.pk, "in-progress", "outbound-api")
    assert (call.handler, call.notes) == ("voicemail", "VIP")
    assert CallEvent.objects.get().call == call


def test_a_reference_does_not_take_a_call_from_another_one():
    call = make_call()
    Call.objects.claim(call.pk, sid("CA"))
    assert Call.objects.get().sid == call.sid


def test_a_changed_reference_is_refused():
    signed = CallRef(7, {"a": "b"}).sign()
    assert CallRef.read(signed) == CallRef(7, {"a": "b"})
    assert [CallRef.read(text) for text in ("", None, signed[:-1], f"x{signed}", "é", "x" * 9999)] == [None] * 6


# --- calls whose end nobody tells


MINUTE, NOW = dt.timedelta(minutes=1), START + dt.timedelta(hours=1)


def placed(**facts):
    return make_live_call(direction="outbound-api", created_at=START, **facts)


def test_a_call_that_rang_for_long_and_was_just_answered_is_not_given_up():
    call = placed(answered_at=NOW - dt.timedelta(seconds=5))
    assert list(Call.objects.abandoned(NOW, MINUTE)) == []
    assert list(Call.objects.abandoned(NOW + MINUTE, MINUTE)) == [call]


def test_a_call_that_twilio_never_told_of_is_over_a_day_later():
    waiting, ringing = placed(sid=None, status="queued", answered_at=None), placed(status="ringing", answered_at=None)
    placed(answered_at=START)
    day = dt.timedelta(hours=25)
    assert list(Call.objects.unheard(START + day, day)) == []
    assert {*Call.objects.unheard(NOW + day, day)} == {waiting, ringing}
