"""What lies where on a stream's own clock, and why there is nothing where nothing lies."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.media.audio import SAMPLE_RATE
from calls.media.lane import MAX_CHUNK
from calls.media.playback import PendingMark
from calls.media.protocol import ProtocolError
from calls.media.rows import ChunkRow, DataRow, DtmfRow, EventRow, GapRow, MarkRow, StreamChange
from calls.media.tape import SETTLE, Tape


NOW = dt.datetime(2026, 3, 14, 15, 9, 26, tzinfo=dt.UTC)
A, B, C = b"a" * 160, b"b" * 160, b"c" * 160


def tape(*tracks: str, bidirectional: bool = True) -> Tape:
    return Tape("MZ1", "CA1", tracks or ("inbound",), bidirectional=bidirectional)


def two_tracks() -> Tape:
    return tape("inbound", "outbound", bidirectional=False)


def chunks(rows, track="inbound"):
    return [(row.start, row.payload) for row in rows if isinstance(row, ChunkRow) and row.track == track]


def gaps(rows, track="inbound"):
    return [(row.start, row.length, row.reason) for row in rows if isinstance(row, GapRow) and row.track == track]


def end(tape):
    tape.close()
    return tape.cut_all()


# --- placement -------------------------------------------------------------------------------------------------------


def test_frames_that_follow_each_other_become_one_chunk():
    t = tape()
    t.media("inbound", 40, A, 0)
    t.media("inbound", 60, B, 160)
    assert chunks(t.cut(400)) == [(0, A + B)]


def test_each_cut_takes_what_is_new_and_counts_on():
    t = tape()
    t.media("inbound", 40, A, 0)
    first = t.cut(160)
    t.media("inbound", 60, B, 160)
    assert [row.index for row in [*first, *t.cut(320)]] == [0, 1]


def test_a_cut_without_news_has_no_rows():
    t = tape()
    t.media("inbound", 40, A, 0)
    t.cut(160)
    assert t.cut(320) == []


def test_the_first_frame_lies_at_0_whatever_its_timestamp():
    t = tape()
    assert t.media("inbound", 187, A, 100) == 160
    assert t.first_timestamp == 187


def test_a_first_frame_that_comes_late_lies_where_the_clock_is():
    t = tape()
    assert t.media("inbound", 900, A, 8000) == 8160
    rows = end(t)
    assert chunks(rows) == [(8000, A)]
    assert gaps(rows) == [(0, 8000, "timestamp")]


def test_a_frame_from_before_the_first_one_moves_the_beginning():
    t = tape()
    t.media("inbound", 40, B, 0)
    t.media("inbound", 20, A, 160)
    t.media("inbound", 60, C, 320)
    assert chunks(t.cut(480)) == [(0, A), (160, B + C)]
    assert t.first_timestamp == 20


def test_both_tracks_move_when_the_beginning_does():
    t = two_tracks()
    t.media("inbound", 40, B, 0)
    t.media("outbound", 40, C, 0)
    t.media("inbound", 20, A, 160)
    rows = end(t)
    assert chunks(rows) == [(0, A), (160, B)]
    assert chunks(rows, "outbound") == [(160, C)]
    assert gaps(rows, "outbound") == [(0, 160, "timestamp")]


def test_a_track_that_was_not_asked_for_has_no_hole_before_it_when_the_beginning_moves():
    t = tape("outbound", bidirectional=False)
    t.media("inbound", 40, B, 0)
    t.media("outbound", 20, A, 160)
    rows = end(t)
    assert chunks(rows) == [(160, B)]
    assert gaps(rows) == []


def test_frames_in_reverse_are_all_there():
    t = tape()
    for timestamp, audio in ((60, C), (40, B), (20, A)):
        t.media("inbound", timestamp, audio, 480)
    assert b"".join(audio for _, audio in sorted(chunks(end(t)))) == A + B + C
    assert t.counters["overlap_samples"] == 0


def test_what_comes_from_before_the_beginning_after_a_cut_is_counted_and_not_kept():
    t = tape()
    t.media("inbound", 40, A, 0)
    t.cut(160)
    t.media("inbound", 20, B, 320)
    assert chunks(t.cut(480)) == []
    assert t.counters["overlap_samples"] == 160


def test_frames_of_any_size_lie_by_their_timestamps():
    t = tape()
    t.media("inbound", 0, b"x" * 8, 0)
    t.media("inbound", 1, b"y" * 1001, 0)
    t.media("inbound", 126, b"z", 0)
    assert chunks(end(t)) == [(0, b"x" * 8 + b"y" * 1001)]
    assert t.counters["overlap_samples"] == 1


def test_a_long_run_is_cut_into_rows_of_10_seconds():
    t = tape()
    t.media("inbound", 0, b"x" * (MAX_CHUNK + 5), 0)
    assert [(row.start, len(row.payload)) for row in t.cut(0)] == [(0, MAX_CHUNK), (MAX_CHUNK, 5)]


def test_both_tracks_lie_side_by_side_on_one_clock():
    t = two_tracks()
    t.media("inbound", 100, A, 0)
    t.media("outbound", 120, B, 160)
    rows = end(t)
    assert chunks(rows, "inbound") == [(0, A)]
    assert chunks(rows, "outbound") == [(160, B)]
    assert gaps(rows, "outbound") == [(0, 160, "timestamp")]
    assert gaps(rows, "inbound") == [(160, 160, "timestamp")]


def test_a_track_that_was_not_asked_for_lacks_nothing():
    t = tape("outbound", bidirectional=False)
    t.media("outbound", 20, A, 0)
    assert gaps(end(t), "inbound") == []
    assert t.counters["frames_missing"] == 0


def test_our_own_track_from_outside_is_refused_on_a_conversation():
    with pytest.raises(ProtocolError):
        tape().media("outbound", 20, A, 0)


# --- holes and overlaps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lost", "reason"), [(False, "timestamp"), (True, "sequence")])
def test_a_hole_is_a_gap_with_its_reason(lost, reason):
    t = tape()
    t.media("inbound", 0, A, 0)
    t.media("inbound", 60, B, 480, lost=lost)
    rows = end(t)
    assert chunks(rows) == [(0, A), (480, B)]
    assert gaps(rows) == [(160, 320, reason)]
    assert t.counters["frames_missing"] == 2


def test_a_hole_is_not_written_before_5_seconds_have_passed():
    t = tape()
    t.media("inbound", 0, A, 0)
    t.media("inbound", 60, B, 480)
    assert gaps(t.cut(480 + SETTLE - 1)) == []
    assert gaps(t.cut(480 + SETTLE)) == [(160, 320, "timestamp")]
    assert gaps(end(t)) == []


def test_a_hole_counts_as_missing_before_it_is_written():
    t = tape()
    t.media("inbound", 0, A, 0)
    t.media("inbound", 60, B, 480)
    assert t.counters["frames_missing"] == 2


def test_a_late_frame_fills_its_hole():
    t = tape()
    t.media("inbound", 0, A, 0)
    t.media("inbound", 40, C, 320)
    t.cut(480)
    t.media("inbound", 20, B, 480)
    rows = end(t)
    assert chunks(rows) == [(160, B)]
    assert gaps(rows) == []
    assert t.counters["frames_missing"] == 0


def test_a_late_frame_leaves_what_it_does_not_fill():
    t = tape()
    t.media("inbound", 0, A, 0)
    t.media("inbound", 100, C, 800)
    t.media("inbound", 50, B, 960)
    assert gaps(end(t)) == [(160, 240, "timestamp"), (560, 240, "timestamp")]


def test_a_frame_for_a_hole_that_is_written_is_counted_and_not_kept():
    t = tape()
    t.media("inbound", 0, A, 0)
    t.media("inbound", 40, C, 320)
    t.cut(320 + SETTLE)
    t.media("inbound", 20, B, 320 + SETTLE)
    assert chunks(t.cut(480 + SETTLE)) == []
    assert t.counters["overlap_samples"] == 160


def test_where_frames_overlap_the_first_one_stays():
    t = tape()
    t.media("inbound", 0, A, 0)
    t.media("inbound", 10, B, 160)
    assert chunks(end(t)) == [(0, A + b"b" * 80)]
    assert t.counters["overlap_samples"] == 80


def test_a_frame_that_comes_twice_is_kept_once():
    t = tape()
    t.media("inbound", 0, A, 0)
    t.media("inbound", 0, B, 160)
    assert chunks(end(t)) == [(0, A)]
    assert t.counters["overlap_samples"] == 160


def test_a_large_late_frame_fills_every_hole_that_it_covers():
    t = tape()
    for timestamp in (0, 40, 80):
        t.media("inbound", timestamp, A, 640)
    t.media("inbound", 0, b"z" * 800, 800)
    rows = end(t)
    assert sorted(chunks(rows))[1] == (160, b"z" * 160)
    assert gaps(rows) == []
    assert t.counters["overlap_samples"] == 480


def test_a_lane_that_ended_earlier_lacks_the_rest():
    t = tape()
    t.media("inbound", 0, A, 0)
    t.heard([(0, b"p" * 400, False)])
    rows = end(t)
    assert gaps(rows) == [(160, 240, "timestamp")]
    assert t.length == 400


# --- wild timestamps -------------------------------------------------------------------------------------------------


def test_a_timestamp_more_than_a_minute_ahead_is_refused_and_leaves_nothing():
    t = tape()
    t.media("inbound", 0, A, 0)
    with pytest.raises(ProtocolError):
        t.media("inbound", 60_021, B, 160)
    assert t.length == 160
    assert t.frames_received == 1


def test_a_wild_first_timestamp_is_refused_and_the_next_one_is_the_first():
    t = tape()
    with pytest.raises(ProtocolError):
        t.media("inbound", 60_001, A, 0)
    assert t.media("inbound", 40, B, 0) == 160


def test_a_wild_first_timestamp_within_a_minute_does_not_swallow_what_follows():
    t = tape()
    t.media("inbound", 50_000, A, 0)
    t.media("inbound", 40, B, 160)
    assert (0, B) in chunks(end(t))


# --- pauses and clears -----------------------------------------------------------------------------------------------


def test_what_comes_while_paused_is_a_gap_that_grows():
    t = tape()
    t.media("inbound", 0, A, 0)
    t.pause()
    t.media("inbound", 20, B, 160)
    assert gaps(t.cut(320)) == [(160, 160, "paused")]
    t.media("inbound", 40, B, 320)
    assert gaps(t.cut(480)) == [(160, 320, "paused")]


def test_nothing_said_while_paused_is_in_any_row():
    t = tape()
    t.pause()
    t.media("inbound", 0, b"secret" * 20, 0)
    t.heard([(0, b"secret" * 20, True)])
    assert not any(isinstance(row, ChunkRow) for row in end(t))


def test_recording_goes_on_after_a_pause():
    t = tape()
    t.pause()
    t.media("inbound", 0, A, 0)
    t.resume()
    t.media("inbound", 20, B, 160)
    rows = end(t)
    assert chunks(rows) == [(160, B)]
    assert gaps(rows) == [(0, 160, "paused")]


def test_a_late_frame_from_before_a_pause_is_not_kept_while_paused():
    t = tape()
    t.media("inbound", 0, A, 0)
    t.media("inbound", 40, A, 320)
    t.pause()
    t.media("inbound", 20, B, 480)
    rows = end(t)
    assert chunks(rows) == [(0, A), (320, A)]
    assert gaps(rows) == [(160, 160, "paused")]


def test_a_cleared_gap_says_where_and_how_much():
    t = tape()
    t.cleared(800, 1600)
    assert gaps(t.cut(0), "outbound") == [(800, 1600, "cleared")]


def test_two_clears_at_one_place_add_up():
    t = tape()
    t.cleared(800, 1600)
    t.cleared(800, 400)
    assert gaps(t.cut(0), "outbound")[-1] == (800, 2000, "cleared")


def test_our_silence_is_not_a_hole():
    t = tape()
    t.media("inbound", 0, b"x" * 1600, 0)
    t.heard([(800, A, False)])
    rows = end(t)
    assert chunks(rows, "outbound") == [(800, A)]
    assert gaps(rows, "outbound") == []


# --- the other rows --------------------------------------------------------------------------------------------------


def test_keys_are_counted_and_lie_on_the_streams_clock():
    t = tape()
    t.key("4", 8000)
    t.key("2", 16000)
    assert t.cut(0) == [DtmfRow("MZ1", 0, "4", 1000), DtmfRow("MZ1", 1, "2", 2000)]


def test_a_key_that_is_masked_is_another_row_of_the_same_key():
    t = tape()
    t.mask(t.key("4", 8000), "*")
    assert t.cut(0) == [DtmfRow("MZ1", 0, "*", 1000)] * 2


def test_a_mark_lies_where_it_was_sent():
    t = tape()
    t.mark(PendingMark(3, "greeting", 8000), NOW, "played", NOW)
    assert t.cut(0) == [MarkRow("MZ1", 3, "greeting", NOW, 8000, "played", NOW)]


def test_what_was_done_from_outside_is_a_row_with_who_did_it():
    t = tape()
    t.act("clear", NOW, 7, cleared_ms=120)
    (row,) = [row for row in t.cut(0) if isinstance(row, EventRow)]
    assert (row.source, row.kind, row.user, row.data) == ("control", "clear", 7, {"cleared_ms": 120})


def test_every_event_has_a_key_of_its_own():
    t = tape()
    t.event("cleared", NOW, samples=1)
    t.event("cleared", NOW, samples=1)
    keys = [row.key for row in t.cut(0) if isinstance(row, EventRow)]
    assert keys == ["MZ1:0:cleared", "MZ1:1:cleared"]


def test_data_names_the_stream_and_when_it_was_set():
    t = tape()
    t.data({"order": "A-17"}, NOW)
    assert t.cut(0) == [DataRow("MZ1", {"order": "A-17"}, NOW)]


def test_a_change_names_the_stream():
    t = tape()
    t.change(handler_failed=True)
    assert t.cut(0) == [StreamChange("MZ1", {"handler_failed": True})]


# --- against a model that is too simple to be wrong ------------------------------------------------------------------


frames = st.tuples(st.just("frame"), st.integers(0, 60), st.integers(1, 300), st.booleans())
steps = st.one_of(frames, frames, frames, st.tuples(st.sampled_from(["pause", "resume", "cut"])))


def play(t, script, model, paused_model):
    """Lays a script on a tape and, sample by sample, on two dicts. Returns all rows."""
    rows, paused = [], False
    t.media("inbound", 0, b"\x00", 0)
    model[0] = 0
    for number, step in enumerate(script, 1):
        match step:
            case ("frame", at, size, lost):
                t.media("inbound", at, bytes([number % 256]) * size, 10_000, lost=lost)
                for position in range(at * 8, at * 8 + size):
                    if position not in model and position not in paused_model:
                        (paused_model if paused else model)[position] = number % 256
            case ("pause",):
                t.pause()
                paused = True
            case ("resume",):
                t.resume()
                paused = False
            case ("cut",):
                rows += t.cut(10_000)
    return rows + end(t)


@given(st.lists(steps, max_size=40))
def test_every_sample_that_came_first_is_stored_once_where_it_belongs(script):
    model, paused = {}, {}
    rows = play(tape(), script, model, paused)
    stored = [(start + i, byte) for start, audio in chunks(rows) for i, byte in enumerate(audio)]
    assert sorted(stored) == sorted(model.items())


@given(st.lists(steps, max_size=40))
def test_stored_plus_explained_is_the_length_exactly(script):
    t = tape()
    model, paused = {}, {}
    rows = play(t, script, model, paused)
    last = {(start, reason): length for start, length, reason in gaps(rows)}
    explained = [start + i for (start, _), length in last.items() for i in range(length)]
    stored = [start + i for start, audio in chunks(rows) for i in range(len(audio))]
    assert sorted(stored + explained) == list(range(t.length))


@given(st.lists(steps, max_size=40))
def test_what_was_paused_is_explained_as_paused(script):
    model, paused = {}, {}
    rows = play(tape(), script, model, paused)
    last = {start: length for start, length, reason in gaps(rows) if reason == "paused"}
    assert sorted(start + i for start, length in last.items() for i in range(length)) == sorted(paused)


@given(st.lists(steps, max_size=40))
def test_every_sample_that_came_is_stored_or_paused_or_counted_as_overlap(script):
    t = tape()
    model, paused = {}, {}
    play(t, script, model, paused)
    came = 1 + sum(step[2] for step in script if step[0] == "frame")
    assert came == len(model) + len(paused) + t.counters["overlap_samples"]


@given(st.lists(steps, max_size=40))
def test_frames_missing_are_the_holes(script):
    t = tape()
    rows = play(t, script, {}, {})
    holes = sum(length for _, length, reason in gaps(rows) if reason != "paused")
    assert t.counters["frames_missing"] == holes // 160


@given(st.permutations(list(range(12))))
def test_the_order_of_frames_does_not_matter_within_the_first_cut(order):
    t = tape()
    for number in order:
        t.media("inbound", 20 * number, bytes([number]) * 160, 12 * 160)
    audio = b"".join(audio for _, audio in sorted(chunks(end(t))))
    assert audio == b"".join(bytes([number]) * 160 for number in range(12))
    assert t.length == 12 * 160 == 12 * SAMPLE_RATE // 50
