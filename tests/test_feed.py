"""A lane on its way to a transcriber. Positions are samples of the lane, seconds those that the transcriber counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.media import feed as module
from calls.media.feed import Feed, Missing
from calls.media.rows import UtteranceRow
from calls.media.transcript import Heard


SOUND = b"\x20"
SECOND = 8000
HALF = SOUND * 4000


def drained(feed):
    """All that comes out, piece by piece."""
    return [*iter(feed.take, b"")]


def hear(feed, start, end, text="hello", words=()):
    return feed.hear("MZ1", "inbound", Heard(text, start, end, words))


def place(feed, start, end):
    row = hear(feed, start, end)
    return row.start, row.length


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_sound_comes_out_in_pieces_of_half_a_second_at_most():
    feed = Feed()
    feed.put(0, HALF * 2 + SOUND)
    assert drained(feed) == [HALF, HALF, SOUND]


def test_a_short_silence_is_fed_as_it_was():
    feed = Feed()
    feed.put(0, HALF)
    feed.put(4100, HALF)
    assert drained(feed) == [HALF, b"\xff" * 100, HALF]


def test_of_a_long_silence_a_second_is_fed():
    feed = Feed()
    feed.put(0, HALF)
    feed.put(80_000, HALF)
    assert drained(feed) == [HALF, b"\xff" * SECOND, HALF]


def test_a_silence_before_the_first_sound_is_not_fed():
    feed = Feed()
    feed.put(80_000, HALF)
    assert drained(feed) == [HALF]


@pytest.mark.parametrize(("now", "pieces"), [(15_999, 1), (16_001, 2)])
def test_whoever_has_been_silent_for_a_while_has_finished(now, pieces):
    feed = Feed()
    feed.put(0, HALF)
    feed.rest(now)
    assert len(drained(feed)) == pieces


def test_a_pause_is_fed_once():
    feed = Feed()
    feed.put(0, HALF)
    feed.rest(20_000)
    feed.rest(40_000)
    feed.put(60_000, HALF)
    assert drained(feed) == [HALF, b"\xff" * SECOND, HALF]


# --- where it was -----------------------------------------------------------------------------------------------------


def test_what_is_heard_lies_where_it_was_put():
    feed = Feed()
    feed.put(8000, HALF)
    drained(feed)
    assert hear(feed, 0.1, 0.3, " hello you ", [("hello", 0.1, 0.2), ("you", 0.2, 0.3)]) == UtteranceRow(
        "MZ1", "inbound", 8800, 1600, "hello you", [("hello", 8800, 800), ("you", 9600, 800)]
    )


def test_after_a_long_silence_it_lies_behind_all_of_it():
    feed = Feed()
    feed.put(0, HALF)
    feed.put(80_000, HALF)
    drained(feed)
    assert place(feed, 0.0, 0.5) == (0, 4000)
    assert place(feed, 1.5, 2.0) == (80_000, 4000)


def test_what_goes_across_a_long_silence_is_as_long_as_that():
    feed = Feed()
    feed.put(0, HALF)
    feed.put(80_000, HALF)
    drained(feed)
    assert place(feed, 0.25, 1.75) == (2000, 80_000)


def test_what_came_late_lies_where_it_belongs():
    feed = Feed()
    feed.put(8000, HALF)
    feed.put(4000, HALF)
    drained(feed)
    assert place(feed, 0.5, 1.0) == (4000, 4000)


def test_times_outside_of_what_was_fed_are_cut():
    feed = Feed()
    feed.put(800, HALF)
    drained(feed)
    assert place(feed, -5, 1000) == (800, 4000)


def test_nothing_is_shorter_than_a_sample():
    feed = Feed()
    feed.put(0, HALF)
    drained(feed)
    assert place(feed, 0.2, 0.1) == (1600, 1)


def test_silence_is_no_utterance():
    feed = Feed()
    feed.put(0, HALF)
    drained(feed)
    assert hear(feed, 0.0, 0.1, "  ") is None


def test_what_is_heard_before_anything_was_fed_is_nothing():
    assert hear(Feed(), 0.0, 1.0) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_times_that_are_none_are_an_error(bad):
    with pytest.raises((ValueError, OverflowError)):
        hear(Feed(), 0.0, bad)


@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 5000)), min_size=1, max_size=6))
def test_each_sample_is_found_where_it_was_put(parts):
    feed, at, put = Feed(), 0, []
    for gap, length in parts:
        feed.put(at + gap, SOUND * length)
        put += range(at + gap, at + gap + length)
        at += gap + length
    fed = [number for number, byte in enumerate(b"".join(drained(feed))) if byte == SOUND[0]]
    assert [feed._place(number) for number in fed[::97]] == put[::97]
    assert len(fed) == len(put)


# --- what has to be sent again ----------------------------------------------------------------------------------------


def test_what_was_not_answered_for_is_sent_again():
    feed = Feed()
    feed.put(0, HALF * 2)
    drained(feed)
    hear(feed, 0.0, 0.6)
    feed.rewind("it broke off")
    assert b"".join(drained(feed)) == SOUND * 3200
    assert place(feed, 0.0, 0.4) == (4800, 3200)


def test_silence_that_was_heard_is_not_sent_again_either():
    feed = Feed()
    feed.put(0, HALF)
    drained(feed)
    hear(feed, 0.5, 0.5, "")
    feed.rewind("it broke off")
    assert drained(feed) == []


def test_what_was_sent_again_comes_before_what_waits():
    feed = Feed()
    feed.put(0, HALF)
    feed.take()
    feed.put(4000, b"\x21" * 100)
    feed.rewind("it broke off")
    assert drained(feed) == [HALF, b"\x21" * 100]


def test_everything_may_be_answered_for_at_once():
    feed = Feed()
    feed.put(0, HALF)
    drained(feed)
    assert not feed.is_settled
    feed.settle()
    assert feed.is_settled


# --- what is missing --------------------------------------------------------------------------------------------------


def test_a_transcriber_that_is_too_slow_misses_the_oldest(monkeypatch):
    feed = Feed(most_waiting=SECOND)
    feed.put(0, HALF * 3)
    assert feed.missing == [Missing(0, 4000, "the transcriber was too slow")]
    assert feed.waits == SECOND


def test_what_was_sent_too_long_ago_is_missing_if_it_was_never_answered_for(monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", SECOND)
    feed = Feed()
    feed.put(0, HALF * 4)
    drained(feed)
    feed.rewind("it broke off")
    assert feed.missing == [Missing(0, 8000, "it broke off")]
    assert b"".join(drained(feed)) == HALF * 2


def test_of_what_was_sent_long_ago_only_what_was_not_answered_for_is_missing(monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", SECOND)
    feed = Feed()
    feed.put(0, HALF * 2)
    feed.put(80_000, HALF * 6)
    drained(feed)
    hear(feed, 0.0, 2.25)
    assert not feed.is_settled
    feed.rewind("it broke off")
    assert feed.missing == [Missing(82_000, 14_000, "it broke off")]


def test_nothing_is_missing_of_what_was_answered_for_late(monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", SECOND)
    feed = Feed()
    feed.put(0, HALF * 4)
    drained(feed)
    hear(feed, 0.0, 2.0)
    feed.abandon("it refused")
    assert feed.missing == []


def test_once_it_is_given_up_everything_is_missing():
    feed = Feed()
    feed.put(0, HALF)
    feed.put(4100, HALF)
    feed.take()
    feed.abandon("it refused")
    feed.put(8100, HALF)
    feed.pause()
    assert feed.missing == [Missing(0, 12_100, "it refused")]
    assert (drained(feed), feed.is_settled) == ([], True)


def test_parts_that_are_far_apart_are_missing_each_for_itself():
    feed = Feed()
    feed.abandon("it refused")
    feed.put(0, HALF)
    feed.put(80_000, HALF)
    assert [(part.start, part.end) for part in feed.missing] == [(0, 4000), (80_000, 84_000)]
