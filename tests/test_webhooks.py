"""The voice webhook: who is answered, with which document, and what is left of the request."""

import asyncio
import hashlib
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from django.core.asgi import get_asgi_application
from django.test import AsyncClient
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from calls.models import Call
from calls.recorder import recorder
from calls.security import StreamToken, simulators_mark
from calls.server.switchboard import switchboard
from calls.webhooks import keeping
from tests.support.line import database_busy, stored
from tests.support.webhooks import (
    CALL,
    INCOMING,
    SIGNATURE,
    document,
    get,
    post,
    post_json,
    signature,
    token,
    verbs,
)


pytestmark = pytest.mark.usefixtures("process")

PATHS = ["/incoming", "/incoming/echo", "/call-status", "/stream-status", "/stream-ended"]
INCOMING_URL = "https://voice.example.org/incoming"


# --- who is answered --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_webhook_passes_by_what_only_pages_need(client):
    answer = post(client, "/incoming", INCOMING)
    assert not {"X-Frame-Options", "Referrer-Policy"} & set(answer.headers)
    assert answer["Content-Length"] == str(len(answer.content))


def test_nobody_is_answered_under_a_host_that_is_not_ours(client):
    assert post(client, "/incoming", INCOMING, Host="evil.example.org").status_code == 400


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.django_db
def test_a_signed_form_is_answered(client, path):
    assert post(client, path, INCOMING).status_code in (200, 204)


@pytest.mark.django_db
def test_a_signed_query_is_answered(client):
    assert verbs(get(client, "/incoming/echo", INCOMING)) == ["Connect"]
    assert Call.objects.get().from_number == "+14155550100"


@pytest.mark.django_db
def test_a_signed_json_body_is_answered(client):
    assert post_json(client, "/incoming", json.dumps(INCOMING).encode()).status_code == 200
    assert Call.objects.get().to_number == "+14155550199"


WRONG = {
    "none": None,
    "empty": "",
    "nonsense": "nonsense",
    "not ASCII": "é",
    "another token's": signature(INCOMING_URL, INCOMING, token="f" * 32),
    "no token's": signature(INCOMING_URL, INCOMING, token=""),
    "another path's": signature(INCOMING_URL + "/echo", INCOMING),
    "another slash": signature(INCOMING_URL + "/", INCOMING),
    "another scheme": signature("http://voice.example.org/incoming", INCOMING),
    "another host": signature("https://testserver/incoming", INCOMING),
    "another caller's": signature(INCOMING_URL, {**INCOMING, "From": "+14155550101"}),
    "one field less": signature(INCOMING_URL, {k: v for k, v in INCOMING.items() if k != "CallToken"}),
    "a query's": signature(INCOMING_URL),
}


FORM = "application/x-www-form-urlencoded"


# Without the database: pytest-django raises for any query.
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_form_that_twilio_did_not_sign_is_refused_without_a_query(client, wrong):
    headers = {} if wrong is None else {SIGNATURE: wrong}
    response = client.post("/incoming", urlencode(INCOMING), content_type=FORM, headers=headers)
    assert response.status_code == 403
    assert b"<" not in response.content


@pytest.mark.parametrize("wrong", ["nonsense", "bm9uc2Vuc2U=", "A" * 28, "A" * 27 + "=="])
def test_what_cannot_be_a_signature_is_refused_before_the_form_is_parsed(client, caplog, monkeypatch, wrong):
    monkeypatch.setattr("django.http.request.QueryDict.__init__", lambda *_, **__: pytest.fail("parsed"))
    response = client.post("/incoming", b"a=%41", content_type=FORM, headers={SIGNATURE: wrong})
    assert response.status_code == 403
    assert "parameters that were not read" in caplog.text


def test_fields_in_a_form_that_twilio_never_sends_are_not_read(client):
    wrong = signature(INCOMING_URL, INCOMING)
    assert client.post("/incoming", INCOMING, headers={SIGNATURE: wrong}).status_code == 403


@pytest.mark.parametrize("path", PATHS)
def test_no_path_answers_what_is_not_signed(client, path):
    assert client.post(path, INCOMING).status_code == 403
    assert client.get(path, INCOMING).status_code == 403


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.django_db
def test_a_refusal_costs_no_query(client, path, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert client.post(path, INCOMING).status_code == 403
    assert not Call.objects.exists()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.django_db
def test_what_staff_have_to_show_costs_a_webhook_nothing(client, path, django_assert_max_num_queries, settings):
    settings.REQUIRE_SECOND_FACTOR = "all"
    client.cookies["sessionid"] = "somebody's"
    with django_assert_max_num_queries(30) as queries:
        response = post(client, path, INCOMING)
    asked = " ".join(query["sql"] for query in queries.captured_queries)
    assert not re.search("django_session|auth_|otp_|audit", asked)
    assert "Cookie" not in response.get("Vary", "")


def test_a_json_body_that_is_not_the_signed_one_is_refused(client):
    url = f"/incoming?bodySHA256={hashlib.sha256(b'{}').hexdigest()}"
    headers = {SIGNATURE: signature(f"https://voice.example.org{url}")}
    body = json.dumps(INCOMING)
    assert client.post(url, body, content_type="application/json", headers=headers).status_code == 403


def test_a_json_body_without_a_hash_is_refused(client):
    headers = {SIGNATURE: signature(INCOMING_URL)}
    response = client.post("/incoming", json.dumps(INCOMING), content_type="application/json", headers=headers)
    assert response.status_code == 403


@pytest.mark.django_db
def test_either_token_is_good_during_a_rotation(client, settings):
    settings.TWILIO_AUTH_TOKENS = ["f" * 32, *settings.TWILIO_AUTH_TOKENS]
    assert post(client, "/incoming", INCOMING).status_code == 200
    new = signature(INCOMING_URL, INCOMING, token="f" * 32)
    assert post(client, "/incoming", INCOMING, **{SIGNATURE: new}).status_code == 200


def test_a_token_that_was_taken_away_is_good_no_more(client, settings):
    settings.TWILIO_AUTH_TOKENS = ["f" * 32]
    assert post(client, "/incoming", INCOMING).status_code == 403


@pytest.mark.parametrize("port", ["", ":443", ":8443"])
@pytest.mark.django_db
def test_twilio_may_sign_with_and_without_the_port(client, settings, port):
    settings.PUBLIC_URL = "https://voice.example.org:8443" if port == ":8443" else "https://voice.example.org"
    signed = signature(f"https://voice.example.org{port}/incoming", INCOMING)
    assert post(client, "/incoming", INCOMING, **{SIGNATURE: signed}).status_code == 200


FORGED = {
    "Host": "127.0.0.1",
    "X-Forwarded-Host": "evil.example.org",
    "X-Forwarded-Proto": "http",
    "Forwarded": "host=x",
}


@pytest.mark.django_db
def test_no_header_changes_what_was_signed_or_where_the_stream_goes(client):
    stream = document(post(client, "/incoming", INCOMING, **FORGED)).find("Connect/Stream")
    assert stream.get("url") == "wss://voice.example.org/connection"
    assert stream.get("statusCallback") == "https://voice.example.org/stream-status"


def test_a_signature_for_the_host_of_a_header_is_refused(client):
    signed = signature("https://evil.example.org/incoming", INCOMING)
    assert post(client, "/incoming", INCOMING, **FORGED, **{SIGNATURE: signed}).status_code == 403


def test_a_refusal_names_the_url_and_the_parameters_but_no_value(client, caplog):
    path, wrong = "/incoming?secret=squirrel", "bm9uc2Vuc2UxMjM0NTY3ODkwMTI="
    client.post(path, urlencode(INCOMING), content_type=FORM, headers={SIGNATURE: wrong})
    (line,) = [message for message in caplog.messages if message.startswith("signature_invalid")]
    assert "https://voice.example.org/incoming?secret=" in line
    assert "CallSid" in line
    assert "StirVerstat" in line
    for value in ("squirrel", wrong, CALL, "+14155550100", "a long opaque token", "0123456789abcdef"):
        assert value not in caplog.text


@pytest.mark.parametrize("sid", [None, "", "CA1", "CA" + "g" * 32, f"{CALL}\n", f"{CALL}0", "ca" + CALL[2:], "\x00"])
def test_a_signed_request_without_a_usable_call_sid_is_a_bad_one(client, sid):
    form = {name: value for name, value in {**INCOMING, "CallSid": sid}.items() if value is not None}
    response = post(client, "/incoming", form)
    assert response.status_code == 400
    assert response.content.startswith(b"CallSid")


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b"[" * 100_000, b"\xff"])
def test_a_signed_json_body_that_holds_no_fields_is_a_bad_request(client, body):
    assert post_json(client, "/incoming", body).status_code == 400


@pytest.mark.parametrize("method", ["put", "delete", "patch", "options", "head"])
@pytest.mark.parametrize("path", PATHS)
def test_other_methods_are_not_for_webhooks(client, path, method):
    assert getattr(client, method)(path).status_code == 405


@pytest.mark.parametrize("path", [f"{path}/" for path in PATHS if "incoming" not in path])
def test_a_path_with_a_slash_is_another_one_and_nobody_is_redirected(client, path):
    assert post(client, path, INCOMING).status_code == 404


@pytest.mark.django_db
def test_a_webhook_over_http_is_not_redirected(client):
    assert post(client, "/incoming", INCOMING, **{"X-Forwarded-Proto": "http"}).status_code == 200


@pytest.mark.django_db
def test_a_parameter_that_nobody_has_heard_of_is_signed_and_kept(client):
    assert post(client, "/incoming", {**INCOMING, "NewThing": " spaces stay "}).status_code == 200
    assert Call.objects.get().parameters["NewThing"] == " spaces stay "


@pytest.mark.django_db
def test_a_charset_after_the_content_type_is_tolerated(client):
    body = "CallSid=" + CALL
    response = client.post(
        "/incoming",
        body,
        content_type="application/x-www-form-urlencoded; charset=UTF-8",
        headers={SIGNATURE: signature(INCOMING_URL, {"CallSid": CALL})},
    )
    assert response.status_code == 200


def exempt_views(patterns, prefix=""):
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from exempt_views(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern) and getattr(pattern.callback, "csrf_exempt", False):
            yield path


def test_webhooks_and_the_api_which_knows_no_cookies_are_the_only_views_without_csrf():
    exempt = sorted(exempt_views(get_resolver().url_patterns))
    assert [path for path in exempt if not path.startswith("api/v1/")] == [
        "call-status",
        "incoming",
        "incoming/",
        "incoming/<str:handler>",
        "incoming/<str:handler>/",
        "stream-ended",
        "stream-status",
    ]


async def on_the_wire(raw_path, query, signed):
    """A GET as an ASGI server hands it over, escapes and all."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/incoming/no such",
        "raw_path": raw_path,
        "query_string": query,
        "headers": [(b"host", b"voice.example.org"), (b"x-twilio-signature", signature(signed).encode())],
    }
    sent = []

    left = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        return left.pop() if left else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await get_asgi_application()(scope, receive, send)
    return sent[0]["status"]


async def test_the_url_is_validated_as_it_was_on_the_wire():
    query = b"CallSid=none&q=%7e%2F+x"
    url = "https://voice.example.org/incoming/no%20such?CallSid=none&q=%7e%2F+x"
    assert await on_the_wire(b"/incoming/no%20such", query, url) == 400
    assert await on_the_wire(b"/incoming/no%20such", query, url.replace("%7e", "~")) == 403


@pytest.mark.parametrize("path", ["/incoming/", "/incoming/echo/"])
@pytest.mark.django_db
def test_a_trailing_slash_does_not_matter(client, path):
    response = post(client, path, INCOMING)
    assert StreamToken.read(token(response)).handler == ("echo" if "echo" in path else "voicemail")
    assert client.post(path, INCOMING).status_code == 403


@pytest.mark.parametrize("path", ["/", "/admin"])
def test_whoever_types_the_host_alone_or_forgets_the_slash_comes_to_the_admin(client, path):
    response = client.get(path)
    assert (response.status_code, response["Location"]) == (302, "/admin/")
    assert client.post(path).status_code == 405


def test_only_this_host_is_bound_to_https(client):
    assert client.get("/")["Strict-Transport-Security"] == "max-age=31536000"


# --- what is answered -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_call_is_connected_to_the_default_handler(client):
    response = post(client, "/incoming", INCOMING)
    connect = document(response).find("Connect")
    assert [element.tag for element in document(response).iter()] == ["Response", "Connect", "Stream", "Parameter"]
    assert connect.attrib == {"action": "https://voice.example.org/stream-ended?handler=voicemail&resumed=0"}
    assert connect.find("Stream").attrib == {
        "url": "wss://voice.example.org/connection",
        "name": "voicemail",
        "statusCallback": "https://voice.example.org/stream-status",
    }


@pytest.mark.django_db
def test_the_token_says_which_call_this_is(client):
    said = StreamToken.read(token(post(client, "/incoming/echo", INCOMING)))
    assert (said.call_sid, said.handler, said.resumed, said.bidirectional) == (CALL, "echo", 0, True)
    assert (said.from_number, said.to_number, said.direction) == ("+14155550100", "+14155550199", "inbound")
    assert said.account_sid == "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"


@pytest.mark.django_db
def test_name_and_token_stay_below_twilios_500_characters(client):
    sip = "sip:" + "ü" * 300 + "@example.org"
    value = token(post(client, "/incoming", {**INCOMING, "From": sip, "To": sip}))
    assert len("token" + value) < 500
    assert StreamToken.read(value) is not None


@pytest.mark.django_db
def test_hostile_numbers_stay_inside_the_token(client):
    response = post(client, "/incoming", {**INCOMING, "From": '"/></Stream><Dial>1</Dial>', "CallerName": "]]>"})
    tags = [element.tag for element in document(response).iter()]
    assert tags == ["Response", "Connect", "Stream", "Parameter", "Parameter"]


@pytest.mark.django_db
def test_the_call_is_noted_with_what_twilio_said(client):
    post(client, "/incoming/echo", {**INCOMING, "CallerName": "ANNA", "ForwardedFrom": "+14155550111"})
    call = Call.objects.get()
    assert (call.sid, call.status, call.handler, call.direction) == (CALL, "ringing", "echo", "inbound")
    assert (call.caller_name, call.forwarded_from) == ("ANNA", "+14155550111")
    assert call.parameters["FromCity"] == "SAN FRANCISCO"


@pytest.mark.django_db
def test_tokens_of_twilios_are_never_stored(client):
    post(client, "/incoming", {**INCOMING, "StirPassportToken": "a passport"})
    kept = json.dumps(Call.objects.get().parameters)
    assert "a long opaque token" not in kept
    assert "a passport" not in kept


@pytest.mark.django_db
def test_a_second_delivery_is_the_same_call_with_a_fresh_nonce(client):
    first, second = (StreamToken.read(token(post(client, "/incoming", INCOMING))) for _ in range(2))
    assert first.nonce != second.nonce
    assert Call.objects.get().sid == CALL


@pytest.mark.django_db
def test_a_replay_after_the_end_changes_nothing(client):
    post(client, "/incoming", INCOMING)
    post(client, "/call-status", {**INCOMING, "CallStatus": "completed", "CallDuration": "9"})
    before = Call.objects.values().get()
    post(client, "/incoming", INCOMING)
    assert Call.objects.values().get() == before


@pytest.mark.django_db
def test_an_unknown_handler_is_an_apology_and_a_line(client, caplog):
    assert verbs(post(client, "/incoming/nobody", INCOMING)) == ["Say", "Hangup"]
    assert any(m.startswith("handler_unknown name='nobody'") and "voicemail" in m for m in caplog.messages)
    assert Call.objects.get().handler == "nobody"


@pytest.mark.django_db
def test_a_handler_that_cannot_be_imported_is_an_apology(client, settings, caplog):
    settings.STREAM_HANDLERS = {"lost": "nowhere.to.be.found"}
    assert verbs(post(client, "/incoming/lost", INCOMING)) == ["Say", "Hangup"]
    assert f"handler_unusable handler='lost' call={CALL}" in caplog.messages


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["%0Aforged%20line", "%00", "%F0%9F%8E%B5", "x" * 2000])
def test_a_hostile_handler_name_is_one_line_of_the_log(client, caplog, name):
    form = {"CallSid": CALL}
    signed = {SIGNATURE: signature(f"https://voice.example.org/incoming/{name}", form)}
    response = client.post(f"/incoming/{name}", urlencode(form), content_type=FORM, headers=signed)
    assert verbs(response) in (["Say", "Hangup"], [])
    assert all("\n" not in message and "\x00" not in message for message in caplog.messages)


def told(response):
    found = document(response).iter("Parameter")
    return {each.get("name"): each.get("value") for each in found if each.get("name") != "token"}


@pytest.mark.django_db
def test_a_handler_is_told_who_calls_and_who_forwarded_the_call(client):
    form = {**INCOMING, "CallerName": "ANNA", "ForwardedFrom": "+14155550111"}
    assert told(post(client, "/incoming", form)) == {"CallerName": "ANNA", "ForwardedFrom": "+14155550111"}


@pytest.mark.django_db
def test_a_long_name_is_cut_to_what_twilio_hands_on(client):
    (value,) = told(post(client, "/incoming", {**INCOMING, "CallerName": "ü" * 2000})).values()
    assert 0 < len("CallerName" + value) < 500


async def asks_who(stream):
    pass


def _with_an_order(noun):
    return noun.parameter("order", noun.parameters["To"]).connect()


def _with_a_novel(noun):
    return noun.parameter("novel", "x" * 495).connect()


def _behind_our_back(noun):
    noun.custom["novel"] = "x" * 495
    return noun.connect()


@pytest.fixture
def own(settings, monkeypatch):
    """Has `asks_who` answer with that document."""

    def make(document):
        settings.STREAM_HANDLERS = {"own": "tests.test_webhooks.asks_who"}
        monkeypatch.setattr(asks_who, "twiml", document, raising=False)

    return make


@pytest.mark.django_db
def test_a_handlers_document_may_add_parameters(client, own):
    own(_with_an_order)
    assert told(post(client, "/incoming/own", INCOMING)) == {"order": "+14155550199"}


@pytest.mark.parametrize("document", [_with_a_novel, _behind_our_back])
@pytest.mark.django_db
def test_a_parameter_that_is_too_long_is_an_apology_and_a_line_of_the_log(client, own, document, caplog):
    own(document)
    assert verbs(post(client, "/incoming/own", INCOMING)) == ["Say", "Hangup"]
    assert f"twiml_failed handler='own' call={CALL}" in caplog.messages
    assert "The parameter novel is too long: name and value stay below 500 characters." in caplog.text


@pytest.mark.django_db
def test_a_draining_process_leaves_the_call_to_another(client):
    switchboard.draining = True
    response = post(client, "/incoming/echo", INCOMING)
    # The pause is for the proxy, which finds out within a second that this process is not ready.
    assert verbs(response) == ["Pause", "Connect"]
    assert StreamToken.read(token(response)).handler == "echo"


@pytest.mark.django_db
def test_a_draining_process_that_is_full_leaves_the_call_to_another_too(client, settings):
    switchboard.draining, settings.MAX_STREAMS = True, 0
    assert verbs(post(client, "/incoming", INCOMING)) == ["Pause", "Connect"]


@pytest.mark.django_db
def test_a_draining_process_has_the_recording_of_a_dialled_call_begin_elsewhere_too(client, settings):
    switchboard.draining, settings.MONITOR_DIAL = True, "+14155550123"
    assert verbs(post(client, "/incoming/monitor", INCOMING)) == ["Pause", "Start", "Dial"]


@pytest.mark.django_db
def test_a_full_process_is_busy(client, settings, caplog):
    settings.MAX_STREAMS = 0
    response = post(client, "/incoming", INCOMING)
    assert [(verb.tag, verb.attrib) for verb in document(response)] == [("Reject", {"reason": "busy"})]
    assert any(message.startswith("call_rejected reason=full") for message in caplog.messages)


@pytest.mark.django_db
def test_a_call_is_simulated_if_our_simulator_says_so_and_not_if_its_caller_does(client):
    said = {"CA" + "1" * 32: "yes", "CA" + "2" * 32: "é", "CA" + "3" * 32: simulators_mark("0123456789abcdef" * 2)}
    for sid, mark in said.items():
        post(client, "/incoming", {**INCOMING, "CallSid": sid, "Simulated": mark})
    assert [call.parameters.get("Simulated") for call in Call.objects.order_by("sid")] == [None, None, "yes"]


@pytest.mark.django_db
def test_every_answer_is_a_document_that_says_it_is_utf_8(client):
    assert post(client, "/incoming", INCOMING).content.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')


# --- the database is away ---------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    """A threadpool of the test's own, so that what still waits for the database ends with the test."""
    monkeypatch.setattr(keeping, "DATABASE_PATIENCE", 0.05)
    with ThreadPoolExecutor(2) as pool:
        monkeypatch.setattr(keeping, "_database", pool)
        yield


async def post_async(path, form):
    headers = {"X-Forwarded-Proto": "https", SIGNATURE: signature(f"https://voice.example.org{path}", form)}
    return await AsyncClient(**headers).post(path, urlencode(form), content_type=FORM)


@pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
async def test_a_call_is_answered_while_the_database_is_away_and_noted_when_it_is_back(impatient, caplog):
    caplog.set_level(logging.WARNING)
    with database_busy():
        assert verbs(await post_async("/incoming", INCOMING)) == ["Connect"]
        assert (await post_async("/call-status", {**INCOMING, "CallStatus": "in-progress"})).status_code == 204
    assert await stored(recorder.close)
    assert (await stored(Call.objects.get)).status == "in-progress"
    assert [message.split()[:2] for message in caplog.messages] == [["call_deferred", f"call={CALL}:"]] * 2


@pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
async def test_a_call_that_ends_while_the_database_is_away_ended_then(impatient):
    with database_busy():
        assert (await post_async("/call-status", {**INCOMING, "CallStatus": "completed"})).status_code == 204
        answered = timezone.now()
    assert await stored(recorder.close)
    call = await stored(Call.objects.get)
    assert call.created_at == call.ended_at < answered


@pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
async def test_a_stream_that_ends_while_the_database_is_away_is_connected_again(impatient):
    with database_busy():
        response = await post_async("/stream-ended?handler=echo&resumed=0", {**INCOMING, "CallStatus": "in-progress"})
    assert StreamToken.read(token(response)).resumed == 1
    assert await stored(recorder.close)


@pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
async def test_a_request_is_stored_before_it_is_answered_while_the_database_is_there():
    await post_async("/incoming", INCOMING)
    assert await stored(Call.objects.count) == 1
