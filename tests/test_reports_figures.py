"""Percentiles and sums over the calls of a run."""

from dataclasses import replace

import pytest

from simulator.reports.figures import Spread, beware, figures_of, spread
from tests.support.results import LATE, late, result, stream


def test_a_percentile_is_a_value_that_was_measured():
    assert spread([3.0, 1.0, 2.0]) == Spread(3, 2.0, 3.0, 3.0, 3.0)


def test_percentiles_of_many_are_exact():
    assert spread(range(1, 1001)) == Spread(1000, 500.0, 900.0, 990.0, 1000.0)


def test_nothing_has_no_percentiles():
    assert spread([]) is None
    assert figures_of([]).late is None


def test_the_response_time_is_from_the_end_of_the_words_to_the_first_sample_heard():
    figures = figures_of([result()])
    assert figures.response is not None
    assert figures.response.p50 == pytest.approx(500, abs=2)
    assert figures.first_audio is not None
    assert figures.first_audio.p50 == pytest.approx(1500, abs=2)


def test_a_call_in_which_nothing_was_heard_has_no_response_and_no_first_audio():
    figures = figures_of([result(streams=[stream(heard=())])])
    assert (figures.response, figures.first_audio) == (None, None)


def test_calls_frames_and_marks_are_added_up():
    streams = [stream(marks=[("a", "played"), ("b", "cleared")], unreturned=["c"], frames_received=7)]
    figures = figures_of([result(), result(LATE, streams=streams)])
    assert (figures.statuses["ok"], figures.statuses["failed"], figures.calls) == (1, 1, 2)
    assert dict(figures.marks) == {"played": 1, "cleared": 1, "unreturned": 1}
    assert (figures.frames_sent, figures.frames_received, figures.seconds) == (200, 7, 4.0)


def test_lateness_is_that_of_all_frames_of_all_calls():
    calls = [replace(result(), late=late(*[1] * 98)), replace(result(), late=late(30, 40))]
    assert figures_of(calls).late.p50 == pytest.approx(1)
    assert figures_of(calls).late.p99 == pytest.approx(30)


def test_a_simulator_that_is_late_says_that_the_figures_are_its_own():
    figures = figures_of([replace(result(), late=late(34))])
    assert "the simulator's, not the server's: it was 34 ms late at p99" in figures.warning
    assert figures_of([replace(result(), late=late(19))]).warning == ""
    assert beware(None) == ""
