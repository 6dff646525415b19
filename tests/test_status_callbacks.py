"""Status callbacks: of calls and of streams, in any order, any number of times, at any time."""

import datetime as dt
import itertools
import threading

import pytest
from django.db import connection, transaction

from calls.models import Call, CallEvent, Erasure
from calls.summaries.summary import note_call
from tests.support.factories import make_call, make_stream, sid
from tests.support.webhooks import CALL, COMPLETED, INCOMING, STARTED, STREAM, get, post


pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("process")]


def call_status(client, **facts):
    response = post(client, "/call-status", {**COMPLETED, **facts})
    assert (response.status_code, response.content) == (204, b"")


def stream_status(client, **facts):
    response = post(client, "/stream-status", {**STARTED, **facts})
    assert (response.status_code, response.content) == (204, b"")


def test_the_end_of_a_call_is_its_status_its_duration_and_an_event(client):
    call_status(client)
    call, event = Call.objects.get(), CallEvent.objects.get()
    assert (call.sid, call.status, call.duration, call.direction) == (CALL, "completed", 49, "outbound-api")
    assert (event.source, event.kind, event.sequence_number) == ("call-status", "completed", 3)
    assert event.data == {name: value for name, value in COMPLETED.items() if value}


def test_callbacks_may_come_over_get(client):
    assert get(client, "/call-status", COMPLETED).status_code == 204
    assert Call.objects.get().status == "completed"


def test_a_stream_event_belongs_to_its_stream(client):
    stream = make_stream(make_call(sid=CALL), sid=STREAM)
    stream_status(client)
    event = CallEvent.objects.get()
    assert (event.source, event.kind, event.stream) == ("stream-status", "stream-started", stream)


def test_a_stream_event_may_come_before_its_stream(client):
    stream_status(client)
    event = CallEvent.objects.get()
    assert (event.call.sid, event.stream, event.data["StreamSid"]) == (CALL, None, STREAM)


def test_why_a_handshake_failed_is_kept(client):
    stream_status(client, StreamEvent="stream-error", StreamError="31920 handshake")
    assert CallEvent.objects.get().data["StreamError"] == "31920 handshake"


@pytest.mark.parametrize("path", ["/incoming", "/call-status", "/stream-status", "/stream-ended"])
def test_the_call_is_made_by_whichever_request_comes_first(client, path):
    post(client, path, {**INCOMING, "StreamSid": STREAM, "StreamEvent": "stream-started"})
    assert (Call.objects.get().sid, Call.objects.get().account_sid) == (CALL, INCOMING["AccountSid"])


# --- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Sun, 25 Mar 2018 09:53:19 +0000", dt.datetime(2018, 3, 25, 9, 53, 19, tzinfo=dt.UTC)),
        ("Sun, 25 Mar 2018 11:53:19 +0200", dt.datetime(2018, 3, 25, 9, 53, 19, tzinfo=dt.UTC)),
        ("Sun, 25 Mar 2018 09:53:19 -0000", dt.datetime(2018, 3, 25, 9, 53, 19, tzinfo=dt.UTC)),
        ("2024-11-29T00:09:39.602648368Z", dt.datetime(2024, 11, 29, 0, 9, 39, 602648, tzinfo=dt.UTC)),
        ("2024-11-29T00:09:39Z", dt.datetime(2024, 11, 29, 0, 9, 39, tzinfo=dt.UTC)),
        ("2024-11-29T00:09:39", dt.datetime(2024, 11, 29, 0, 9, 39, tzinfo=dt.UTC)),
    ],
)
def test_the_time_of_an_event_is_twilios(client, text, moment):
    call_status(client, Timestamp=text)
    stream_status(client, Timestamp=text)
    assert {event.occurred_at for event in CallEvent.objects.all()} == {moment}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "Sun, 99 Mar 2018 09:53:19 +0000",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "Fri, 31 Dec 9999 23:59:59 -1400",
        "Sun, 25 Mar 2018 09:53:19 +9999",
        "2024-11-29T\x00",
        "x" * 5000,
        "٢٠٢٤-11-29",
    ],
)
def test_a_malformed_timestamp_is_the_time_of_its_arrival(client, text):
    call_status(client, Timestamp=text)
    event = CallEvent.objects.get()
    assert abs(event.occurred_at - event.received_at) < dt.timedelta(seconds=5)


def test_a_callback_without_a_timestamp_is_stored(client):
    post(client, "/call-status", {"CallSid": CALL, "CallStatus": "ringing"})
    assert CallEvent.objects.get().kind == "ringing"


# --- twice, and in any order ------------------------------------------------------------------------------------------


def test_ten_deliveries_are_one_event(client):
    for _ in range(10):
        call_status(client)
        stream_status(client)
    assert sorted(CallEvent.objects.values_list("kind", flat=True)) == ["completed", "stream-started"]


def test_callbacks_of_two_sources_with_the_same_number_are_two_events(client):
    call_status(client, CallbackSource="call-progress-events")
    call_status(client, CallbackSource="elsewhere")
    assert CallEvent.objects.count() == 2


def callbacks(call_sid):
    """The five of one call, as Twilio would send them in a row."""
    progress = {**COMPLETED, "CallSid": call_sid, "CallDuration": ""}
    return [
        ("/call-status", {**progress, "CallStatus": "initiated", "SequenceNumber": "0"}),
        ("/call-status", {**progress, "CallStatus": "ringing", "SequenceNumber": "1"}),
        ("/call-status", {**progress, "CallStatus": "in-progress", "SequenceNumber": "2"}),
        ("/stream-status", {**STARTED, "CallSid": call_sid, "StreamSid": "MZ" + call_sid[2:]}),
        ("/call-status", {**COMPLETED, "CallSid": call_sid}),
    ]


FACTS = ("account_sid", "from_number", "to_number", "status", "duration", "answered_by", "parameters")


def states(client):
    """What is stored of calls whose five callbacks came in each possible order."""
    found = set()
    for order in itertools.permutations(range(5)):
        number = sid("CA")
        for at in order:
            path, form = callbacks(number)[at]
            assert post(client, path, form).status_code == 204
        call = Call.objects.get(sid=number)
        kinds = sorted(call.events.values_list("kind", "sequence_number"), key=str)
        found.add(str([[getattr(call, name) for name in FACTS], bool(call.ended_at), kinds]))
    return found


def test_every_order_of_five_callbacks_leaves_the_same(client):
    """120 orders of 5 requests: 5 s and more."""
    (state,) = states(client)
    assert "'completed', 49" in state
    assert "('stream-started', None)" in state


def test_the_direction_is_known_from_whoever_says_it_first(client):
    stream_status(client)
    call_status(client)
    assert Call.objects.get().direction == "outbound-api"


def test_that_a_call_was_answered_is_known_when_its_end_came_first(client):
    call_status(client)
    call_status(client, CallStatus="in-progress", SequenceNumber="2")
    assert Call.objects.get().answered_at is not None


def test_events_are_listed_in_twilios_order_whatever_theirs_was(client):
    for at in (3, 0, 2, 1):
        status = ("initiated", "ringing", "in-progress", "completed")[at]
        call_status(client, CallStatus=status, SequenceNumber=str(at))
    assert [event.sequence_number for event in CallEvent.objects.all()] == [0, 1, 2, 3]


@pytest.mark.parametrize("late", ["queued", "initiated", "ringing", "in-progress", "completed", "answered", "", "?"])
def test_a_status_never_moves_down(client, late):
    call_status(client, CallStatus="busy", CallDuration="")
    ended = Call.objects.get().ended_at
    call_status(client, CallStatus=late, SequenceNumber="9")
    assert (Call.objects.get().status, Call.objects.get().ended_at) == ("busy", ended)


@pytest.mark.parametrize("end", ["completed", "busy", "failed", "no-answer", "canceled"])
def test_every_end_is_one(client, end):
    call_status(client, CallStatus=end)
    assert (Call.objects.get().status, Call.objects.get().ended_at is None) == (end, False)


def test_answered_is_called_in_progress(client):
    call_status(client, CallStatus="in-progress")
    assert Call.objects.get().answered_at is not None


def test_a_call_that_has_ended_keeps_its_first_duration(client):
    call_status(client)
    call_status(client, CallDuration="50", SequenceNumber="4")
    assert Call.objects.get().duration == 49


def test_what_comes_after_the_end_is_an_event_all_the_same(client):
    call_status(client)
    stream_status(client, StreamEvent="stream-stopped")
    assert CallEvent.objects.filter(kind="stream-stopped").exists()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_callbacks_at_once_do_not_move_a_status_down():
    call = make_call(status="initiated", ended_at=None)

    def ringing():
        with transaction.atomic():
            note_call(call.sid, {"status": "ringing"}, using="default")
        connection.close()

    other = threading.Thread(target=ringing)
    with transaction.atomic():
        note_call(call.sid, {"status": "completed"}, using="default")
        other.start()
        while not waits_for_a_lock():
            assert other.is_alive(), "it did not have to wait"
    other.join()
    assert Call.objects.get().status == "completed"


def waits_for_a_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        return cursor.fetchone() is not None


# --- hostile ----------------------------------------------------------------------------------------------------------


HOSTILE = [
    "\x00",
    "a\x00b",
    "x" * 10_000,
    "<script>",
    "'; DROP TABLE calls_call; --",
    "🎵" * 300,
    "\u202e",
    "%s",
    "{}",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_is_too_strange_to_be_stored(client, text):
    strange = {name: text for name in {**COMPLETED, **STARTED, **INCOMING} if name != "CallSid"}
    for path in ("/incoming", "/call-status", "/stream-status", "/stream-ended"):
        assert post(client, path, {**strange, "CallSid": CALL}).status_code in (200, 204)
    assert Call.objects.get().from_number == text.replace("\x00", "\ufffd")[:255]
    assert CallEvent.objects.count() == 4


@pytest.mark.parametrize("number", ["-1", "1e9", "9" * 5000, "١٢", "²", " 3", "0x10", "99999999999"])
def test_no_number_is_too_strange_to_be_stored(client, number):
    call_status(client, SequenceNumber=number, CallDuration=number)
    assert Call.objects.get().duration in (None, 2**31 - 1)
    assert CallEvent.objects.get().sequence_number in (None, 2**31 - 1)


def test_a_thousand_fields_do_no_harm(client):
    call_status(client, **{f"Field{number}": "x" for number in range(900)})
    assert len(CallEvent.objects.get().data) == 100


@pytest.mark.parametrize("callback", [call_status, stream_status])
def test_a_late_callback_does_not_bring_an_erased_call_back(client, callback):
    Erasure.objects.create(call_sid=CALL, reason="asked for")
    callback(client)
    assert not Call.objects.exists()
    assert not CallEvent.objects.exists()


@pytest.mark.parametrize("path", ["/incoming", "/stream-ended"])
def test_a_late_request_for_twiml_does_not_bring_an_erased_call_back(client, path):
    Erasure.objects.create(call_sid=CALL, reason="asked for")
    assert post(client, path, {**INCOMING, "CallSid": CALL}).status_code == 200
    assert not Call.objects.exists()
