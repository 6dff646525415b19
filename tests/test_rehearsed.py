"""A call that was played again, of the rows that it has left."""

import datetime as dt

from calls.media.audio import tone
from calls.media.rows import ChunkRow, DataRow, EventRow, GapRow, MarkRow, StreamChange, StreamRow, UtteranceRow
from calls.replays.measuring import Heard
from calls.replays.parts import Key, Part
from calls.replays.rehearsed import read
from calls.replays.timelines import Happened, Timeline


AT = dt.datetime(2026, 3, 14, tzinfo=dt.UTC)
GREETING = tone(440, 1000)
CALLER = Part([(0, b"\xff" * 32_000)], (Key(1200, "7"), Key(9000, "8")), 32_000, leaves=True)


def opened(sid="MZ1", **facts):
    known = {"call": {}, "nonce": sid, "owner": "", "name": "menu", "tracks": ["inbound"]}
    known |= {"custom_parameters": {}, "media_format": {}, "started_at": AT}
    return StreamRow(sid=sid, call_sid="CA1", **known, **facts)


def left(*rows, reason="handler", instead=b""):
    """A stream of 4 s, in which we have said something for a second from 0.5 s on."""
    said = ChunkRow("MZ1", "outbound", 0, 4000, GREETING)
    counters, end = (
        StreamChange("MZ1", {"length": 16_000}),
        StreamChange("MZ1", {"length": 32_000, "end_reason": reason}),
    )
    return read([opened(), said, counters, *rows, end], Heard([]), CALLER, instead)


def events(*rows, **facts):
    """Without the key and the end that are always there."""
    return [event for event in left(*rows, **facts).events if event.kind not in ("key", "end")]


def event(kind, **data):
    return EventRow("CA1", "MZ1", "stream", kind, kind, AT, data)


def test_what_we_said_is_measured():
    (spoken,) = left().spoken
    assert (spoken.start_ms, spoken.end_ms, spoken.audio == GREETING) == (500, 1500, True)


def test_the_last_word_about_a_stream_counts():
    assert left().events[-1] == Happened(4000, "end", "us")
    assert left(reason="stop").events[-1] == Happened(4000, "end", "caller")
    assert left(reason="dial").events[-1] == Happened(4000, "end", "dial")


def test_keys_are_those_that_the_caller_came_to_press():
    assert [one for one in left().events if one.kind == "key"] == [Happened(1200, "key", "7")]


def test_a_mark_is_what_became_of_it():
    sent, back = (MarkRow("MZ1", 0, "menu", AT, *known) for known in ((12_000, "pending"), (12_800, "played")))
    assert events(sent, back) == [Happened(1600, "mark", "menu", "played")]


def test_marks_of_our_own_are_left_out():
    assert events(MarkRow("MZ1", 0, "callstream:0", AT, 12_000, "played")) == []


def test_a_clear_that_grew_is_one():
    shorter, longer = (GapRow("MZ1", "outbound", 8000, length, "cleared") for length in (800, 1600))
    assert events(shorter, longer) == [Happened(1000, "clear", length_ms=200)]


def test_what_the_handler_did_is_told():
    found = events(
        event("note", text="twice", position=8000), event("handler-failed", error="KeyError"), event("unsent")
    )
    assert found == [Happened(1000, "note", "twice"), Happened(4000, "failure", "KeyError")]


def test_data_is_what_it_was_in_the_end():
    assert events(DataRow("MZ1", {"a": 1, "b": [2]}, AT), DataRow("MZ1", {"a": 3}, AT)) == [
        Happened(4000, "data", "a", "3"),
        Happened(4000, "data", "b", "[2]"),
    ]


def test_words_come_along():
    assert left(UtteranceRow("MZ1", "outbound", 4000, 8000, "Hello.")).spoken[0].words == "Hello."


def test_of_a_handler_that_is_not_recorded_it_is_what_the_caller_heard():
    paused = GapRow("MZ1", "outbound", 0, 32_000, "paused")
    (spoken,) = left(paused, instead=b"\xff" * 16_000 + GREETING).spoken
    assert (spoken.start_ms, spoken.end_ms) == (2000, 3000)


def test_a_second_stream_is_none_of_it():
    rows = [opened("MZ2"), ChunkRow("MZ2", "outbound", 0, 20_000, GREETING), event("note", text="x", position=1)]
    rows[-1].stream = "MZ2"
    assert left(*rows) == left()


def test_a_call_that_opened_no_stream_has_ended_at_once():
    assert read([], Heard([]), CALLER) == Timeline(events=(Happened(0, "end", "us"),))
