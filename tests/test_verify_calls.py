"""`verify_calls` finds every sample that is neither stored nor explained."""

import datetime as dt
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from calls.models import Erasure
from calls.recordings.verification import problems
from tests.support.factories import START, make_call, make_chunk, make_gap, make_recording, make_stream


pytestmark = pytest.mark.django_db


def ended(**facts):
    return make_stream(**{"ended_at": START, **facts})


def verify(*args, **options):
    out = StringIO()
    call_command("verify_calls", *args, stdout=out, **options)
    return out.getvalue()


def failing(*args, **options):
    """What is found, when something is."""
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("verify_calls", *args, stdout=out, **options)
    assert caught.value.returncode == 1
    return out.getvalue().splitlines(), str(caught.value)


# --- one stream -------------------------------------------------------------------------------------------------------


def test_chunks_and_gaps_that_fill_the_stream_are_in_order():
    stream = ended(length=480, frames_missing=1)
    make_chunk(stream, b"x" * 160)
    make_gap(stream, start=160)
    make_chunk(stream, b"x" * 160, start=320)
    assert list(problems(stream)) == []


def test_a_hole_without_a_gap_is_a_problem():
    stream = ended(length=480)
    make_chunk(stream, b"x" * 160)
    make_chunk(stream, b"x" * 160, start=320)
    assert list(problems(stream)) == ["inbound: nothing explains 160 samples at 160"]


def test_a_hole_at_either_end_is_a_problem():
    stream = ended(length=480)
    make_chunk(stream, b"x" * 160, start=160)
    assert list(problems(stream)) == [
        "inbound: nothing explains 160 samples at 0",
        "inbound: nothing explains 160 samples at 320",
    ]


def test_audio_that_is_there_twice_is_a_problem():
    stream = ended(length=240)
    make_chunk(stream, b"x" * 160)
    make_chunk(stream, b"x" * 160, start=80)
    assert list(problems(stream)) == ["inbound: 80 samples at 80 are there twice"]


def test_a_gap_over_audio_is_a_problem():
    stream = ended(length=160)
    make_chunk(stream, b"x" * 160)
    make_gap(stream, start=80, length=80, reason="crash")
    assert list(problems(stream)) == ["inbound: 80 samples at 80 are there twice"]


def test_audio_after_the_end_is_a_problem():
    stream = ended(length=100)
    make_chunk(stream, b"x" * 160)
    assert list(problems(stream)) == ["inbound: it is 60 samples longer than the stream"]


def test_a_cleared_gap_takes_no_room():
    stream = ended(length=160)
    make_chunk(stream, b"x" * 160)
    make_gap(stream, track="outbound", length=8000, reason="cleared")
    assert list(problems(stream)) == []


def test_a_chunk_that_is_shorter_than_it_says_is_a_problem():
    stream = ended(length=160)
    make_chunk(stream, b"x" * 100, length=160)
    assert list(problems(stream)) == ["inbound: the chunk at 0 should have 160 samples, and has 100"]


def test_missing_frames_that_no_gap_explains_are_a_problem():
    stream = ended(length=160, frames_missing=2)
    make_chunk(stream, b"x" * 160)
    assert list(problems(stream)) == ["2 frames are said to be missing, and the gaps say 0"]


def test_both_tracks_of_a_monitored_call_must_be_full():
    stream = ended(length=160, tracks=["inbound", "outbound"])
    make_chunk(stream, b"x" * 160)
    assert list(problems(stream)) == ["outbound: nothing explains 160 samples at 0"]


def test_our_side_of_a_conversation_may_be_silent():
    stream = ended(length=480, heard=160)
    make_chunk(stream, b"x" * 480)
    make_chunk(stream, b"x" * 160, start=160, track="outbound")
    assert list(problems(stream)) == []


def test_what_was_heard_and_is_not_stored_is_a_problem():
    stream = ended(length=480, heard=320)
    make_chunk(stream, b"x" * 480)
    make_chunk(stream, b"x" * 160, start=160, track="outbound")
    assert list(problems(stream)) == ["outbound: 320 samples were heard, 160 are stored or explained"]


def test_what_was_heard_while_paused_is_explained():
    stream = ended(length=480, heard=320)
    make_chunk(stream, b"x" * 480)
    make_chunk(stream, b"x" * 160, start=160, track="outbound")
    make_gap(stream, start=320, reason="paused", track="outbound")
    assert list(problems(stream)) == []


def test_our_side_may_neither_collide_nor_reach_past_the_end():
    stream = ended(length=160, heard=320)
    make_chunk(stream, b"x" * 160)
    make_chunk(stream, b"x" * 160, track="outbound")
    make_chunk(stream, b"x" * 160, start=80, track="outbound")
    assert list(problems(stream)) == [
        "outbound: 80 samples at 80 are there twice",
        "outbound: it is 80 samples longer than the stream",
    ]


# --- the command ------------------------------------------------------------------------------------------------------


def test_whole_recordings_are_reported_as_such():
    make_recording()
    assert verify("--all") == "1 streams: every sample is stored or explained.\n"


def test_every_problem_is_a_line_with_the_call_and_the_stream():
    stream = ended(length=160)
    lines, summary = failing(stream.call.sid)
    assert lines == [f"{stream.call.sid} {stream.sid} inbound: nothing explains 160 samples at 0"]
    assert summary == "1 problems in 1 streams."


def test_a_live_stream_is_not_looked_at():
    make_stream(length=160)
    assert verify("--all").startswith("0 streams")


def test_what_was_erased_is_not_lost():
    stream = ended(length=160)
    Erasure.objects.create(call_sid=stream.call.sid, audio_only=True, reason="asked for")
    assert verify("--all").startswith("0 streams")


@pytest.mark.parametrize(
    ("period", "count"),
    [
        (["--since", "2026-03-14"], 1),
        (["--since", "2026-03-15"], 0),
        (["--until", "2026-03-14"], 0),
        (["--until", "2026-03-14T15:10"], 1),
        (["--since", "2026-03-14T15:00", "--until", "2026-03-14T15:05"], 0),
    ],
)
def test_a_period_chooses_calls_by_when_they_began(period, count):
    make_stream(make_call(), ended_at=START + dt.timedelta(seconds=1))
    assert verify(*period).startswith(f"{count} streams")


def test_named_calls_are_the_only_ones():
    good, _ = make_recording(), ended(length=160)
    assert verify(good.sid).startswith("1 streams")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "Which calls"),
        (["CA404"], "No such call: CA404"),
        (["--since", "yesterday"], "yesterday is not a date"),
        (["--since", "2026-13-01"], "2026-13-01"),
    ],
)
def test_bad_arguments_are_explained(arguments, complaint):
    with pytest.raises(CommandError, match=complaint):
        verify(*arguments)


def test_the_number_of_queries_does_not_grow_with_a_stream(django_assert_max_num_queries):
    call = make_recording(seconds=60)
    with django_assert_max_num_queries(12):
        verify(call.sid)
