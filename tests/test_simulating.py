"""“Simulate a call…”: who sees it and when, what it starts, and what it says where nothing has come in."""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client

from calls import simulation
from calls.admin.simulating import SimulateForm
from calls.models import Call, CallEvent
from calls.simulation import Caller, NotStarted, call_in
from calls.sounds import FOLDER
from tests.support.factories import make_live_call, make_staff
from tests.support.servers import free_port, until


pytestmark = pytest.mark.django_db(transaction=True)
PAGE, LIST = "/admin/calls/call/simulate/", "/admin/calls/call/"
LINK = f'href="{PAGE}"'


@pytest.fixture
def debug(settings):
    settings.DEBUG = True


@pytest.fixture
def developer(client, debug):
    client.force_login(make_staff("view_call", "change_call"))
    return client


@pytest.fixture
def alone():
    """Nothing is left when it is over: no thread, no process, no open file."""
    files = temporary()
    yield
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "simulation"], "its thread's end")
    connections.close_all()
    assert not [pid for pid in children() if "simulate_call" in pid]
    assert temporary() == files


def temporary():
    """How many files without a name are open."""
    opened = [Path("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
    return sum("(deleted)" in str(file.readlink()) for file in opened if file.is_symlink())


def children():
    """What each process that we have begun and not reaped is, as the kernel has it."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            facts = stat.read_text()
            if int(facts.rpartition(")")[2].split()[1]) == os.getpid():
                found.append(f"{facts.split()[1]} {(stat.parent / 'cmdline').read_text() or 'simulate_call, a zombie'}")
        except OSError:  # it has ended meanwhile
            continue
    return found


# --- Who sees it, and when


def test_without_debug_there_is_no_such_page(client):
    client.force_login(make_staff(is_superuser=True))
    assert client.get(PAGE).status_code == 404
    assert client.post(PAGE, {"handler": "echo"}).status_code == 404
    assert LINK not in client.get(LIST).text
    assert LINK not in client.get("/admin/").text


@pytest.mark.parametrize("permissions", [[], ["view_call"], ["change_call"], ["view_call", "place_call"]])
def test_who_may_not_change_or_supervise_calls_may_not_simulate_them(client, debug, permissions):
    client.force_login(make_staff(*permissions))
    assert client.get(PAGE).status_code == 403
    assert client.post(PAGE, {"handler": "echo"}).status_code == 403
    assert LINK not in client.get("/admin/").text


@pytest.mark.parametrize("permission", ["change_call", "supervise_call"])
def test_the_list_and_the_overview_lead_to_it(client, debug, permission):
    client.force_login(make_staff("view_call", permission))
    assert LINK in client.get(LIST).text
    assert LINK in client.get("/admin/").text
    assert client.get(PAGE).status_code == 200


def test_a_stranger_has_to_log_in(client, debug):
    assert client.get(PAGE).url == f"/admin/login/?next={PAGE}"


def test_another_site_cannot_have_somebody_called(debug):
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_staff(is_superuser=True))
    assert client.post(PAGE, {"handler": "echo"}, secure=True).status_code == 403
    assert not Call.objects.exists()


# --- What is asked for


def test_where_nothing_can_speak_it_says_what_to_install(developer, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    page = developer.get(PAGE).text
    assert "Install espeak-ng on this machine" in page
    assert not SimulateForm({"handler": "echo", "says": "Hello"}).fields["says"].has_changed("", "Hello")


@pytest.mark.parametrize(
    ("keys", "pressed"),
    [
        ("", ()),
        ("2.5:1 4:#", ((2.5, "1"), (4.0, "#"))),
        ("12#", ((3.0, "1"), (3.5, "2"), (4.0, "#"))),
        ("1, 2", ((3.0, "1"), (3.5, "2"))),
        ("10:12 d", ((10.0, "1"), (10.5, "2"), (11.0, "D"))),
    ],
)
def test_keys_are_pressed_at_their_times_or_one_after_the_other(keys, pressed):
    form = SimulateForm({"handler": "echo", "keys": keys})
    assert form.is_valid()
    assert form.caller.keys == pressed


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"handler": "nobody"}, "Select a valid choice"),
        ({"handler": ""}, "required"),
        ({"says": "…"}, "nothing in it that can be said"),
        ({"says": "a" * 1001}, "at most 1000 characters"),
        ({"says": "a\x00b"}, "Null characters are not allowed"),
        ({"keys": "2.5"}, "write keys (0-9 * # A-D), or SECONDS:KEY"),
        ({"keys": "1:x"}, "write keys"),
        ({"keys": "601:1"}, "within 10 minutes"),
        ({"keys": "1" * 51}, "At most 50 keys"),
        ({"duration": "0"}, "greater than or equal to 1"),
        ({"duration": "601"}, "less than or equal to 600"),
        ({"duration": "nan"}, "Enter a number"),
    ],
)
def test_what_cannot_be_meant_is_said_beside_its_field(developer, given, why, monkeypatch):
    monkeypatch.setattr("calls.admin.simulating.shutil.which", lambda name: "/usr/bin/espeak-ng")
    assert why in developer.post(PAGE, {"handler": "echo", **given}).text
    assert not Call.objects.exists()


def test_a_sentence_and_a_file_at_once_are_refused(monkeypatch):
    monkeypatch.setattr("calls.admin.simulating.shutil.which", lambda name: "/usr/bin/espeak-ng")
    file = SimpleUploadedFile("caller.wav", (FOLDER / "caller.wav").read_bytes())
    form = SimulateForm({"handler": "echo", "says": "Hello"}, {"file": file})
    assert "not both" in str(form.errors)


def test_what_is_said_is_one_argument_whatever_it_is():
    caller = Caller(handler="echo", says="--save=/tmp/x; rm -rf $HOME", keys=((2.5, "#"),), duration=9)
    assert caller.arguments() == [
        *("--handler=echo", "--say=--save=/tmp/x; rm -rf $HOME"),
        *("--dtmf=2.5:#", "--duration=9"),
    ]


# --- Where nobody answers


class Answers(BaseHTTPRequestHandler):
    """A server that knows of the call, and then fails it."""

    knows = True

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if self.knows and not Call.objects.filter(sid=form["CallSid"][0]).exists():
            make_live_call(sid=form["CallSid"][0])
        connections.close_all()
        self.send_response(500)
        self.end_headers()

    def log_message(self, *arguments):
        """Nothing."""


@pytest.fixture
def failing():
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_server_without_a_port_cannot_be_called(developer):
    assert (
        "listens on no port"
        in developer.post(PAGE, {"handler": "echo"}, SERVER_PORT="None", HTTP_HOST="testserver").text
    )


@pytest.mark.process
def test_a_call_that_never_came_in_is_told_on_the_form(developer, alone):
    page = developer.post(PAGE, {"handler": "echo", "duration": 2, "keys": "1"}, SERVER_PORT=str(free_port())).text
    assert "Nobody has called." in page
    assert "connect" in page[page.index("Nobody has called.") :][:200]
    assert 'value="1"' in page  # what was written is still there


@pytest.mark.process
def test_a_call_that_fails_later_says_so_on_its_page(developer, failing, alone):
    response = developer.post(PAGE, {"handler": "echo"}, SERVER_PORT=str(failing))
    call = Call.objects.get()
    assert response.url == f"/admin/calls/call/{call.pk}/change/"
    until(CallEvent.objects.exists, "the event")
    assert CallEvent.objects.get().data == {"reason": "the webhook POST /incoming/echo was answered 500"}
    assert "The simulated caller failed" in developer.get(response.url).text


@pytest.mark.process
def test_a_file_is_what_the_caller_says(developer, failing, monkeypatch, alone):
    given = []
    monkeypatch.setattr(simulation, "Caller", lambda **facts: given.append(facts) or Caller(**facts))
    file = SimpleUploadedFile("caller.wav", (FOLDER / "caller.wav").read_bytes())
    developer.post(PAGE, {"handler": "echo", "file": file}, SERVER_PORT=str(failing))
    # It was read by the process: it came as far as its webhook.
    assert Call.objects.exists()
    assert len(given[0]["audio"]) > 8000


@pytest.mark.process
def test_a_process_that_says_nothing_of_itself_is_given_up(monkeypatch, alone):
    monkeypatch.setattr(simulation, "START_SECONDS", 0.2)
    before = time.monotonic()
    with pytest.raises(NotStarted, match=r"No call has come in within 0.2 seconds"):
        call_in(Caller(handler="echo"), free_port())
    assert time.monotonic() - before < 60


def test_what_cannot_be_started_is_told(settings, tmp_path, alone):
    settings.BASE_DIR = tmp_path / "nowhere"
    with pytest.raises(NotStarted, match=r"No process could be started: .*No such file"):
        call_in(Caller(handler="echo"), 1)


def test_no_more_than_a_few_run_at_once(monkeypatch):
    monkeypatch.setattr(simulation, "_running", threading.BoundedSemaphore(1))
    assert simulation._running.acquire()
    with pytest.raises(NotStarted, match="simulated calls run already"):
        call_in(Caller(handler="echo"), 1)
