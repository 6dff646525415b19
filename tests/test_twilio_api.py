"""The simulator's REST API, as the twilio library's own client finds it: it refuses what Twilio refuses."""

from urllib.parse import urlsplit

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from simulator import ApiError, PhoneNumber, PlacedCall, Scenario, SimulatedCall, TwilioApi


ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
TOKEN = "0123456789abcdef0123456789abcdef"
OURS, THEIRS = "+14155550199", "+14155550100"
URL = "https://voice.example.org/incoming"


class Local(TwilioHttpClient):
    """The library's own, at another address and without a pool that would stay open."""

    def __init__(self, base):
        super().__init__(pool_connections=False, timeout=5)
        self.base = base

    def request(self, method, url, *args, headers, **kwargs):
        headers = {**headers, "Connection": "close"}
        parts = urlsplit(url)
        address = f"{self.base}{parts.path}?{parts.query}"
        return super().request(method, address, *args, headers=headers, **kwargs)


@pytest.fixture
def api():
    with TwilioApi(ACCOUNT, TOKEN, [PhoneNumber(OURS)]).running() as api:
        yield api


@pytest.fixture
def client(api):
    return Client(ACCOUNT, TOKEN, http_client=Local(api.url))


def refused(action, **asked):
    with pytest.raises(TwilioRestException) as raised:
        action(**asked)
    return raised.value.status, raised.value.code


def in_progress(api, client):
    call = client.calls.create(to=THEIRS, from_=OURS, url=URL)
    api.calls[call.sid].status = "in-progress"
    return call


def test_a_call_is_created_queued_and_can_be_fetched(client):
    call = client.calls.create(to=THEIRS, from_=OURS, url=URL)
    assert (call.status, call.direction, call.to, call.account_sid) == ("queued", "outbound-api", THEIRS, ACCOUNT)
    assert client.calls(call.sid).fetch().status == "queued"


BAD = [
    ({"to": ""}, 21201),
    ({"from_": ""}, 21213),
    ({"to": "nobody"}, 21211),
    ({"from_": "4155550199"}, 21212),
    ({"from_": "+14155550177"}, 21210),
    ({"url": "voice.example.org"}, 21205),
    ({"status_callback": "call-status"}, 21609),
    ({"status_callback_event": ["in-progress"]}, 21626),
]


@pytest.mark.parametrize(("asked", "code"), BAD)
def test_a_bad_request_has_twilios_code(client, asked, code):
    good = {"to": THEIRS, "from_": OURS, "url": URL}
    assert refused(client.calls.create, **{**good, **asked}) == (400, code)


def test_events_in_one_value_are_lost_without_an_error(api, client):
    events = ["initiated ringing answered completed"]
    call = client.calls.create(to=THEIRS, from_=OURS, url=URL, status_callback_event=events)
    assert api.calls[call.sid].events == []


def test_without_events_the_end_alone_is_told(api, client):
    call = client.calls.create(to=THEIRS, from_=OURS, url=URL)
    assert api.calls[call.sid].events == ["completed"]


def test_a_trial_account_calls_verified_numbers_only(api, client):
    api.verified = {THEIRS}
    assert client.calls.create(to=THEIRS, from_=OURS, url=URL).sid
    assert refused(client.calls.create, to="+14155550111", from_=OURS, url=URL) == (400, 21219)


def test_wrong_credentials_and_another_account_are_refused(api):
    wrong = Client(ACCOUNT, "f" * 32, http_client=Local(api.url))
    assert refused(wrong.calls.create, to=THEIRS, from_=OURS, url=URL) == (401, 20003)
    other = Client(ACCOUNT, TOKEN, account_sid="AC" + "0" * 32, http_client=Local(api.url))
    assert refused(other.calls.create, to=THEIRS, from_=OURS, url=URL) == (404, 20404)


def test_too_many_requests_on_request(api, client):
    api.refusals = [ApiError(429, 20429, "Too Many Requests")]
    assert refused(client.calls.create, to=THEIRS, from_=OURS, url=URL) == (429, 20429)
    assert api.calls == {}


def test_completed_ends_a_call_in_progress_and_canceled_leaves_it_alone(api, client):
    call = in_progress(api, client)
    assert client.calls(call.sid).update(status="canceled").status == "in-progress"
    assert client.calls(call.sid).update(status="completed").status == "completed"


@pytest.mark.parametrize("status", ["canceled", "completed"])
def test_a_queued_call_is_canceled(client, status):
    call = client.calls.create(to=THEIRS, from_=OURS, url=URL)
    assert client.calls(call.sid).update(status=status).status == "canceled"


@pytest.mark.parametrize("change", [{"status": "completed"}, {"twiml": "<Response/>"}, {"url": URL}])
def test_a_call_that_is_over_is_not_in_progress(api, client, change):
    call = in_progress(api, client)
    api.calls[call.sid].status = "busy"
    assert refused(client.calls(call.sid).update, **change) == (400, 21220)


def test_a_ringing_call_cannot_be_redirected(api, client):
    call = in_progress(api, client)
    api.calls[call.sid].status = "ringing"
    assert refused(client.calls(call.sid).update, url=URL) == (400, 21220)


def test_a_document_of_more_than_4000_characters_is_refused(api, client):
    call = in_progress(api, client)
    assert refused(client.calls(call.sid).update, twiml="x" * 4001) == (400, 32018)


def test_what_does_not_exist_is_not_found(client):
    assert refused(client.calls("CA" + "0" * 32).fetch) == (404, 20404)
    assert refused(client.incoming_phone_numbers("PN" + "0" * 32).update, voice_url=URL) == (404, 20404)
    assert refused(client.queues.create, friendly_name="x") == (404, 20404)


def test_numbers_are_found_by_parts_and_stars_and_cleared_by_an_empty_string(api, client):
    api.numbers += [PhoneNumber("+14155550177"), PhoneNumber("+4930555")]
    found = client.incoming_phone_numbers.list(phone_number="415*01")
    assert [number.phone_number for number in found] == [OURS, "+14155550177"]
    found[0].update(voice_url=URL, status_callback="https://example.org/over")
    assert api.numbers[0].voice_url == URL
    found[0].update(voice_url="")
    assert (api.numbers[0].voice_url, api.numbers[0].status_callback) == ("", "https://example.org/over")


def test_a_malformed_address_is_refused(client):
    number = client.incoming_phone_numbers.list()[0]
    assert refused(number.update, voice_url="voice.example.org") == (400, 21402)


# --- streams ----------------------------------------------------------------------------------------------------------


def test_no_stream_is_started_in_a_call_that_is_not_there_or_not_in_progress(api, client):
    call = client.calls.create(to=THEIRS, from_=OURS, url=URL)
    assert refused(client.calls(call.sid).streams.create, url="wss://x.example/connection") == (400, 21220)
    assert refused(client.calls("CA" + "0" * 32).streams.create, url="wss://x.example/connection") == (404, 20404)


@pytest.fixture
def line(api):
    """A call that came in, with one more thing that can be asked of it."""
    call = SimulatedCall(Scenario(public_url="https://voice.example.org", auth_token=TOKEN, account_sid=ACCOUNT))
    placed = PlacedCall(ACCOUNT, {"To": [OURS], "From": [THEIRS]}, call.scenario.call_sid, "in-progress", line=call)
    api.calls[placed.sid] = placed
    return call


def test_a_stream_that_twilio_would_not_start_is_refused(line, client):
    start = client.calls(line.scenario.call_sid).streams.create
    assert refused(start, url="https://x.example/connection") == (400, 20001)
    assert refused(start, url="wss://x.example/connection", track="both") == (400, 20001)
    long = {"parameter1_name": "token", "parameter1_value": "x" * 500}
    assert refused(start, url="wss://x.example/connection", **long) == (400, 20001)


def test_a_stream_that_is_not_live_cannot_be_stopped(line, client):
    streams = client.calls(line.scenario.call_sid).streams
    assert refused(streams("monitor-start").update, status="stopped") == (404, 20404)
