"""The time in which a call had no stream is a gap with its reason, and `verify_calls` asks for it."""

import datetime as dt
from importlib import import_module

import pytest
from django.apps import apps
from django.db import connections

from calls.admin.events import entries
from calls.media.rows import CallRow
from calls.models import Call, Gap, Stream
from calls.recorder.writer import Writer
from calls.recordings.rendering import Recording
from calls.recordings.verification import problems
from calls.summaries.problems import problems as named
from calls.summaries.summary import summarise
from tests.support.batches import START, chunk, ended, event, stream_row
from tests.support.factories import make_call, make_chunk, make_stream


pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])

SECOND = dt.timedelta(seconds=1)
MONITORED = {"bidirectional": False, "name": "monitor-start", "tracks": ["inbound", "outbound"]}


@pytest.fixture
def writer():
    yield Writer()
    connections["recorder"].close()


def lanes(*rows):
    """The same rows on both tracks."""
    return [type(row)(**{**{f: getattr(row, f) for f in row.__struct_fields__}, "track": track})
            for row in rows for track in ("inbound", "outbound")]  # fmt: skip


def monitored(writer, reason):
    """A monitored call whose stream ended that way after a second of its own audio."""
    row = stream_row(call={"dialing": True}, **MONITORED)
    writer.write([row, *lanes(chunk(0, b"x" * 8000)), ended(reason, length=8000, ended_at=START + SECOND)])
    return Stream.objects.get()


def gaps():
    return list(Gap.objects.order_by("track").values_list("track", "start", "length", "reason"))


def over(seconds, status="completed"):
    """Twilio says that the call is over, so long after its stream began."""
    Call.objects.update(ended_at=START + seconds * SECOND, status=status)
    return CallRow("CA1", {"status": status})


@pytest.mark.parametrize("reason", ["shutdown", "disconnect"])
def test_a_monitored_call_that_lost_its_stream_goes_on_with_its_dial(writer, reason):
    monitored(writer, reason)
    assert Call.objects.get().dialing


def test_a_monitored_call_ends_with_its_stream_if_twilio_stopped_it(writer):
    monitored(writer, "stop")
    assert not Call.objects.get().dialing


@pytest.mark.parametrize("reason", ["shutdown", "disconnect"])
def test_what_was_said_after_a_stream_was_lost_is_a_gap_up_to_the_calls_end(writer, reason):
    stream = monitored(writer, reason)
    writer.write([over(85)])
    assert gaps() == [(track, 8000, 84 * 8000, "no_stream") for track in ("inbound", "outbound")]
    stream.refresh_from_db()
    assert list(problems(stream)) == []
    assert Recording.of(stream.call).samples == Call.objects.get().audio_samples == 85 * 8000
    assert Call.objects.get().has_warning
    assert [problem.word for problem in named(stream.call, [stream], [])] == ["part missing"]
    shown, _ = entries(stream.call, Recording.of(stream.call), whole_numbers=True)
    assert [(entry.seconds, entry.word, entry.length_seconds) for entry in shown if entry.kind == "gap"] == [
        ("1.00", "Not recorded", "84.00"),
        ("1.00", "Not recorded", "84.00"),
    ]


def test_a_part_of_a_call_that_nobody_heard_and_no_gap_explains_is_a_problem(writer):
    stream = monitored(writer, "shutdown")
    over(85)
    stream.refresh_from_db()
    assert list(problems(stream)) == ["the call had no stream for 672000 samples after it, and the gap says 0"]


def test_a_call_that_ends_with_its_broken_socket_lacks_nothing(writer):
    monitored(writer, "disconnect")
    writer.write([over(2.5)])
    assert gaps() == []


@pytest.mark.parametrize("reason", ["shutdown", "disconnect"])
def test_an_end_that_is_written_long_after_it_came_invents_no_time_without_a_stream(writer, reason):
    monitored(writer, reason)
    writer.write([CallRow("CA1", {"status": "completed"}, at=START + SECOND)])
    call = Call.objects.get()
    assert (call.answered_at, call.ended_at, call.audio_samples) == (START, START + SECOND, 8000)
    assert (gaps(), call.has_warning) == ([], False)


def test_a_call_that_went_on_without_a_stream_on_purpose_lacks_nothing(writer):
    monitored(writer, "handler")
    writer.write([over(85)])
    assert gaps() == []


def test_nobody_knows_how_long_a_call_went_on_that_is_only_presumed_to_be_over(writer):
    monitored(writer, "shutdown")
    writer.write([event("presumed-over", stream=None, source="system")])
    writer.write([over(85)])
    assert gaps() == []


@pytest.mark.parametrize("reason", ["shutdown", "stop"])
def test_the_time_between_two_streams_is_a_gap(writer, reason):
    stream = monitored(writer, reason)
    writer.write([stream_row("MZ2", call_sid="CA1", started_at=START + 4 * SECOND, **MONITORED)])
    assert gaps() == [(track, 8000, 3 * 8000, "no_stream") for track in ("inbound", "outbound")]
    stream.refresh_from_db()
    assert list(problems(stream)) == []


def test_a_stream_beside_another_leaves_no_gap(writer):
    writer.write([stream_row()])
    writer.write([stream_row("MZ2", call_sid="CA1", started_at=START + SECOND, **MONITORED)])
    writer.write([ended(length=64000), ended("shutdown", stream="MZ2", length=8000)])
    assert gaps() == []


def test_a_crash_is_explained_up_to_its_end_and_the_time_after_it_apart(writer):
    writer.write([stream_row(**MONITORED), *lanes(chunk(0, b"x" * 8000))])
    writer.write([stream_row("MZ2", call_sid="CA1", started_at=START + 3 * SECOND, **MONITORED)])
    stream = Stream.objects.using("recorder").get(sid="MZ1")
    for _ in range(2):
        stream.close_orphan(4000)
        summarise(stream.call_id, using="recorder")
    explained = [("inbound", 8000, 4000, "crash"), ("inbound", 12000, 12000, "no_stream")]
    assert gaps() == [*explained, *(("outbound", *rest) for _, *rest in explained)]
    stream.refresh_from_db()
    assert list(problems(stream)) == []


def test_calls_that_were_recorded_before_are_explained_by_the_migration():
    for facts in ({"end_reason": "shutdown"}, {"end_reason": "disconnect"}, {"end_reason": "stop"}):
        call = make_call(ended_at=START + 20 * SECOND, audio_samples=88000)
        for after, more in ((0, {}), (2, {"bidirectional": False}), (10, facts)):
            ends = START + 30 * SECOND
            make_chunk(make_stream(call, after=after, length=8000, ended_at=ends, **more), b"x" * 8000)
    migration = import_module("calls.migrations.0015_explain_time_without_a_stream")
    with connections["default"].schema_editor() as editor:
        migration.explain(apps, editor)
    assert [problem for stream in Stream.objects.all() for problem in problems(stream)] == []
    assert Gap.objects.filter(reason="no_stream").count() == 8
    assert sorted(Call.objects.values_list("audio_samples", flat=True)) == [88000, 160000, 160000]
    assert all(Recording.of(call).samples == call.audio_samples for call in Call.objects.all())


# --- with another number ----------------------------------------------------------------------------------------------


def dialled(writer, outcome=None, *, number="+14155550111"):
    """A call whose handler had its caller dial somebody after a second, and that went on after ten."""
    writer.write([stream_row(), chunk(0, b"x" * 8000), event("dialled", data={"number": number})])
    writer.write([ended("dial", length=8000, ended_at=START + SECOND)])
    if outcome:
        writer.write([stream_row("MZ2", call_sid="CA1", started_at=START + 10 * SECOND)])
        writer.write([event("returned", stream="MZ2", data={"number": number, **outcome})])
    writer.write([over(20)])
    return Stream.objects.get(sid="MZ1")


def shown(stream, *, whole_numbers=True):
    found, _ = entries(stream.call, Recording.of(stream.call), whole_numbers=whole_numbers)
    return [(entry.text, entry.tone, entry.track) for entry in found if entry.kind == "gap"]


def test_the_time_with_another_number_is_a_gap_that_says_so_and_no_warning(writer):
    stream = dialled(writer, {"status": "completed", "duration": 8})
    text = "9.00 s, while the caller was with +14155550111: completed, 8 s"
    assert shown(stream) == [(text, "paused", "inbound")]
    assert list(problems(stream)) == []
    assert not Call.objects.get().has_warning
    assert named(stream.call, Stream.objects.all(), []) == []


def test_whoever_may_not_see_numbers_does_not_see_whom_they_were_with(writer):
    stream = dialled(writer, {"status": "busy", "duration": 0})
    assert shown(stream, whole_numbers=False)[0][0] == "9.00 s, while the caller was with +•••••••0111: busy"


def test_nor_whose_sip_address_that_is(writer):
    stream = dialled(writer, number="sip:anna@example.org")
    assert shown(stream, whole_numbers=False)[0][0] == "19.00 s, while the caller was with sip:••••@example.org"


def test_a_caller_who_has_not_come_back_was_with_them_to_the_end(writer):
    stream = dialled(writer)
    assert shown(stream)[0][0] == "19.00 s, while the caller was with +14155550111"
    assert not Call.objects.get().has_warning
