"""System checks: each wrong setting has an id and a hint."""

import sys

import pytest
from django.core.checks import run_checks

from calls import quick
from calls.addresses import is_loopback
from calls.checks import check_settings


async def handler(stream):
    pass


def not_a_coroutine(stream):
    pass


@pytest.fixture
def good(settings, tmp_path, monkeypatch):
    """A production that nothing is wrong with."""
    settings.PUBLIC_URL = "https://voice.example.org"
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "django.db.backends.postgresql")
    settings.REDIS_URL = "redis://127.0.0.1:6379/0"
    settings.RECORDING_RETENTION_DAYS = 30
    settings.SPOOL_DIR = tmp_path / "spool"
    return settings


def found():
    return [message.id for message in check_settings()]


def test_nothing_is_found_where_nothing_is_wrong(good):
    good.STREAM_HANDLERS = {"own": "tests.test_checks.handler"}
    assert check_settings() == []


@pytest.mark.parametrize(
    ("key", "secret", "ids"),
    [
        ("", "", []),
        ("SK" + "a" * 32, "secret", []),
        ("SK" + "a" * 32, "", ["calls.E011"]),
        ("", "secret", ["calls.E011"]),
        ("AC" + "a" * 32, "secret", ["calls.E012"]),
    ],
)
def test_an_api_key_and_its_secret_come_together(good, key, secret, ids):
    good.TWILIO_API_KEY, good.TWILIO_API_SECRET = key, secret
    assert found() == ids


def test_a_way_in_c_that_was_built_of_another_source_is_named(good, monkeypatch):
    monkeypatch.setattr("calls.quick.is_stale", True)
    assert found() == ["calls.W012"]


@pytest.mark.parametrize(("name", "digest", "is_it"), [("mine.c", "0" * 64, False), ("gone.c", "0" * 64, True)])
def test_what_is_built_of_another_source_is_known_by_its_digest(tmp_path, name, digest, is_it):
    (tmp_path / "mine.c").write_text("int main;")
    assert quick.is_built_of(digest, tmp_path / name) is is_it


SSO = {"OIDC_ISSUER": "https://sso.example.org", "OIDC_RP_CLIENT_ID": "us", "OIDC_RP_CLIENT_SECRET": "s"}


@pytest.mark.parametrize(
    ("facts", "ids"),
    [
        ({**SSO, "OIDC_GROUPS": {"ops": "Ops viewer"}, "PASSWORD_LOGIN": False}, []),
        ({**SSO, "OIDC_SUPERUSERS": "root"}, []),
        ({"OIDC_RP_CLIENT_ID": "us"}, ["calls.E061"]),
        ({"PASSWORD_LOGIN": False}, ["calls.E062"]),
        ({**SSO, "OIDC_RP_CLIENT_SECRET": "", "OIDC_SUPERUSERS": "root"}, ["calls.E063"]),
        ({**SSO, "OIDC_ISSUER": "http://sso.example.org", "OIDC_SUPERUSERS": "root"}, ["calls.E064"]),
        (SSO, ["calls.E066"]),
        ({"REQUIRE_SECOND_FACTOR": "some"}, ["calls.E060"]),
    ],
)
def test_who_gets_in_is_set_up_whole(good, facts, ids):
    for name, value in facts.items():
        setattr(good, name, value)
    assert found() == ids


def test_single_sign_on_needs_its_package(good, monkeypatch):
    monkeypatch.setattr("calls.checks.find_spec", lambda name: None)
    good.OIDC_ISSUER, good.OIDC_RP_CLIENT_ID, good.OIDC_RP_CLIENT_SECRET = SSO.values()
    good.OIDC_SUPERUSERS = "root"
    assert found() == ["calls.E065"]


def test_the_checks_are_run_with_djangos_own(good):
    good.TWILIO_AUTH_TOKENS = []
    assert "calls.E003" in [message.id for message in run_checks()]


WRONG = {
    "calls.E001": [
        ("PUBLIC_URL", url)
        for url in (
            "",
            "voice.example.org",
            "ftp://voice.example.org",
            "https://",
            "https://voice.example.org/path",
            "https://voice.example.org?x=1",
            "https://voice.example.org#x",
            "https://me:secret@voice.example.org",
            "https://voice.example.org:99999",
            "https://voice.example.org:port",
            " https://voice.example.org",
            "wss://voice.example.org",
        )
    ],
    "calls.E002": [("PUBLIC_URL", "http://voice.example.org"), ("PUBLIC_URL", "http://10.0.0.1:8000")],
    "calls.E003": [("TWILIO_AUTH_TOKENS", [])],
    "calls.E004": [
        ("STREAM_HANDLERS", {name: "tests.test_checks.handler"}) for name in ("", "a b", "a/b", "ü", "x" * 41)
    ],
    "calls.E005": [
        ("STREAM_HANDLERS", {"own": path}) for path in ("nowhere", "nowhere.to", "tests.test_checks.nobody", "")
    ],
    "calls.E006": [("DEFAULT_STREAM_HANDLER", "nobody")],
    "calls.E007": [("STREAM_HANDLERS", {"own": "tests.test_checks.not_a_coroutine"})],
    "calls.E008": [
        ("RECORDER_FLUSH_SECONDS", 0),
        ("RECORDER_FLUSH_SECONDS", 60),
        ("RECORDER_FLUSH_SECONDS", float("nan")),
        ("RECORDER_MAX_BUFFER_MB", 0),
        ("SPOOL_MAX_MB", -1),
        ("MAX_STREAMS", 0),
        ("DRAIN_SECONDS", -1),
        ("RECORDING_RETENTION_DAYS", -1),
    ],
    "calls.E010": [("FAILED_HANDLER_TWIML", text) for text in ("Sorry.", "<Response>", "<Say>Sorry.</Say>")],
    "calls.E013": [("TRANSCRIBER", name) for name in ("whisper", "nowhere.to", "tests.test_checks.nobody")],
    "calls.E014": [("TRANSCRIBER", "tests.test_checks.handler")],
    "calls.E015": [
        ("TRANSCRIBER_URL", url) for url in ("https://example.org", "example.org", "wss://", "ws://a:port", "ws://a:0")
    ],
    "calls.E016": [("TRANSCRIBER", "deepgram")],
    "calls.E017": [
        ("REALTIME_URL", url)
        for url in ("https://api.openai.com/v1/realtime", "api.openai.com", "wss:///v1", "ws://a:port")
    ],
    "calls.E018": [
        ("REALTIME_TRANSFER_TO", {"sales": number}) for number in ("", "4155550100", "+0", "sip:", "+1415<Play>")
    ],
    "calls.E019": [("DEFAULT_STREAM_HANDLER", "realtime")],
    "calls.E031": [("LOG_FORMAT", "yaml")],
    "calls.E033": [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url) for url in ("collector:4318", "grpc://collector:4317", "http://")
    ],
    "calls.W008": [("REALTIME_URL", "ws://10.0.0.1/v1/realtime?model=local")],
    "calls.W001": [("TWILIO_ACCOUNT_SID", sid) for sid in ("", "AC1", "SK" + "0" * 32)],
    "calls.W002": [("RECORDER_FLUSH_SECONDS", 1)],
    "calls.W004": [("REDIS_URL", "")],
    "calls.W005": [("RECORDING_RETENTION_DAYS", None)],
    "calls.W006": [("ALLOWED_HOSTS", ["*"])],
}
CASES = [(id_, name, value) for id_, values in WRONG.items() for name, value in values]


@pytest.mark.parametrize(("id_", "name", "value"), CASES, ids=[f"{id_}-{n}" for n, (id_, *_) in enumerate(CASES)])
def test_what_is_wrong_has_an_id_and_a_hint(good, id_, name, value):
    setattr(good, name, value)
    messages = [message for message in check_settings() if message.id == id_]
    assert len(messages) == 1
    assert messages[0].hint
    assert messages[0].is_serious() == (id_[6] == "E")


@pytest.mark.parametrize("name", ["deepgram", "vosk", "pocketsphinx", "tests.support.transcribers.hears_goodbye"])
def test_nothing_is_found_where_a_transcriber_is_as_it_should_be(good, name):
    good.TRANSCRIBER, good.TRANSCRIBER_URL, good.TRANSCRIBER_KEY = name, "wss://speech.example.org/v1?model=2", "key"
    assert found() == []


@pytest.mark.parametrize(
    ("url", "ids"),
    [("ws://speech.example.org", ["calls.W007"]), ("ws://127.0.0.1:2700", []), ("wss://speech.example.org", [])],
)
def test_a_key_that_would_cross_the_network_in_the_open_is_noticed(good, url, ids):
    good.TRANSCRIBER, good.TRANSCRIBER_URL, good.TRANSCRIBER_KEY = "deepgram", url, "key"
    assert found() == ids


def test_a_transcriber_that_is_not_installed_says_how(good, monkeypatch):
    monkeypatch.setattr("calls.speech.transcribers.find_spec", lambda name: None)
    good.TRANSCRIBER = "pocketsphinx"
    (message,) = check_settings()
    assert (message.id, "pip install 'callstream[speech]'" in message.msg) == ("calls.E013", True)


def test_a_handler_whose_module_breaks_is_named_with_its_reason(good, tmp_path, monkeypatch):
    (tmp_path / "broken_handlers.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    good.STREAM_HANDLERS = {"own": "broken_handlers.handler"}
    (message,) = check_settings()
    assert (message.id, "ZeroDivisionError" in message.msg) == ("calls.E005", True)


def test_a_handler_that_declares_what_cannot_be_is_named_with_its_reason(good, tmp_path, monkeypatch):
    text = "from calls.handlers import handler\n\n@handler(records='no')\nasync def own(stream): ...\n"
    (tmp_path / "odd_handlers.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    good.STREAM_HANDLERS = {"own": "odd_handlers.own"}
    (message,) = check_settings()
    assert message.id == "calls.E005"
    assert "TypeError: A handler's records is True or False, not 'no'." in message.msg


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        (
            "def own(stream): ...",
            "'own' is not a handler: it is not a coroutine, `async def`.",
            "`async def name(stream",
        ),
        ("async def own(): ...", "it takes () and has to take one argument, the stream.", "`async def name(stream"),
        (
            "async def own(stream): yield",
            "it has a `yield` in it, and a handler only awaits.",
            "`async def name(stream",
        ),
        ("from gtts import gTTS", "ModuleNotFoundError: No module named 'gtts', at ", "handlers/requirements.txt"),
        ("async def own(stream:", "SyntaxError: '(' was never closed (wrong_handlers.py, line 1)", "Mend that line"),
    ],
)
def test_a_beginners_mistake_is_named_at_the_start_with_what_to_do(good, tmp_path, monkeypatch, text, said, hint):
    (tmp_path / "wrong_handlers.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wrong_handlers", raising=False)
    good.STREAM_HANDLERS = {"own": "wrong_handlers.own"}
    (message,) = check_settings()
    assert said in message.msg
    assert hint in message.hint


def test_a_spool_that_cannot_be_written_is_an_error(good, tmp_path):
    good.SPOOL_DIR = tmp_path / "file"
    good.SPOOL_DIR.write_text("in the way")
    (message,) = check_settings()
    assert (message.id, bool(message.hint)) == ("calls.E009", True)


def test_sqlite_is_for_small_installations(good, monkeypatch):
    monkeypatch.setitem(good.DATABASES["default"], "ENGINE", "django.db.backends.sqlite3")
    (message,) = check_settings()
    assert (message.id, bool(message.hint), message.is_serious()) == ("calls.W003", True, False)


def test_a_default_handler_that_cannot_be_imported_is_named_once(good):
    good.STREAM_HANDLERS = {"own": "nowhere.to.be.found"}
    good.DEFAULT_STREAM_HANDLER = "own"
    assert found() == ["calls.E005"]


def test_a_realtime_model_that_can_be_reached_is_in_order(good):
    good.REALTIME_URL, good.REALTIME_KEY = "ws://localhost:9000/v1/realtime?model=local", "sk-squirrel"
    good.REALTIME_TRANSFER_TO = {"sales": "+14155550100", "desk": "sip:desk@example.org"}
    good.DEFAULT_STREAM_HANDLER = "realtime"
    assert found() == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:8000"])
def test_http_is_for_loopback(good, url):
    good.PUBLIC_URL = url
    assert is_loopback(url)
    assert found() == []


def test_a_public_url_may_have_a_port_and_capitals(good):
    good.PUBLIC_URL = "https://Voice.example.org:8443"
    assert found() == []


def test_no_check_loosens_in_debug(good):
    good.DEBUG = True
    good.TWILIO_AUTH_TOKENS = []
    assert found() == ["calls.E003"]


def test_a_message_never_holds_a_token(good):
    good.TWILIO_AUTH_TOKENS = ["squirrel"]
    good.TWILIO_ACCOUNT_SID = ""
    assert "squirrel" not in str(check_settings())


def test_mail_that_may_go_out_as_it_is_set_is_in_order(good):
    good.EMAIL_URL, good.DEFAULT_FROM_EMAIL = "smtp+tls://u:p@mail.example.org:587", "Callstream <calls@example.org>"
    assert found() == []


def test_a_mail_password_in_the_clear_is_a_warning_but_not_on_this_machine(good):
    good.EMAIL_URL = "smtp://user:squirrel@mail.example.org"
    assert (found(), "squirrel" in str(check_settings())) == (["calls.W030"], False)
    good.EMAIL_URL = "smtp://user:squirrel@127.0.0.1"
    assert found() == []


def test_mail_needs_an_address_that_it_comes_from(good):
    good.DEFAULT_FROM_EMAIL = "callstream"
    assert found() == []
    good.EMAIL_URL = "smtp://127.0.0.1"
    assert found() == ["calls.E030"]


def test_traces_need_opentelemetry(good, monkeypatch):
    good.OTEL_EXPORTER_OTLP_ENDPOINT = "http://collector:4318"
    assert found() == []
    monkeypatch.setattr("calls.checks.find_spec", lambda name: None)
    assert found() == ["calls.E032"]
