"""Where the streams of a call lie on its timeline, and when there was none."""

import datetime as dt

from calls.media.placement import Placed, Spell, absences, end, line, place, samples, tiled


BEGAN = dt.datetime(2026, 3, 14, 15, 9, 26, tzinfo=dt.UTC)


def spell(key, after, length, line="", absent=0):
    return Spell(key, line, BEGAN + dt.timedelta(seconds=after), length, absent)


def test_a_call_without_streams_has_no_length():
    assert place([]) == ()
    assert end([]) == 0
    assert absences([]) == {}


def test_streams_lie_where_they_began_whatever_the_order_in_which_they_are_told():
    placed = place([spell(2, 1.5, 8000), spell(1, 0, 8000)])
    assert placed == (Placed(1, 0, 8000), Placed(2, 12000, 8000))
    assert end(placed) == 20000


def test_streams_of_different_lines_lie_over_each_other():
    placed = place([spell(1, 0, 64000), spell(2, 2, 8000, line="start:monitor")])
    assert [stream.start for stream in placed] == [0, 16000]
    assert end(placed) == 64000


def test_a_stream_that_replaces_another_begins_after_it():
    placed = place([spell(1, 0, 24000), spell(2, 2, 8, line="start:a"), spell(3, 2.5, 8)])
    assert [stream.start for stream in placed] == [0, 16000, 24000]


def test_all_connect_streams_are_one_line_and_each_name_of_a_start_is_another():
    assert line("a", bidirectional=True) == line("b", bidirectional=True)
    assert len({line("a", bidirectional=True), line("a", bidirectional=False), line("b", bidirectional=False)}) == 3


def test_the_time_between_two_streams_belongs_to_the_first():
    assert absences(place([spell(1, 0, 8000), spell(2, 3, 8000)])) == {1: 16000}


def test_nobody_is_absent_while_another_stream_runs():
    assert absences(place([spell(1, 0, 64000), spell(2, 1, 8000, "start:a"), spell(3, 4, 8000, "start:a")])) == {}


def test_the_time_after_the_last_stream_counts_if_it_is_known_when_it_ended():
    placed = place([spell(1, 0, 8000), spell(2, 0.5, 2000, "start:a")])
    assert absences(placed, until=24000) == {1: 16000}
    assert absences(placed, until=8000) == {}


def test_the_time_without_a_stream_is_part_of_the_timeline():
    assert end(place([spell(1, 0, 8000, absent=16000)])) == 24000


def test_of_a_stream_that_asked_for_nothing_the_callers_lane_is_kept_whole():
    assert [tiled(tracks) for tracks in ([], ["outbound"], ["outbound", "inbound"])] == [
        ["inbound"],
        ["outbound"],
        ["inbound", "outbound"],
    ]


def test_moments_before_the_first_stream_are_negative():
    assert samples(BEGAN, BEGAN - dt.timedelta(seconds=1)) == -8000
