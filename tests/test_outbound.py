"""Calls that we place: which row a request of Twilio's belongs to, what the handler is told, and whole calls."""

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone
from twilio.request_validator import RequestValidator

from calls import rest
from calls.media.audio import tone
from calls.media.rows import CallRow, EventRow, StreamChange, StreamRow
from calls.models import Call, Stream
from calls.recorder import recorder
from calls.recorder.housekeeping import end_abandoned
from calls.recorder.writer import Writer
from calls.rest.client import twilio
from calls.security import CallRef
from simulator import OutboundCall, PhoneNumber, Scenario, TwilioApi
from tests.support.factories import make_call, sid
from tests.support.recorded import stored_to_the_end
from tests.support.servers import Server, until


ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
TOKEN = "0123456789abcdef0123456789abcdef"
OURS, THEIRS = "+14155550199", "+14155550100"

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])


# --- which row a request belongs to


def post(client, path, ref=None, **form):
    """A webhook of Twilio's."""
    path += f"?ref={quote(ref.sign())}" if ref else ""
    form = {"AccountSid": ACCOUNT, "Direction": "outbound-api", "From": OURS, "To": THEIRS, **form}
    signature = RequestValidator(TOKEN).compute_signature(f"https://voice.example.org{path}", form)
    headers = {"X-Twilio-Signature": signature}
    return client.post(path, urlencode(form), content_type="application/x-www-form-urlencoded", headers=headers)


def pending(**facts):
    """A row as it is before Twilio has answered; an old one would be taken for forgotten."""
    unknown = {"sid": None, "status": "queued", "created_at": timezone.now(), "answered_at": None, "ended_at": None}
    return make_call(**{**unknown, "direction": "outbound-api", "from_number": OURS, "to_number": THEIRS, **facts})


def told(response):
    """The stream's parameters in a document, without the token."""
    found = ElementTree.fromstring(response.content).iter("Parameter")
    return {one.get("name"): one.get("value") for one in found if one.get("name") != "token"}


def test_a_callback_that_beats_twilios_reply_finds_the_row(client):
    call, number = pending(), sid("CA")
    response = post(client, "/call-status", CallRef(call.pk), CallSid=number, CallStatus="initiated")
    assert response.status_code == 204
    found = Call.objects.get()
    assert (found.pk, found.sid, found.status) == (call.pk, number, "initiated")


def test_a_request_without_a_reference_makes_a_row_of_its_own(client):
    pending()
    post(client, "/call-status", CallSid=sid("CA"), CallStatus="initiated")
    assert Call.objects.count() == 2


def test_a_row_that_a_request_without_reference_has_made_is_merged(client):
    call, number = pending(notes="VIP"), sid("CA")
    post(client, "/stream-status", CallSid=number, StreamSid=sid("MZ"), StreamEvent="stream-started")
    post(client, "/call-status", CallRef(call.pk), CallSid=number, CallStatus="in-progress")
    found = Call.objects.get()
    assert (found.sid, found.status, found.notes, found.events.count()) == (number, "in-progress", "VIP", 2)


def at_once(*actions):
    """Runs each in a thread and on a connection of its own, all starting together."""
    together = threading.Barrier(len(actions))

    def run(action):
        together.wait()
        try:
            action()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(actions)) as pool:
        for future in [pool.submit(run, action) for action in actions]:
            future.result()


def test_a_reply_and_callbacks_that_come_at_once_leave_one_row():
    for _ in range(5):
        call, number = pending(), sid("CA")
        event = EventRow(number, None, "stream-status", "stream-started", "k", dt.datetime.now(dt.UTC))
        at_once(
            lambda call=call, number=number: Call.objects.claim(call.pk, number),
            lambda call=call, number=number: Writer("default").write([CallRow(number, {}, call.pk)]),
            lambda number=number, event=event: Writer("default").write([CallRow(number, {}), event]),
        )
        found = Call.objects.get()
        assert (found.sid, found.direction, found.events.count()) == (number, "outbound-api", 1)
        found.delete()


def test_a_reference_that_somebody_made_up_is_refused(client):
    call = pending()
    form = {"CallSid": sid("CA"), "CallStatus": "initiated"}
    made_up = type("Made", (), {"sign": lambda self: CallRef(call.pk).sign()[:-2] + "xx"})()
    post(client, "/call-status", made_up, **form)
    call.refresh_from_db()
    assert call.sid is None


def test_the_answered_call_is_connected_and_told_its_parameters(client):
    call = pending()
    ref = CallRef(call.pk, {"order": "17", "name": 'Ada "<&>'})
    response = post(client, "/incoming/echo", ref, CallSid=sid("CA"), CallStatus="in-progress")
    assert told(response) == {"order": "17", "name": 'Ada "<&>'}
    assert Call.objects.get().status == "in-progress"


def test_a_stream_that_broke_is_connected_again_with_the_same_parameters(client):
    number, ref = sid("CA"), CallRef(pending().pk, {"order": "17"})
    first = post(client, "/incoming/echo", ref, CallSid=number, CallStatus="in-progress")
    action = ElementTree.fromstring(first.content)[0].get("action").removeprefix("https://voice.example.org")
    again = post(client, action, CallSid=number, CallStatus="in-progress")
    assert told(again) == {"order": "17"}


def test_the_reference_is_not_stored(client):
    call = pending()
    post(client, "/incoming", CallRef(call.pk), CallSid=sid("CA"), CallStatus="in-progress", StirStatus="B")
    found = Call.objects.get()
    assert found.parameters == {"StirStatus": "B"}
    assert "ref" not in str(list(found.events.values("data")))


def test_who_answered_is_stored_and_told_to_the_handler(client):
    form = {"CallSid": sid("CA"), "CallStatus": "in-progress", "AnsweredBy": "machine_start"}
    response = post(client, "/incoming/echo", CallRef(pending().pk), **form)
    assert told(response) == {"AnsweredBy": "machine_start"}
    assert Call.objects.get().answered_by == "machine_start"


def test_without_a_database_the_handler_is_told_and_the_row_is_found_later(client):
    number, ref = sid("CA"), CallRef(pending().pk, {"order": "17"})
    recorder.away_since = 0.0
    response = post(client, "/incoming/echo", ref, CallSid=number, CallStatus="in-progress")
    assert told(response) == {"order": "17"}
    recorder.close()
    assert Call.objects.get().sid == number


def test_a_transferred_call_outlives_its_stream():

    number, stream = sid("CA"), sid("MZ")
    now = dt.datetime.now(dt.UTC)
    row = StreamRow(stream, number, {"dialing": True}, "n", "o", "", ["inbound"], {}, {}, now)
    transfer = EventRow(number, None, "control", "transfer", "k", now)
    Writer("default").write([CallRow(number, {}), row, transfer, StreamChange(stream, {"ended_at": now})])
    assert Call.objects.get().dialing


def test_a_call_whose_outcome_was_never_known_has_failed_a_day_later():
    call = pending(created_at=dt.datetime.now(dt.UTC) - dt.timedelta(hours=26))
    end_abandoned(dt.datetime.now(dt.UTC), asks_twilio=False)
    call.refresh_from_db()
    assert (call.status, call.events.get().kind) == ("failed", "presumed-over")


# --- whole calls, with a server process of ours


@pytest.fixture(scope="module")
def server(django_db_setup, django_db_blocker, tmp_path_factory):
    with django_db_blocker.unblock(), Server("uvicorn", tmp_path_factory.mktemp("outbound")) as server:
        yield server


@pytest.fixture
def line(server, settings):
    """Places calls through the REST API; somebody answers as the test says, and says something for a second."""
    settings.PUBLIC_URL = server.url

    def place(
        *, answer="human", callbacks="in-order", reply_last=False, meanwhile=None, duration=1.0, rings=0.05, **asked
    ):
        reports = []

        async def answered(placed):
            call = OutboundCall(placed, scenario(server, duration, callbacks), answer=answer, rings=rings)
            reports.append(await call.run())

        with TwilioApi(ACCOUNT, TOKEN, [PhoneNumber(OURS)], answered, reply_last=reply_last).running() as api:
            settings.TWILIO_API_URL = api.url
            call = rest.place_call(THEIRS, OURS, asked.pop("handler", "echo"), **asked)
            if meanwhile:
                meanwhile(call)
            until(lambda: reports, "the call to end")
        # A database that is busy is written to after the answer to a callback.
        return until(lambda: Call.objects.exclude(ended_at=None).first(), "the last callback to be stored"), reports[0]

    return place


def scenario(server, duration, callbacks):
    return Scenario(
        public_url=server.url,
        server=server.url,
        auth_token=TOKEN,
        account_sid=ACCOUNT,
        audio=tone(440, 1000),
        duration=duration,
        callbacks=callbacks,
    )


def heard(call):
    """What was said to the call's statuses, in Twilio's order."""
    rows = call.events.filter(source="call-status").order_by("sequence_number")
    return [(row.sequence_number, row.kind) for row in rows]


ALL = [(0, "initiated"), (1, "ringing"), (2, "in-progress"), (3, "completed")]


@pytest.mark.process
@pytest.mark.parametrize("callbacks", ["in-order", "late", "twice", "shuffled"])
def test_a_call_is_one_row_however_its_callbacks_come(line, callbacks):
    call, report = line(callbacks=callbacks, parameters={"order": "17"})
    assert report.errors == []
    # A second, or two where the machine is busy.
    duration = int(call.events.get(kind="completed").data["CallDuration"])
    assert duration in (1, 2)
    assert (call.status, call.duration, call.direction) == ("completed", duration, "outbound-api")
    assert heard(call) == ALL
    assert report.streams[0].parameters["order"] == "17"


@pytest.mark.process
def test_a_call_whose_callback_beats_the_reply_is_one_row(line):
    call, report = line(reply_last=True)
    assert (report.errors, call.status, heard(call)) == ([], "completed", ALL)


@pytest.mark.process
def test_the_person_called_is_on_the_inbound_lane(line):
    call, report = line()
    stored_to_the_end([report])
    stream = Stream.objects.get(call=call)
    assert stream.tracks == ["inbound"]
    audio = b"".join(bytes(chunk.payload) for chunk in stream.chunks.filter(track="inbound"))
    assert audio == report.sent


@pytest.mark.process
@pytest.mark.parametrize("answer", ["busy", "no-answer", "failed"])
def test_a_call_that_nobody_answers_ends_as_twilio_says(line, answer):
    call, report = line(answer=answer)
    assert (call.status, call.answered_at, report.errors) == (answer, None, [])
    assert heard(call) == [(0, "initiated"), (1, "ringing"), (2, answer)]


@pytest.mark.process
def test_a_machine_that_answers_is_known(line):
    call, report = line(answer="machine", machine_detection=True)
    assert call.answered_by == "machine_start"
    assert report.streams[0].parameters["AnsweredBy"] == "machine_start"
    known = call.events.filter(source="call-status", data__AnsweredBy="machine_start")
    assert sorted(known.values_list("kind", flat=True)) == ["completed", "in-progress"]


def in_progress(call):
    until(lambda: Stream.objects.filter(call=call).exists(), "the stream")
    call.refresh_from_db()
    return call


@pytest.mark.process
def test_a_call_can_be_hung_up(line):
    call, report = line(meanwhile=lambda call: rest.end_call(in_progress(call)), duration=20.0)
    assert (call.status, report.errors) == ("completed", [])
    assert "hung up on by the API" in report.ended


@pytest.mark.process
def test_goodbye_ends_the_stream_and_then_the_call(line):
    call, report = line(meanwhile=lambda call: rest.say_goodbye(in_progress(call), "Bye."), duration=20.0)
    assert (call.status, report.errors) == ("completed", [])
    assert report.ended.startswith("the server hung up")
    assert len(report.streams) == 1


@pytest.mark.process
def test_a_transferred_call_goes_on_without_us(line):
    call, report = line(meanwhile=lambda call: rest.transfer(in_progress(call), "+14155550122"), duration=3.0)
    assert (call.status, report.errors, len(report.streams)) == ("completed", [], 1)
    assert call.dialing


@pytest.mark.process
def test_a_call_that_is_hung_up_while_it_rings_is_canceled(line):
    call, report = line(meanwhile=rest.end_call, rings=20.0)
    assert (call.status, call.answered_at, report.streams) == ("canceled", None, [])


@pytest.mark.process
def test_a_call_can_be_sent_to_another_handler(line, server):
    """By hand: nothing of ours does it, but anyone may with the twilio library."""

    def redirect(call):
        with twilio() as account:
            account.calls(in_progress(call).sid).update(url=f"{server.url}/incoming/voicemail?x=1&y=2")

    _, report = line(meanwhile=redirect, duration=3.0)
    assert report.errors == []
    assert len(report.streams) == 2


@pytest.mark.process
@pytest.mark.parametrize("callbacks", ["in-order", "early"])
def test_simulate_call_places_a_call_and_answers_it(server, settings, capsys, callbacks):
    settings.PUBLIC_URL = server.url
    options = {"server": server.url, "public_url": server.url, "rings": 0.1, "duration": 0.5, "handler": "echo"}
    call_command("simulate_call", outbound=True, callbacks=callbacks, **options)
    captured = capsys.readouterr()
    assert "TWILIO_API_URL=http://127.0.0.1:" in captured.err
    assert "the call is in-progress" in captured.err
    assert "1 stream(s)" in captured.out
    assert (Call.objects.get().status, Call.objects.get().is_simulated) == ("completed", True)


@pytest.mark.process
def test_simulate_call_says_why_a_call_could_not_be_placed(server, settings):
    settings.PUBLIC_URL = server.url
    with pytest.raises(CommandError, match="Twilio says 21211"):
        call_command("simulate_call", outbound=True, server=server.url, public_url=server.url, to_number="nobody")
