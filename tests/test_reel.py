"""A lane on its way to a transcriber. Positions are samples of the lane, seconds those that the transcriber counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.media import reel as module
from calls.media.reel import Missing, Reel
from calls.media.rows import UtteranceRow
from calls.media.transcript import Heard


SOUND = b"\x20"
SECOND = 8000
HALF = SOUND * 4000


def drained(reel):
    """All that comes out, piece by piece."""
    return [*iter(reel.take, b"")]


def hear(reel, start, end, text="hello", words=()):
    return reel.hear("MZ1", "inbound", Heard(text, start, end, words))


def place(reel, start, end):
    row = hear(reel, start, end)
    return row.start, row.length


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_sound_comes_out_in_pieces_of_half_a_second_at_most():
    reel = Reel()
    reel.put(0, HALF * 2 + SOUND)
    assert drained(reel) == [HALF, HALF, SOUND]


def test_a_short_silence_is_fed_as_it_was():
    reel = Reel()
    reel.put(0, HALF)
    reel.put(4100, HALF)
    assert drained(reel) == [HALF, b"\xff" * 100, HALF]


def test_of_a_long_silence_a_second_is_fed():
    reel = Reel()
    reel.put(0, HALF)
    reel.put(80_000, HALF)
    assert drained(reel) == [HALF, b"\xff" * SECOND, HALF]


def test_a_silence_before_the_first_sound_is_not_fed():
    reel = Reel()
    reel.put(80_000, HALF)
    assert drained(reel) == [HALF]


@pytest.mark.parametrize(("now", "pieces"), [(15_999, 1), (16_001, 2)])
def test_whoever_has_been_silent_for_a_while_has_finished(now, pieces):
    reel = Reel()
    reel.put(0, HALF)
    reel.rest(now)
    assert len(drained(reel)) == pieces


def test_a_pause_is_fed_once():
    reel = Reel()
    reel.put(0, HALF)
    reel.rest(20_000)
    reel.rest(40_000)
    reel.put(60_000, HALF)
    assert drained(reel) == [HALF, b"\xff" * SECOND, HALF]


# --- where it was -----------------------------------------------------------------------------------------------------


def test_what_is_heard_lies_where_it_was_put():
    reel = Reel()
    reel.put(8000, HALF)
    drained(reel)
    assert hear(reel, 0.1, 0.3, " hello you ", [("hello", 0.1, 0.2), ("you", 0.2, 0.3)]) == UtteranceRow(
        "MZ1", "inbound", 8800, 1600, "hello you", [("hello", 8800, 800), ("you", 9600, 800)]
    )


def test_after_a_long_silence_it_lies_behind_all_of_it():
    reel = Reel()
    reel.put(0, HALF)
    reel.put(80_000, HALF)
    drained(reel)
    assert place(reel, 0.0, 0.5) == (0, 4000)
    assert place(reel, 1.5, 2.0) == (80_000, 4000)


def test_what_goes_across_a_long_silence_is_as_long_as_that():
    reel = Reel()
    reel.put(0, HALF)
    reel.put(80_000, HALF)
    drained(reel)
    assert place(reel, 0.25, 1.75) == (2000, 80_000)


def test_what_came_late_lies_where_it_belongs():
    reel = Reel()
    reel.put(8000, HALF)
    reel.put(4000, HALF)
    drained(reel)
    assert place(reel, 0.5, 1.0) == (4000, 4000)


def test_times_outside_of_what_was_fed_are_cut():
    reel = Reel()
    reel.put(800, HALF)
    drained(reel)
    assert place(reel, -5, 1000) == (800, 4000)


def test_nothing_is_shorter_than_a_sample():
    reel = Reel()
    reel.put(0, HALF)
    drained(reel)
    assert place(reel, 0.2, 0.1) == (1600, 1)


def test_silence_is_no_utterance():
    reel = Reel()
    reel.put(0, HALF)
    drained(reel)
    assert hear(reel, 0.0, 0.1, "  ") is None


def test_what_is_heard_before_anything_was_fed_is_nothing():
    assert hear(Reel(), 0.0, 1.0) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_times_that_are_none_are_an_error(bad):
    with pytest.raises((ValueError, OverflowError)):
        hear(Reel(), 0.0, bad)


@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 5000)), min_size=1, max_size=6))
def test_each_sample_is_found_where_it_was_put(parts):
    reel, at, put = Reel(), 0, []
    for gap, length in parts:
        reel.put(at + gap, SOUND * length)
        put += range(at + gap, at + gap + length)
        at += gap + length
    fed = [number for number, byte in enumerate(b"".join(drained(reel))) if byte == SOUND[0]]
    assert [reel._place(number) for number in fed[::97]] == put[::97]
    assert len(fed) == len(put)


# --- what has to be sent again ----------------------------------------------------------------------------------------


def test_what_was_not_answered_for_is_sent_again():
    reel = Reel()
    reel.put(0, HALF * 2)
    drained(reel)
    hear(reel, 0.0, 0.6)
    reel.rewind("it broke off")
    assert b"".join(drained(reel)) == SOUND * 3200
    assert place(reel, 0.0, 0.4) == (4800, 3200)


def test_silence_that_was_heard_is_not_sent_again_either():
    reel = Reel()
    reel.put(0, HALF)
    drained(reel)
    hear(reel, 0.5, 0.5, "")
    reel.rewind("it broke off")
    assert drained(reel) == []


def test_what_was_sent_again_comes_before_what_waits():
    reel = Reel()
    reel.put(0, HALF)
    reel.take()
    reel.put(4000, b"\x21" * 100)
    reel.rewind("it broke off")
    assert drained(reel) == [HALF, b"\x21" * 100]


def test_everything_may_be_answered_for_at_once():
    reel = Reel()
    reel.put(0, HALF)
    drained(reel)
    assert not reel.is_settled
    reel.settle()
    assert reel.is_settled


# --- what is missing --------------------------------------------------------------------------------------------------


def test_a_transcriber_that_is_too_slow_misses_the_oldest(monkeypatch):
    reel = Reel(most_waiting=SECOND)
    reel.put(0, HALF * 3)
    assert reel.missing == [Missing(0, 4000, "the transcriber was too slow")]
    assert reel.waits == SECOND


def test_what_was_sent_too_long_ago_is_missing_if_it_was_never_answered_for(monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", SECOND)
    reel = Reel()
    reel.put(0, HALF * 4)
    drained(reel)
    reel.rewind("it broke off")
    assert reel.missing == [Missing(0, 8000, "it broke off")]
    assert b"".join(drained(reel)) == HALF * 2


def test_of_what_was_sent_long_ago_only_what_was_not_answered_for_is_missing(monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", SECOND)
    reel = Reel()
    reel.put(0, HALF * 2)
    reel.put(80_000, HALF * 6)
    drained(reel)
    hear(reel, 0.0, 2.25)
    assert not reel.is_settled
    reel.rewind("it broke off")
    assert reel.missing == [Missing(82_000, 14_000, "it broke off")]


def test_nothing_is_missing_of_what_was_answered_for_late(monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", SECOND)
    reel = Reel()
    reel.put(0, HALF * 4)
    drained(reel)
    hear(reel, 0.0, 2.0)
    reel.abandon("it refused")
    assert reel.missing == []


def test_once_it_is_given_up_everything_is_missing():
    reel = Reel()
    reel.put(0, HALF)
    reel.put(4100, HALF)
    reel.take()
    reel.abandon("it refused")
    reel.put(8100, HALF)
    reel.pause()
    assert reel.missing == [Missing(0, 12_100, "it refused")]
    assert (drained(reel), reel.is_settled) == ([], True)


def test_parts_that_are_far_apart_are_missing_each_for_itself():
    reel = Reel()
    reel.abandon("it refused")
    reel.put(0, HALF)
    reel.put(80_000, HALF)
    assert [(part.start, part.end) for part in reel.missing] == [(0, 4000), (80_000, 84_000)]
