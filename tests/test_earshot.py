"""Earshot: the last seconds of a caller's audio, laid where it belongs."""

import pytest

from calls.media.audio import SAMPLE_RATE
from calls.media.earshot import LONGEST_HOLE, Earshot
from calls.media.turns import WINDOW


FRAME = bytes(range(160))


@pytest.fixture
def earshot():
    return Earshot()


def test_before_the_first_frame_there_is_nothing(earshot):
    assert (earshot.start, earshot.end, earshot.waiting) == (0, 0, 0)
    assert earshot.windows(to_end=True) == (0, [], False)
    assert earshot.cut(0, 800) == (0, b"")


def test_windows_are_whole_and_begin_with_the_first_frame(earshot):
    earshot.put(800, FRAME)
    assert earshot.windows() == (800, [], False)
    earshot.put(960, FRAME)
    assert earshot.windows() == (800, [(FRAME * 2)[:WINDOW]], False)
    assert earshot.waiting == 320 - WINDOW


def test_each_window_is_given_once(earshot):
    earshot.put(0, FRAME * 4)
    assert len(earshot.windows()[1]) == 2
    earshot.put(640, FRAME)
    assert earshot.windows() == (2 * WINDOW, [(FRAME * 5)[2 * WINDOW : 3 * WINDOW]], False)


def test_the_last_window_is_filled_with_silence(earshot):
    earshot.put(0, FRAME)
    assert earshot.windows(to_end=True) == (0, [FRAME + b"\xff" * 96], False)
    assert (earshot.waiting, earshot.end) == (0, 160)
    assert earshot.cut(0, WINDOW) == (0, FRAME)


def test_a_hole_is_silence(earshot):
    earshot.put(0, FRAME)
    earshot.put(320, FRAME)
    assert earshot.cut(0, 480) == (0, FRAME + b"\xff" * 160 + FRAME)
    assert earshot.windows()[2] is False


def test_a_late_frame_fills_its_hole(earshot):
    earshot.put(0, FRAME)
    earshot.put(320, FRAME)
    earshot.put(160, b"\x55" * 160)
    assert earshot.cut(0, 480) == (0, FRAME + b"\x55" * 160 + FRAME)


def test_a_frame_that_laps_over_the_end_goes_on_behind_it(earshot):
    earshot.put(0, FRAME)
    earshot.put(80, b"\x55" * 160)
    assert earshot.cut(0, 240) == (0, FRAME[:80] + b"\x55" * 160)


def test_what_is_older_than_everything_came_too_late(earshot):
    earshot.put(800, FRAME)
    earshot.put(0, FRAME)
    earshot.put(720, FRAME)
    assert earshot.cut(0, 960) == (800, FRAME[80:] + FRAME[80:])


def test_behind_a_hole_that_nothing_outlasts_all_before_it_is_forgotten(earshot):
    earshot.put(0, FRAME)
    far = 160 + LONGEST_HOLE + 1
    assert earshot.is_beyond(far)
    earshot.put(far, FRAME)
    assert (earshot.start, earshot.end) == (far, far + 160)


def test_behind_it_the_detector_begins_anew_once_there_is_a_window(earshot):
    earshot.put(0, FRAME)
    far = 160 + LONGEST_HOLE + 1
    earshot.put(far, FRAME)
    assert earshot.windows() == (far, [], True)
    earshot.put(far + 160, FRAME)
    assert earshot.windows() == (far, [(FRAME * 2)[:WINDOW]], True)
    earshot.put(far + 320, FRAME * 2)
    assert earshot.windows()[2] is False


def test_an_hour_before_the_first_frame_is_no_hole(earshot):
    assert not earshot.is_beyond(3600 * SAMPLE_RATE)
    earshot.put(3600 * SAMPLE_RATE, FRAME)
    assert earshot.end - earshot.start == 160
    assert earshot.windows(to_end=True)[2] is False


def test_what_a_slow_detector_is_not_asked_for_is_counted_and_breaks_the_line(earshot):
    earshot.put(0, FRAME * 100)
    assert earshot.pass_over(16_000) == 0
    assert earshot.windows()[2] is False
    earshot.put(16_000, FRAME * 100)
    assert earshot.pass_over(4000) == 12_128
    position, windows, is_broken = earshot.windows()
    assert earshot.pass_over(0) == 4000 % WINDOW
    assert earshot.pass_over(0) == 0
    assert (position, len(windows), is_broken) == (28_000, 4000 // WINDOW, True)


def test_what_nobody_wants_any_more_is_freed_by_the_second(earshot):
    earshot.put(0, FRAME * 100)
    earshot.windows()
    earshot.forget(SAMPLE_RATE - 1)
    assert earshot.start == 0
    earshot.forget(SAMPLE_RATE + 1)
    assert (earshot.start, earshot.end) == (SAMPLE_RATE + 1, 16_000)
    assert earshot.cut(0, SAMPLE_RATE + 3) == (SAMPLE_RATE + 1, FRAME[1:3])
    earshot.forget(SAMPLE_RATE + 2)
    assert earshot.start == SAMPLE_RATE + 1


def test_what_nobody_has_judged_is_not_freed(earshot):
    earshot.put(0, FRAME * 100)
    earshot.forget(16_000)
    assert earshot.start == 0


def test_before_the_first_frame_there_is_nothing_to_free(earshot):
    earshot.forget(16_000)
    assert earshot.start == 0
