"""A recorded call as what its caller did, and what came of it."""

import datetime as dt

import pytest

from calls.media.audio import tone
from calls.models import Erasure
from calls.replays.differences import compare
from calls.replays.parts import Key
from calls.replays.stored import Playable, Unplayable
from calls.replays.timelines import Happened
from tests.support.factories import (
    START,
    make_call,
    make_chunk,
    make_digit,
    make_event,
    make_gap,
    make_live_call,
    make_mark,
    make_recording,
    make_stream,
    make_utterance,
)


pytestmark = pytest.mark.django_db
GREETING = tone(440, 1000)


def recorded(**facts):
    """A call of 4 s, in which we have said something for a second from 0.5 s on."""
    call = make_call(audio_samples=32_000)
    stream = make_stream(call, **{"length": 32_000, "end_reason": "stop", "ended_at": call.ended_at, **facts})
    make_chunk(stream, b"\xff" * 32_000)
    make_chunk(stream, GREETING, start=4000, track="outbound")
    return call, stream


def read(call):
    return Playable.of(call).read()


def why(call):
    with pytest.raises(Unplayable) as raised:
        Playable.of(call)
    return str(raised.value)


def events(call):
    return read(call).timeline.events


def test_the_caller_says_what_they_have_said():
    stored = read(make_recording(seconds=2))
    assert stored.part.length == 16_000
    assert b"".join(stored.part.frames) == tone(440, 250) * 8


def test_holes_stay_holes():
    call = make_call()
    stream = make_stream(call, length=480, end_reason="stop")
    make_chunk(stream, b"a" * 160, start=320)
    make_gap(stream, length=320)
    assert [frame is None for frame in read(call).part.frames] == [True, True, False]


def test_keys_are_pressed_when_they_were():
    call, stream = recorded()
    make_digit(stream, "7", 1200)
    assert read(call).part.keys == (Key(1200, "7"),)
    assert Happened(1200, "key", "7") in events(call)


def test_a_caller_who_hung_up_does_so_again():
    assert read(recorded()[0]).part.leaves
    assert not read(recorded(end_reason="handler")[0]).part.leaves


def test_what_we_said_is_measured():
    (spoken,) = read(recorded()[0]).timeline.spoken
    assert (spoken.speaker, spoken.start_ms, spoken.end_ms, len(spoken.audio)) == ("us", 500, 1500, 8000)
    assert read(recorded()[0]).timeline.figures.first_audio_ms == 500


def test_words_are_those_that_are_stored():
    call, stream = recorded()
    make_utterance(stream, "Hello", start=4000, track="outbound")
    assert read(call).timeline.spoken[0].words == "Hello"


def test_marks_and_clears_lie_where_they_were_heard():
    call, stream = recorded()
    make_mark(stream, name="menu", position=12_000, outcome="played")
    make_gap(stream, track="outbound", start=12_800, length=1600, reason="cleared")
    assert events(call)[:2] == (Happened(1500, "mark", "menu", "played"), Happened(1600, "clear", length_ms=200))


def test_what_the_handler_did_is_told():
    call, stream = recorded(end_reason="error")
    at = START + dt.timedelta(seconds=2)
    facts = {"call": call, "stream": stream, "source": "stream", "occurred_at": at}
    make_event(**facts, kind="note", data={"text": "asked twice", "position": 8000})
    make_event(**facts, kind="dialled", data={"number": "+14155550100"})
    make_event(**facts, kind="handler-failed", data={"error": "KeyError: 'order'"})
    assert events(call) == (
        Happened(1000, "note", "asked twice"),
        Happened(4000, "dial", "+14155550100"),
        Happened(4000, "failure", "KeyError: 'order'"),
        Happened(4000, "end", "us"),
    )


def test_data_is_what_it_was_in_the_end():
    call, _ = recorded()
    call.data, call.data_at = {"order": {"b": 1, "a": "ü"}}, {"order": 5}
    call.save()
    assert events(call)[0] == Happened(4000, "data", "order", '{"a": "ü", "b": 1}')


def test_a_call_is_the_same_as_itself():
    stored = read(recorded()[0])
    assert compare(stored.timeline, stored.timeline, alike=bytes.__eq__).is_same


@pytest.mark.parametrize("reason", ["shutdown", "disconnect", "interrupted"])
def test_a_stream_that_broke_is_known_up_to_there(reason):
    found = Playable.of(recorded(end_reason=reason)[0])
    assert found.until_ms == 4000
    assert found.remark.startswith("played until its stream broke, after 4.0 s")


def test_a_call_that_was_dialled_on_is_played_until_then():
    call, _ = recorded(end_reason="dial")
    make_stream(call, after=30, length=8000)
    found = Playable.of(call)
    assert (found.until_ms, found.remark) == (None, "played until another number was dialled, after 4.0 s")


def test_of_several_streams_the_first_one_is_played():
    call, _ = recorded()
    make_stream(call, after=30, length=8000)
    assert Playable.of(call).remark == "1 more of its streams are not played"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("paused", "1.0 s of its caller are not recorded from 0.5 s on (recording paused)"),
        ("crash", "1.0 s of its caller are not recorded from 0.5 s on (the process died)"),
        ("over_cap", "1.0 s of its caller are not recorded from 0.5 s on (no room left to keep it)"),
    ],
)
def test_what_the_handler_heard_and_nobody_kept_cannot_be_played(reason, said):
    call, stream = recorded()
    make_gap(stream, start=4000, length=8000, reason=reason)
    assert why(call) == said


@pytest.mark.parametrize("reason", ["timestamp", "sequence", "rejected"])
def test_what_the_handler_never_had_either_is_played_as_nothing(reason):
    call, stream = recorded()
    make_gap(stream, start=4000, length=8000, reason=reason)
    assert read(call).part.length == 32_000


def test_secret_keys_cannot_be_pressed():
    call, stream = recorded()
    make_digit(stream, "•", 1200)
    assert why(call) == "some of its keys were secret, and are stored as •"


def test_nobody_plays_staff():
    call, stream = recorded()
    make_event(call, stream=stream, source="control", kind="take-over")
    assert why(call) == "somebody stepped in (take-over)"


def test_a_call_that_runs_is_not_played():
    assert why(make_live_call()) == "it is not over yet"


def test_a_call_without_a_stream_has_no_caller():
    assert why(make_call()) == "it had no stream"


def test_a_stream_that_only_listens_has_no_handler_that_speaks():
    assert why(make_stream(bidirectional=False, length=160).call) == "no handler spoke in it"


def test_a_call_of_which_nothing_was_recorded_is_not_played():
    assert why(make_stream(length=160).call) == "nothing of it was recorded"


def test_erased_audio_is_not_played():
    call, _ = recorded()
    Erasure.objects.create(call_sid=call.sid)
    assert why(call) == "its audio was erased"
