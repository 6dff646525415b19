"""Turns: from how likely each 32 ms is speech to who spoke from when to when."""

import pytest

from calls.media.turns import BEGINS, GOES_ON, LEAD, LONGEST, WINDOW, Span, Turns


SILENCE = 700 * 8
YES, MAYBE, NO = BEGINS, GOES_ON, GOES_ON - 0.01


def heard(turns, *parts, start=0):
    """The turns that end while these (number of windows, probability) are heard, one directly behind the other."""
    spans = []
    for count, probability in parts:
        for _ in range(count):
            spans.append(turns.hear(start, probability))
            start += WINDOW
    return [span for span in spans if span]


@pytest.fixture
def turns():
    return Turns(SILENCE)


def test_a_turn_ends_with_its_last_window_of_speech_once_it_was_silent_for_long_enough(turns):
    assert heard(turns, (20, NO), (10, YES), (21, NO)) == []
    assert heard(turns, (1, NO), start=51 * WINDOW) == [Span(20 * WINDOW - LEAD, 30 * WINDOW)]


def test_a_turn_begins_a_little_before_its_first_window_and_never_before_the_line(turns):
    assert heard(turns, (3, NO), (10, YES), (30, NO)) == [Span(0, 13 * WINDOW)]


def test_who_listens_anew_hears_no_turn_from_before(turns):
    heard(turns, (20, NO), (10, YES))
    anew = turns.anew(25 * WINDOW)
    assert heard(anew, (5, YES), (22, NO), start=25 * WINDOW) == [Span(25 * WINDOW, 30 * WINDOW)]


def test_a_turn_never_begins_before_the_one_before_it_ended():
    turns = Turns(100 * 8)
    first, second = heard(turns, (20, NO), (10, YES), (4, NO), (10, YES), (9, NO))
    assert first.end == second.start == 30 * WINDOW


def test_a_pause_within_a_sentence_does_not_end_it(turns):
    assert heard(turns, (20, NO), (10, YES), (15, NO), (10, YES), (22, NO)) == [Span(20 * WINDOW - LEAD, 55 * WINDOW)]


@pytest.mark.parametrize("parts", [[(2, YES), (1, NO)] * 20, [(4, YES), (30, NO)], [(100, MAYBE)]])
def test_what_is_short_or_never_sure_is_a_noise(turns, parts):
    assert heard(turns, *parts) == []


def test_what_is_not_quite_sure_begins_nothing_but_goes_on(turns):
    assert heard(turns, (20, NO), (2, YES), (1, MAYBE), (1, YES), (10, MAYBE), (22, NO))[0].end == 34 * WINDOW


def test_somebody_speaks_from_the_third_window_until_a_pause(turns):
    heard(turns, (2, YES))
    assert not turns.is_speaking
    heard(turns, (1, YES), (6, NO), start=2 * WINDOW)
    assert turns.is_speaking
    heard(turns, (1, NO), start=9 * WINDOW)
    assert not turns.is_speaking


def test_silence_by_the_clock_ends_a_turn_where_no_frames_come(turns):
    heard(turns, (20, NO), (10, YES))
    assert turns.advance(30 * WINDOW + SILENCE - 1) is None
    assert turns.advance(30 * WINDOW + SILENCE) == Span(20 * WINDOW - LEAD, 30 * WINDOW)


def test_a_hole_that_is_long_enough_ends_a_turn_and_the_next_one_begins_behind_it(turns):
    heard(turns, (20, NO), (10, YES))
    far = 30 * WINDOW + SILENCE
    assert heard(turns, (5, YES), start=far) == [Span(20 * WINDOW - LEAD, 30 * WINDOW)]
    assert turns.finish() == Span(far - LEAD, far + 5 * WINDOW)


def test_speech_on_both_sides_of_a_hole_is_not_in_a_row(turns):
    heard(turns, (2, YES))
    heard(turns, (2, YES), start=4 * WINDOW)
    assert not turns.is_speaking


def test_what_comes_late_after_silence_by_the_clock_still_counts(turns):
    heard(turns, (20, NO), (10, YES))
    turns.advance(40 * WINDOW)
    heard(turns, (5, YES), start=30 * WINDOW)
    assert turns.finish() == Span(20 * WINDOW - LEAD, 35 * WINDOW)


def test_the_clock_never_takes_anything_back(turns):
    heard(turns, (20, NO), (10, YES))
    assert turns.advance(0) is None
    assert turns.is_speaking


def test_a_turn_that_runs_when_the_line_goes_dead_is_given_out(turns):
    heard(turns, (20, NO), (10, YES), (5, NO))
    assert turns.finish() == Span(20 * WINDOW - LEAD, 30 * WINDOW)
    assert turns.finish() is None


def test_a_turn_without_an_end_comes_in_pieces_that_lie_side_by_side(turns):
    first, second = heard(turns, (LONGEST // WINDOW * 2 + 10, YES))
    assert first.end == second.start == LONGEST
    assert turns.finish().start == second.end


def test_a_short_rest_behind_a_piece_is_a_turn(turns):
    heard(turns, (LONGEST // WINDOW + 2, YES))
    assert turns.finish() == Span(LONGEST, (LONGEST // WINDOW + 2) * WINDOW)


def test_silence_behind_a_piece_is_none(turns):
    assert len(heard(turns, (LONGEST // WINDOW, YES), (30, NO))) == 1
    assert turns.finish() is None


def test_it_says_what_audio_may_still_be_wanted(turns):
    heard(turns, (20, NO))
    assert turns.keeps == 20 * WINDOW - LEAD
    heard(turns, (2, YES), start=20 * WINDOW)
    assert turns.keeps == 20 * WINDOW - LEAD
    heard(turns, (30, YES), start=22 * WINDOW)
    assert turns.keeps == 20 * WINDOW - LEAD


def test_one_that_joins_later_hears_nothing_from_before():
    turns = Turns(SILENCE, since=1000 * WINDOW)
    assert turns.keeps == 1000 * WINDOW
    heard(turns, (10, YES), start=1000 * WINDOW)
    assert turns.finish() == Span(1000 * WINDOW, 1010 * WINDOW)
