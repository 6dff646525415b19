"""Signatures on every vector of Twilio and our own, refusals that name what was validated, and tokens."""

import logging
import time
from base64 import urlsafe_b64decode
from urllib.parse import quote

import msgspec
import pytest
from django.core import signing
from django.core.signing import TimestampSigner
from django.http import QueryDict
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from calls.security import (
    REF_MAX_LENGTH,
    TOKEN_MAX_AGE,
    TOKEN_MAX_LENGTH,
    CallRef,
    StreamToken,
    UsedNonces,
    could_be_signed,
    is_signed,
    is_signed_handshake,
    is_signed_webhook,
    is_simulators,
    signing_urls,
    simulators_mark,
)


TOKEN = "0123456789abcdef0123456789abcdef"
CALL_SID = "CA7b1e09d4c2a85f6390d1e4b7a2c8f056"
VOICE = "https://voice.example.org/twilio/voice/"
FIELDS = {
    "CallSid": "CA7b1e09d4c2a85f6390d1e4b7a2c8f056",
    "AccountSid": "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",
    "From": "+14155550100",
    "To": "+14155550199",
    "CallStatus": "ringing",
    "Direction": "inbound",
    "ApiVersion": "2010-04-01",
}
SHA1 = "1z1aKaVtqNkdgb1spAVMEIozEro="
SHA256 = "HAA7nZoUE0dnsgAkftnA9RyVo7B0BijSWOpQPJxgG/c="
SOCKET = "wss://voice.example.org/twilio/media"
SOCKET_SIGNATURE = "2rCRgsIjrw23mO+/2Wo8GAomY6I="
SOCKET_SLASH_SIGNATURE = "cc22pH37ixvGE2GJBntCMpzbsGw="
BODY = b'{"CallSid":"CA7b1e09d4c2a85f6390d1e4b7a2c8f056"}'
BODY_HASH = "77b8ca61cff314b10730f8b2bc0a52a207fb547f4788ced33f10a21f9c5e8410"
JSON_URL = f"https://voice.example.org/twilio/events/?bodySHA256={BODY_HASH}"
JSON_SIGNATURE = "tt9IM/exDxlHcOWtGpl3YlIpuhg="


def signed_by_library(url: str, params: dict[str, str] | None = None, token: str = TOKEN) -> str:
    return RequestValidator(token).compute_signature(url, params or {})


# --- the vectors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "number", "signature"),
    [
        # https://www.twilio.com/docs/usage/security#validating-requests, and the library's own test
        ("https://example.com/myapp.php?foo=1&bar=2", "+14158675310", "L/OH5YylLD5NRKLltdqwSvS0BnU="),
        ("https://mycompany.com/myapp.php?foo=1&bar=2", "+14158675309", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    ],
)
def test_the_vectors_of_twilio_are_signed(settings, url, number, signature):
    settings.TWILIO_AUTH_TOKENS = ["12345"]
    fields = {"CallSid": "CA1234567890ABCDE", "Digits": "1234", "To": "+18005551212", "From": number, "Caller": number}
    assert is_signed(url, fields, signature)
    assert not is_signed(url, {**fields, "Digits": "1235"}, signature)


@pytest.mark.parametrize(("algorithm", "signature"), [("", SHA1), ("HMAC_SHA1", SHA1), ("HMAC_SHA256", SHA256)])
def test_a_form_is_signed_with_either_hash(algorithm, signature):
    assert is_signed(VOICE, FIELDS, signature, algorithm)


@pytest.mark.parametrize(("algorithm", "signature"), [("", SHA256), ("HMAC_SHA256", SHA1), ("HMAC_MD5", SHA1)])
def test_the_hash_is_the_one_that_is_named(algorithm, signature):
    assert not is_signed(VOICE, FIELDS, signature, algorithm)


@pytest.mark.parametrize("url", [SOCKET, f"{SOCKET}/"])
@pytest.mark.parametrize("signature", [SOCKET_SIGNATURE, SOCKET_SLASH_SIGNATURE])
def test_a_socket_is_signed_with_and_without_the_slash(url, signature):
    assert is_signed(url, {}, signature)


def test_a_socket_is_not_signed_as_https():
    assert not is_signed(SOCKET.replace("wss", "https"), {}, SOCKET_SIGNATURE)


def test_a_webhook_is_not_signed_with_another_slash():
    assert not is_signed(VOICE.removesuffix("/"), FIELDS, SHA1)


def test_a_json_body_is_signed_through_its_hash():
    assert is_signed(JSON_URL, BODY, JSON_SIGNATURE)


def test_another_json_body_is_not_signed():
    assert not is_signed(JSON_URL, BODY + b" ", JSON_SIGNATURE)


def test_a_body_whose_url_states_no_hash_is_not_signed_and_no_error():
    url = "https://voice.example.org/twilio/events/"
    assert not is_signed(url, BODY, signed_by_library(url))


def test_a_hash_that_fits_does_not_replace_the_signature():
    assert not is_signed(JSON_URL, BODY, SHA1)


def test_a_get_is_signed_by_its_url_alone():
    url = f"{VOICE}?CallSid={CALL_SID}&From=%2B14155550100"
    assert is_signed(url, {}, signed_by_library(url))
    assert not is_signed(url.replace("100", "101"), {}, signed_by_library(url))


def test_the_escapes_of_a_url_are_kept_as_they_came():
    url = f"{VOICE}?name=a%20b%2Bc&empty="
    assert is_signed(url, {}, signed_by_library(url))
    assert not is_signed(url.replace("%20", "+"), {}, signed_by_library(url))


# --- the spellings of a URL -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "signed"),
    [
        ("https://h.example:443/v", "https://h.example/v"),  # voice over https drops the port
        ("https://h.example:8443/v", "https://h.example/v"),
        ("https://h.example/v", "https://h.example:443/v"),
        ("http://h.example:8080/v", "http://h.example:8080/v"),  # voice over http keeps it
        ("http://h.example/v", "http://h.example:80/v"),
        ("wss://h.example/v", "wss://h.example:443/v"),  # the library would try 80
        ("wss://h.example:443/v", "wss://h.example:443/v/"),
        ("wss://h.example:8443/v", "wss://h.example/v"),
        ("ws://127.0.0.1:8000/v", "ws://127.0.0.1:8000/v"),
        ("https://user:secret@h.example/v", "https://h.example/v"),  # userinfo is always dropped
        ("https://user:s%40ret@h.example:443/v?a=b", "https://h.example/v?a=b"),
        ("https://[2001:db8::1]:8443/v", "https://[2001:db8::1]/v"),
        ("https://[2001:db8::1]/v", "https://[2001:db8::1]:443/v"),
    ],
)
def test_a_port_and_a_password_are_spelled_as_twilio_may_spell_them(ours, signed):
    assert is_signed(ours, {}, signed_by_library(signed))


@pytest.mark.parametrize(
    "signed",
    ["https://h.example:80/v", "https://h.example:8080/v", "http://h.example/v", "https://h.example/v/", "https://x/v"],
)
def test_another_port_scheme_path_or_host_is_not_signed(signed):
    assert not is_signed("https://h.example/v", {}, signed_by_library(signed))


def test_a_password_is_in_no_spelling():
    assert not [url for url in signing_urls("wss://user:secret@h.example:8443/v") if "secret" in url or "@" in url]


@pytest.mark.parametrize(
    "url", ["https://h.example:port/v", "https://h.example:99999/v", "https://[/v", "https://\ud800/"]
)
@pytest.mark.parametrize("params", [{}, b"{}"])
def test_a_malformed_url_is_not_signed_and_not_an_error(url, params):
    assert not is_signed(url, params, SHA1)


# --- tokens of the account, and signatures ----------------------------------------------------------------------------


def test_while_tokens_rotate_either_may_have_signed(settings):
    settings.TWILIO_AUTH_TOKENS = ["the new one", TOKEN]
    assert is_signed(VOICE, FIELDS, SHA1)
    assert is_signed(VOICE, FIELDS, signed_by_library(VOICE, FIELDS, "the new one"))
    assert not is_signed(VOICE, FIELDS, signed_by_library(VOICE, FIELDS, "the one before"))


def test_without_a_token_nothing_is_signed(settings):
    settings.TWILIO_AUTH_TOKENS = []
    assert not is_signed(VOICE, FIELDS, SHA1)
    assert not is_signed(VOICE, FIELDS, signed_by_library(VOICE, FIELDS, ""))


@pytest.mark.parametrize("signature", [None, "", " ", "é", "\ud800", "x" * 10_000, SHA1[:-1], SHA1 + "=", SHA1.lower()])
def test_a_missing_or_strange_signature_is_not_valid_and_no_error(signature):
    assert not is_signed(VOICE, FIELDS, signature)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {**FIELDS, "Extra": ""},
        {**FIELDS, "From": "+14155550101"},
        {**FIELDS, "From": " +14155550100"},
        {name: value for name, value in FIELDS.items() if name != "To"},
    ],
)
def test_a_field_that_was_added_changed_or_taken_away_shows(fields):
    assert not is_signed(VOICE, fields, SHA1)


def test_a_form_as_django_parses_it_is_signed_repeated_fields_included():
    form = QueryDict("Digits=2&Digits=1&From=%2B14155550100&ToCity=")
    # name and value, sorted by both, without any delimiter
    signature = signed_by_library(f"{VOICE}Digits1Digits2From+14155550100ToCity")
    assert is_signed(VOICE, form, signature)


@pytest.mark.parametrize("url", [VOICE, f"{VOICE}?a=b", "https://h.example:8443/v", "http://h.example/v", SOCKET])
@pytest.mark.parametrize("algorithm", ["HMAC_SHA1", "HMAC_SHA256"])
@pytest.mark.parametrize("signer", [TOKEN, "another"])
def test_the_library_agrees_with_us_where_it_is_not_wrong(url, algorithm, signer):
    signature = RequestValidator(signer).compute_signature(url, FIELDS, algorithm)
    theirs = RequestValidator(TOKEN).validate(url, FIELDS, signature, algorithm)
    assert is_signed(url, FIELDS, signature, algorithm) is theirs is (signer == TOKEN)


def test_the_library_agrees_with_us_on_json():
    validator = RequestValidator(TOKEN)
    for body in (BODY, BODY + b" "):
        assert validator.validate(JSON_URL, body.decode(), JSON_SIGNATURE) is is_signed(JSON_URL, body, JSON_SIGNATURE)


# --- requests ---------------------------------------------------------------------------------------------------------


def test_the_public_url_decides_and_no_header():
    headers = {"X-Twilio-Signature": SHA1, "Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    assert is_signed_webhook("/twilio/voice/", FIELDS, headers)


def test_another_public_url_refuses_what_was_signed_for_ours(settings):
    settings.PUBLIC_URL = "https://evil.example"
    assert not is_signed_webhook("/twilio/voice/", FIELDS, {"X-Twilio-Signature": SHA1, "Host": "voice.example.org"})


def test_a_webhook_names_its_hash_in_a_header():
    headers = {
        "X-Twilio-Signature": SHA256,
        "X-Twilio-Webhooks-Signature-Settings": "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256",
    }
    assert is_signed_webhook("/twilio/voice/", FIELDS, headers)
    assert not is_signed_webhook("/twilio/voice/", FIELDS, {"X-Twilio-Signature": SHA256})


def test_a_handshake_is_signed_with_lower_case_headers_over_the_wss_url():
    assert is_signed_handshake("/twilio/media", {"x-twilio-signature": SOCKET_SIGNATURE})
    assert is_signed_handshake("/twilio/media", {"x-twilio-signature": SOCKET_SLASH_SIGNATURE})


def test_a_handshake_names_its_hash_in_a_header():
    signature = RequestValidator(TOKEN).compute_signature(SOCKET, {}, "HMAC_SHA256")
    headers = {"x-twilio-signature": signature, "x-twilio-webhooks-signature-settings": "algorithm=HMAC_SHA256"}
    assert is_signed_handshake("/twilio/media", headers)


@pytest.mark.parametrize("headers", [{}, {"x-twilio-signature": ""}, {"x-twilio-signature": SHA1}])
def test_a_handshake_without_a_good_signature_is_refused(headers):
    assert not is_signed_handshake("/twilio/media", headers)


def test_a_refusal_names_what_was_validated_and_no_values(caplog):
    is_signed_webhook("/incoming?From=%2B14155550100", FIELDS, {"X-Twilio-Signature": SHA1})
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "calls.security")
    assert "https://voice.example.org/incoming?From=..." in record.getMessage()
    assert "AccountSid, ApiVersion, CallSid, CallStatus, Direction, From, To" in record.getMessage()


@pytest.mark.parametrize("secret", ["4155550100", "4155550199", CALL_SID, SHA1, TOKEN, "ringing"])
def test_a_refusal_shows_no_value_signature_or_token(caplog, secret):
    query = f"?From=%2B14155550100&CallSid={CALL_SID}&x=1=4155550199"
    is_signed_webhook(f"/incoming{query}", FIELDS, {"X-Twilio-Signature": SHA1})
    is_signed_handshake(f"/connection{query}", {"x-twilio-signature": SHA1})
    assert len(caplog.records) == 2
    assert secret not in caplog.text


def test_a_refusal_shows_no_password_of_the_public_url(caplog, settings):
    settings.PUBLIC_URL = "https://user:secret@voice.example.org"
    is_signed_webhook("/incoming", {}, {})
    assert "https://...voice.example.org/incoming" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("signature", [SHA1, SHA256])
def test_what_looks_like_a_signature_is_worth_reading_the_body_for(signature, caplog):
    assert could_be_signed("/incoming", {"X-Twilio-Signature": signature})
    assert caplog.records == []


@pytest.mark.parametrize("headers", [{}, {"X-Twilio-Signature": "x"}, {"X-Twilio-Signature": SHA1 + "="}])
def test_what_cannot_be_a_signature_is_refused_before_the_body_is_read(headers, caplog):
    assert not could_be_signed("/incoming", headers)
    assert "webhook" in caplog.text
    assert "parameters that were not read" in caplog.text


def test_a_refusal_tells_a_missing_signature_from_a_wrong_one(caplog):
    is_signed_webhook("/incoming", b"{}", {})
    is_signed_handshake("/connection", {"x-twilio-signature": "x"})
    missing, wrong = (record.getMessage() for record in caplog.records)
    assert "webhook: there is none" in missing
    assert "a raw body" in missing
    assert "handshake: it is not ours; validated wss://voice.example.org/connection with no parameters" in wrong


def test_a_refusal_is_one_short_line_whatever_was_sent(caplog):
    is_signed_webhook("/\r\n\x1b[31mé" + "x" * 5000, {"\nname\u202e": "", "n" * 5000: ""}, {})
    message = caplog.records[0].getMessage()
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 1100


def test_a_good_signature_is_not_logged(caplog):
    is_signed_webhook("/twilio/voice/", FIELDS, {"X-Twilio-Signature": SHA1})
    is_signed_handshake("/twilio/media", {"x-twilio-signature": SOCKET_SIGNATURE})
    assert caplog.records == []


def test_the_simulators_mark_takes_the_auth_token_and_is_good_while_tokens_rotate(settings):
    mark = simulators_mark(TOKEN)
    settings.TWILIO_AUTH_TOKENS = ["another", TOKEN]
    assert is_simulators(mark)
    settings.TWILIO_AUTH_TOKENS = ["another"]
    assert not any(is_simulators(mark) for mark in (mark, "", "yes", "é"))


# --- tokens of a stream -----------------------------------------------------------------------------------------------


def token(**facts: object) -> StreamToken:
    return StreamToken(**{"call_sid": CALL_SID, "handler": "voicemail", **facts})


def test_a_token_brings_back_what_it_was_made_of():
    made = token(
        account_sid="AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",
        from_number="+15550100001",
        to_number="sip:bob@example.org",
        direction="outbound-api",
        bidirectional=False,
        resumed=2,
        handed=3,
    )
    read = StreamToken.read(made.sign())
    assert read == msgspec.structs.replace(made, nonce=read.nonce)
    assert read.nonce


def test_every_token_has_a_nonce_of_its_own():
    made = token()
    assert len({StreamToken.read(made.sign()).nonce for _ in range(20)}) == 20


TEXT = st.text() | st.text(max_size=600) | st.text(st.characters(categories=("Cs", "So")), max_size=100)


@profile(deadline=None)
@given(TEXT, TEXT, st.text("abcdefghijklmnopqrstuvwxyz-_", max_size=100))
def test_a_token_fits_and_is_read_whatever_the_numbers_are(caller, callee, handler):
    sid = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
    direction = "trunking-terminating-xxx"
    made = token(account_sid=sid, from_number=caller, to_number=callee, handler=handler, direction=direction).sign()
    assert len(made) <= TOKEN_MAX_LENGTH
    assert StreamToken.read(made).handler == handler


@pytest.mark.parametrize("length", [1, 40, 41, 42, 99, 100])
def test_a_token_fits_when_everything_in_it_is_long(length):
    made = token(
        account_sid="A" * 34, from_number="é" * 500, to_number="x" * 500, direction="d" * 24, handler="h" * length
    ).sign()
    assert len(made) <= TOKEN_MAX_LENGTH
    assert StreamToken.read(made).handler == "h" * length


def test_a_token_longer_than_we_make_is_refused_even_if_we_signed_it():
    made = token(handler="h" * 300).sign()
    assert len(made) > TOKEN_MAX_LENGTH
    assert StreamToken.read(made) is None


def test_a_long_sip_address_is_cut_and_a_cut_character_is_left_out():
    read = StreamToken.read(token(from_number="sip:" + "a" * 200, to_number="x" + "é" * 100).sign())
    assert read.from_number == "sip:" + "a" * 42
    assert read.to_number == "x" + "é" * 22


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Sets the clock of django.core.signing to that many seconds from now."""
    moment = int(time.time()) + seconds
    monkeypatch.setattr("django.core.signing.time.time", lambda: moment)


def test_a_token_is_good_for_as_long_as_a_call_can_last(monkeypatch):
    at(monkeypatch, 0)
    made = token().sign()
    monkeypatch.undo()
    at(monkeypatch, TOKEN_MAX_AGE - 2)
    assert StreamToken.read(made)
    monkeypatch.undo()
    at(monkeypatch, TOKEN_MAX_AGE + 2)
    assert StreamToken.read(made) is None


def test_a_token_that_was_changed_anywhere_is_refused():
    made = token().sign()
    for index, character in enumerate(made):
        changed = made[:index] + ("A" if character != "A" else "B") + made[index + 1 :]
        assert StreamToken.read(changed) is None


def test_a_token_signed_with_another_key_is_refused(settings):
    made = token().sign()
    settings.SECRET_KEY = "another key, which is long enough to be one as well"
    assert StreamToken.read(made) is None


def test_a_token_outlives_the_rotation_of_the_key(settings):
    made = token().sign()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key, which is long enough to be one as well"
    assert StreamToken.read(made).call_sid == CALL_SID


@pytest.mark.parametrize("value", ["AAAA", "A", "gaFh", "é".encode().hex(), "3zQ", ""])
def test_what_we_signed_for_something_else_is_refused(value):
    assert StreamToken.read(TimestampSigner(salt="calls.stream").sign(value)) is None
    assert StreamToken.read(TimestampSigner(salt="another").sign(value)) is None


@pytest.mark.parametrize("text", [None, 7, b"bytes", [], {"a": 1}, True])
def test_a_token_that_is_not_text_is_refused(text):
    assert StreamToken.read(text) is None


@pytest.mark.parametrize("text", ["", ":", "::", "a:b:c", "é:a:b", "a:b:\ud800", "\ud800", "x" * 401, "a:" * 200])
def test_a_text_that_is_not_a_token_is_refused_without_an_error(text):
    assert StreamToken.read(text) is None


@profile(deadline=None)
@given(st.text() | st.text(st.characters(categories=("Cs", "Lu")), max_size=9).map("a:b:{}".format))
def test_no_text_but_ours_is_a_token(text):
    assert StreamToken.read(text) is None


# --- references to calls that we place --------------------------------------------------------------------------------


def test_a_reference_brings_the_row_and_the_parameters_back():
    made = CallRef(7, {"customer": "Zoë & <Bob>"})
    assert CallRef.read(made.sign()) == made
    assert CallRef.read(CallRef(8).sign()) == CallRef(8, {})


def test_a_reference_travels_in_a_url_as_it_is():
    made = CallRef(7, {"a": "?&=+/ ü"}).sign()
    assert (quote(made, safe=""), QueryDict(f"ref={made}")["ref"]) == (made, made)


def test_nobody_reads_a_reference_without_the_key():
    made = CallRef(7, {"name": "Ada Lovelace", "iban": "DE89370400440532013000"}).sign()
    inside = urlsafe_b64decode(made + "=" * (-len(made) % 4))
    assert not any(word in inside for word in (b"Ada", b"name", b"DE89", b"iban"))
    assert CallRef(7).sign() != CallRef(7).sign()


def test_a_reference_of_the_first_release_is_still_read():
    """A call that it placed may be answered after the upgrade."""
    old = signing.Signer(salt="calls.ref").sign("kgeBpW9yZGVyojE3")
    assert CallRef.read(old) == CallRef(7, {"order": "17"})
    assert CallRef.read(f"{old[:-1]}x") is None


def test_a_reference_is_read_while_secret_keys_rotate(settings):
    made = CallRef(7).sign()
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = (
        [settings.SECRET_KEY],
        "a key of another day",
    )
    assert CallRef.read(made) == CallRef(7)
    settings.SECRET_KEY_FALLBACKS = []
    assert CallRef.read(made) is None


def test_two_thousand_characters_of_parameters_fit_into_a_reference():
    made = CallRef(2**63 - 1, {f"name-{at}": "x" * 390 for at in range(5)}).sign()
    assert len(made) <= REF_MAX_LENGTH


def test_a_reference_that_was_changed_anywhere_is_refused():
    made = CallRef(7, {"a": "b"}).sign()
    for index, character in enumerate(made):
        assert CallRef.read(made[:index] + ("A" if character != "A" else "B") + made[index + 1 :]) is None


def test_a_reference_has_one_spelling():
    """base64 gives the last letter four bits that nobody looks at."""
    made = CallRef(7).sign()
    spelled = made[:-1] + chr(ord(made[-1]) + 1)
    assert urlsafe_b64decode(spelled + "==") == urlsafe_b64decode(made + "==")
    assert (CallRef.read(made), CallRef.read(spelled)) == (CallRef(7), None)


def test_a_token_is_not_a_reference_and_a_reference_is_not_a_token():
    assert CallRef.read(token().sign()) is None
    assert StreamToken.read(CallRef(7).sign()) is None


def test_a_reference_longer_than_a_url_should_be_is_refused():
    made = CallRef(7, {"a": "b" * REF_MAX_LENGTH}).sign()
    assert CallRef.read(made) is None


@pytest.mark.parametrize("text", [None, 7, b"x", "", ":", "a:b", "a:é", "a:\ud800"])
def test_what_is_not_a_reference_is_refused_without_an_error(text):
    assert CallRef.read(text) is None


# --- nonces -----------------------------------------------------------------------------------------------------------


def test_a_nonce_is_used_once():
    nonces = UsedNonces()
    assert [nonces.use("a"), nonces.use("b"), nonces.use("a"), nonces.use("b")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_nonce_is_remembered_as_long_as_a_token_lives_and_no_longer(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("calls.security.time.monotonic", lambda: now[0] + 0.0)
    nonces = UsedNonces()
    nonces.use("a")
    now[0] += TOKEN_MAX_AGE
    assert not nonces.use("a")
    now[0] += 1
    nonces.use("b")
    assert list(nonces._seen) == ["b"]


def test_nonces_take_no_more_memory_than_there_is_for_them(monkeypatch):
    monkeypatch.setattr("calls.security.MOST_NONCES", 2)
    nonces = UsedNonces()
    assert [nonces.use(nonce) for nonce in "abcb"] == [True, True, True, False]
    assert list(nonces._seen) == ["b", "c"]


def test_using_a_nonce_again_does_not_prolong_its_memory(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("calls.security.time.monotonic", lambda: now[0] + 0.0)
    nonces = UsedNonces()
    for seconds in (0, TOKEN_MAX_AGE - 20, 100):
        now[0] += seconds
        first = nonces.use("a")
    assert first
