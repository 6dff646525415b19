"""Placing, ending and transferring calls in the admin, and the page of numbers: against the simulator's REST API."""

import contextlib
import http.client
import select
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.urls import reverse

from calls.models import Call
from simulator import ApiError, PhoneNumber, TwilioApi
from simulator.api import PlacedCall
from tests.support.factories import make_call, make_live_call, make_staff
from tests.support.servers import Server, until


ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
TOKEN = "0123456789abcdef0123456789abcdef"
OURS, THEIRS = "+14155550199", "+14155550100"
PLACE, NUMBERS, LIST = "/admin/calls/call/place/", "/admin/calls/call/numbers/", "/admin/calls/call/"
POINT = f"{NUMBERS}point/{OURS}/"
FORM = {"to": THEIRS, "from_": OURS, "handler": "echo", "parameters": ""}

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(settings):
    with TwilioApi(ACCOUNT, TOKEN, [PhoneNumber(OURS, friendly_name="Main line")]).running() as api:
        settings.TWILIO_API_URL = api.url
        settings.DEFAULT_FROM_NUMBER = OURS
        yield api


@pytest.fixture
def ops(client):
    user = make_staff("view_call", "place_call", "see_numbers")
    client.force_login(user)
    return user


@pytest.fixture
def viewer(client):
    client.force_login(make_staff("view_call", "see_numbers"))


def live(api):
    """A call in progress, known to us and to Twilio."""
    call = make_live_call()
    api.calls[call.sid] = PlacedCall(ACCOUNT, {}, sid=call.sid, status="in-progress")
    return call


def url(name, call):
    return reverse(f"admin:calls_call_{name}", args=[call.pk])


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def text(response):
    return response.content.decode()


# --- placing


def test_a_call_is_placed_and_its_page_shown(client, ops, api):
    response = client.post(PLACE, {**FORM, "parameters": "order=17\r\n\r\nnote = a=b", "machine_detection": "on"})
    call = Call.objects.get()
    assert response.headers["Location"] == url("change", call)
    assert (call.to_number, call.handler, call.sid) == (THEIRS, "echo", next(iter(api.calls)))
    event = call.events.get()
    assert (event.source, event.user, event.data) == ("control", ops, {"parameters": {"order": "17", "note": "a=b"}})
    assert api.requests[-1][2]["MachineDetection"] == ["Enable"]
    assert said(response) == [f"Calling {THEIRS}."]


def test_the_form_knows_the_handlers_and_where_calls_come_from(client, ops, api):
    html = text(client.get(PLACE))
    assert f'value="{OURS}"' in html
    for name in ("echo", "monitor", "voicemail"):
        assert f'<option value="{name}"' in html


def test_what_twilio_refuses_is_said_above_the_form_and_what_was_typed_stays(client, ops, api):
    api.refusals = [ApiError(400, 21216, "Account not allowed to call")]
    response = client.post(PLACE, FORM)
    assert "Twilio does not call that number" in text(response)
    assert f'value="{THEIRS}"' in text(response)


@pytest.mark.parametrize("refusal", [ApiError(400, 21216, "Account not allowed"), ApiError(429, 20429, "Too Many")])
def test_an_attempt_that_did_nothing_leaves_no_call(client, ops, api, refusal):
    api.refusals = [refusal]
    client.post(PLACE, FORM)
    assert not Call.objects.exists()


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ("415 555", "it has too few digits"),
        ("+1415555010012345", "it has too many digits"),
        ("+999123456789", "no country has that code"),
        ("my mother", "it is not a number"),
    ],
)
def test_what_is_not_a_number_is_refused_before_anybody_is_asked(client, ops, api, typed, wrong):
    html = text(client.post(PLACE, {**FORM, "to": typed}))
    assert f"“{typed}” cannot be called: {wrong}. Write it with +" in html
    assert (api.requests, Call.objects.count()) == ([], 0)


@pytest.mark.parametrize("typed", ["(415) 555-0100", "+1 415 555 0100", "1-415-555-0100", "+14155550100"])
def test_a_number_is_called_however_it_is_written(client, ops, api, typed):
    client.post(PLACE, {**FORM, "to": typed})
    assert Call.objects.get().to_number == THEIRS


@pytest.mark.parametrize("address", ["sip:desk@example.com", "client:anna"])
def test_other_addresses_are_left_to_twilio(client, ops, api, address):
    client.post(PLACE, {**FORM, "to": address})
    assert api.requests[-1][2]["To"] == [address]


def test_a_call_is_not_transferred_to_something_that_is_not_a_number(client, ops, api):
    call = live(api)
    assert "cannot be called" in text(client.post(url("transfer", call), {"number": "415 555"}))
    assert api.requests == []


def test_an_unknown_outcome_shows_the_row_that_waits(client, ops, api):
    api.mishaps = ["break"]
    response = client.post(PLACE, FORM)
    assert response.headers["Location"] == url("change", Call.objects.get())
    assert "look before trying again" in said(response)[0]


def test_a_second_click_is_not_a_second_call(client, ops, api):
    for _ in range(2):
        response = client.post(PLACE, FORM)
    assert (len(api.calls), Call.objects.count()) == (1, 1)
    assert "You have placed this call just now." in said(response)


def test_a_call_that_was_refused_can_be_tried_again_at_once(client, ops, api):
    api.refusals = [ApiError(429, 20429, "Too Many Requests")]
    for _ in range(2):
        client.post(PLACE, FORM)
    assert [call.status for call in Call.objects.all()] == ["queued"]


def test_parameters_that_are_not_pairs_are_explained(client, ops, api):
    assert "“order”: write it as NAME=VALUE." in text(client.post(PLACE, {**FORM, "parameters": "order"}))
    assert api.requests == []


@pytest.mark.parametrize("lacking", ["to", "handler"])
def test_a_form_that_is_not_filled_in_asks_nobody(client, ops, api, lacking):
    assert client.post(PLACE, {**FORM, lacking: ""}).status_code == 200
    assert api.requests == []


# --- running calls


def test_a_live_call_has_buttons_and_one_that_is_over_has_none(client, ops, api):
    call = live(api)
    assert [word for word, _ in client.get(url("change", call)).context["controls"]] == [
        "Hang up",
        "Say goodbye and hang up",
        "Transfer",
    ]
    assert "controls" not in client.get(url("change", make_call())).context


@pytest.mark.parametrize("name", ["hang-up", "goodbye", "transfer"])
def test_nothing_is_done_before_it_is_confirmed(client, ops, api, name):
    call = live(api)
    assert "No, go back" in text(client.get(url(name, call)))
    assert api.requests == []


def test_hanging_up_is_on_record_with_who_did_it(client, ops, api):
    call = live(api)
    response = client.post(url("hang-up", call))
    assert (response.headers["Location"], said(response)) == (url("change", call), ["The call was hung up."])
    event = call.events.get()
    assert (event.source, event.kind, event.user) == ("control", "hang-up", ops)
    assert Call.objects.get().status == "completed"


def test_goodbye_is_said_with_these_words(client, ops, api):
    call = live(api)
    client.post(url("goodbye", call), {"text": "Until tomorrow."})
    assert "<Say>Until tomorrow.</Say><Hangup />" in api.requests[-1][2]["Twiml"][0]
    assert call.events.get().data == {"text": "Until tomorrow."}


def test_a_call_is_transferred_to_a_number(client, ops, api):
    call = live(api)
    client.post(url("transfer", call), {"number": "+14155550122"})
    assert "<Dial>+14155550122</Dial>" in api.requests[-1][2]["Twiml"][0]
    assert Call.objects.get().dialing


def test_a_call_that_is_over_is_said_to_be(client, ops, api):
    call = live(api)
    api.calls[call.sid].status = "completed"
    assert said(client.post(url("hang-up", call))) == ["The call was over already."]


def test_what_twilio_refuses_is_said_on_the_calls_page(client, ops, api):
    call = live(api)
    api.refusals = [ApiError(401, 20003, "Authenticate")]
    response = client.post(url("hang-up", call), follow=True)
    assert "Twilio does not accept our credentials" in text(response)
    assert TOKEN not in text(response)
    assert call.events.get().kind == "hang-up-failed"


# --- numbers


def test_the_numbers_are_shown_with_where_they_point(client, ops, api):
    api.numbers[0].voice_url = "https://voice.example.org/incoming/echo"
    api.numbers.append(PhoneNumber("+14155550177", voice_application_sid="AP1"))
    html = text(client.get(NUMBERS))
    assert "Main line" in html
    assert html.index(">here<") < html.index(">elsewhere<") < html.index("TwiML application AP1 answers this number")


def test_numbers_that_cannot_be_asked_for_are_explained(client, ops, api):
    api.refusals = [ApiError(401, 20003, "Authenticate")]
    html = text(client.get(NUMBERS))
    assert "Twilio does not accept our credentials" in html
    assert "No numbers to show." in html


@pytest.fixture
def pointer(client):
    user = make_staff("view_call", "point_numbers", "see_numbers")
    client.force_login(user)
    return user


def test_a_number_is_pointed_at_a_handler_after_a_look_at_where_it_points(client, pointer, api):
    api.numbers[0].voice_url = "https://old.example.org/voice"
    assert f'href="{POINT}"' in text(client.get(NUMBERS))
    html = text(client.get(POINT))
    assert "https://old.example.org/voice" in html
    assert api.numbers[0].voice_url == "https://old.example.org/voice"
    response = client.post(POINT, {"handler": "echo"})
    assert said(response) == [f"Calls to {OURS} are answered here from now on, by echo."]
    assert api.numbers[0].voice_url == "https://voice.example.org/incoming/echo"


def test_who_pointed_a_number_is_on_record_with_what_was_there(client, pointer, api):
    api.numbers[0].voice_url = "https://old.example.org/voice"
    client.post(POINT, {"handler": ""})
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_repr) == (pointer, OURS)
    assert "VoiceUrl was https://old.example.org/voice" in entry.change_message
    assert api.numbers[0].voice_url == "https://voice.example.org/incoming"


def test_a_number_that_twilio_does_not_confirm_is_on_record_all_the_same(client, pointer, api):
    api.mishaps = ["", "", "break"]  # of two looks and the change
    client.post(POINT, {"handler": "echo"})
    assert api.numbers[0].voice_url == "https://voice.example.org/incoming/echo"
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_repr) == (pointer, OURS)
    assert "by echo. VoiceUrl was empty" in entry.change_message
    assert "Whether it was done is not known" in entry.change_message


def test_a_number_that_twilio_refuses_to_change_is_on_record_with_why(client, pointer, api, settings):
    settings.PUBLIC_URL = "ftp://voice.example.org"
    client.post(POINT, {"handler": "echo"})
    assert "Not done: Twilio cannot use our address" in LogEntry.objects.get().change_message


def test_all_who_see_our_numbers_read_who_pointed_them(client, pointer, api):
    client.post(POINT, {"handler": "echo"})
    client.force_login(make_staff("view_call", "place_call"))
    html = text(client.get(NUMBERS))
    assert "Recent changes" in html
    assert pointer.username in html
    assert "To be answered here, by echo. VoiceUrl was empty" in html


@pytest.mark.parametrize("permission", ["point_numbers", "place_call"])
def test_the_list_of_calls_leads_to_our_numbers(client, permission):
    client.force_login(make_staff("view_call", permission))
    assert f'href="{NUMBERS}"' in text(client.get(LIST))
    client.force_login(make_staff("view_call"))
    assert NUMBERS not in text(client.get(LIST))


def test_what_becomes_of_a_fallback_is_said_before_a_number_is_pointed_here(client, pointer, api):
    assert "Twilio asks here once more." in client.get(POINT).content.decode()
    api.numbers[0].voice_fallback_url = "https://old.example.org/sorry"
    assert "https://old.example.org/sorry</span>, as before." in client.get(POINT).content.decode()
    client.post(POINT, {"handler": "echo"})
    assert api.numbers[0].voice_fallback_url == "https://old.example.org/sorry"


def test_a_number_that_something_else_answers_is_warned_of(client, pointer, api):
    api.numbers[0].voice_application_sid = "AP1"
    assert "TwiML application AP1 answers this number" in text(client.get(POINT))
    assert "TwiML application AP1 answers this number" in said(client.post(POINT, {"handler": "echo"}))[1]


@pytest.mark.parametrize("handler", ["nobody", "echo; drop"])
def test_a_number_is_not_pointed_at_a_handler_that_does_not_exist(client, pointer, api, handler):
    assert "Select a valid choice" in text(client.post(POINT, {"handler": handler}))
    assert api.numbers[0].voice_url == ""


def test_a_number_that_is_not_ours_is_said_not_to_be(client, pointer, api):
    response = client.get(POINT.replace(OURS, "+4930901820"))
    assert response["Location"] == NUMBERS
    assert "This account has no number +4930901820" in said(response)[0]


def test_who_may_place_calls_may_not_point_numbers(client, ops, api):
    assert "Answer here" not in text(client.get(NUMBERS))
    assert [client.get(POINT).status_code, client.post(POINT, {"handler": "echo"}).status_code] == [403, 403]
    assert api.numbers[0].voice_url == ""


def test_a_silent_twilio_is_named_on_the_page(client, ops, api, monkeypatch):
    monkeypatch.setattr("calls.rest.client.TIMEOUT", 0.5)
    api.mishaps = ["silence"]
    html = text(client.get(NUMBERS))
    assert "Twilio did not answer within 0.5 s" in html
    assert "try again in a minute" in html


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_a_silent_twilio_holds_up_nobody_elses_pages(client, ops, tmp_path):
    """Takes as long as we wait for Twilio, 5 s at a time."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Server("uvicorn", tmp_path, TWILIO_API_URL=url) as server, ThreadPoolExecutor(8) as pool:
            cookie = {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}
            asked = [pool.submit(fetch, server, NUMBERS, cookie) for _ in range(8)]
            until(lambda: select.select([silent], [], [], 0)[0], "Twilio to be asked")
            assert [fetch(server, path, cookie)[0] for path in ("/admin/login/", LIST)] == [302, 200]
            # Twilio's 5 s are not over for anybody who asked; some found no room.
            assert not any(request.done() and request.result()[0] == 200 for request in asked)
            answers = [request.result() for request in asked]
    assert sorted(status for status, _ in answers) == [200] * 6 + [503] * 2
    assert all("Twilio did not answer" in html for status, html in answers if status == 200)
    assert all("Twilio is slow to answer" in html for status, html in answers if status == 503)


def fetch(server, path, headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


# --- who may


@pytest.mark.parametrize("path", [PLACE, NUMBERS])
def test_without_the_permission_there_is_no_such_page(client, viewer, api, path):
    assert client.get(path).status_code == 403
    assert api.requests == []


@pytest.mark.parametrize("name", ["hang-up", "goodbye", "transfer"])
def test_without_the_permission_nothing_can_be_done_to_a_call(client, viewer, api, name):
    call = live(api)
    assert client.post(url(name, call), {"text": "Bye.", "number": THEIRS}).status_code == 403
    assert "controls" not in client.get(url("change", call)).context
    assert api.requests == []


def test_the_list_offers_to_call_only_to_those_who_may(client, ops, api):
    assert PLACE in text(client.get(LIST))
    client.force_login(make_staff("view_call"))
    assert PLACE not in text(client.get(LIST))


def test_every_page_runs_our_own_scripts_only(client, ops, api):
    for path in (PLACE, NUMBERS, url("hang-up", live(api))):
        assert "script-src 'self'" in client.get(path).headers["Content-Security-Policy"]
