"""The mirror of Twilio's play buffer and the stream's clock. Positions are samples, times are given."""

import pytest

from calls.media.playback import ADJACENT, STALL, Playback, StreamClock


@pytest.fixture
def playback() -> Playback:
    return Playback()


def books(playback: Playback) -> tuple[int, int, int, int]:
    return playback.sent, playback.heard, playback.cleared, playback.pending


# --- audio ------------------------------------------------------------------------------------------------------------


def test_audio_starts_when_it_is_sent_and_is_heard_in_real_time(playback):
    playback.play(1000, b"a" * 160)
    assert playback.advance(1000) == []
    assert playback.advance(1040) == [(1000, b"a" * 40)]
    assert playback.advance(1300) == [(1040, b"a" * 120)]
    assert books(playback) == (160, 160, 0, 0)


def test_audio_sent_ahead_follows_what_is_playing(playback):
    playback.play(1000, b"a" * 160)
    playback.play(1001, b"b" * 160)
    assert playback.end == 1320
    assert playback.advance(1320) == [(1000, b"a" * 160 + b"b" * 160)]


def test_what_is_in_the_buffer_is_pending(playback):
    playback.play(0, b"a" * 320)
    playback.advance(100)
    assert books(playback) == (320, 100, 0, 220)


def test_audio_within_60_ms_of_the_last_follows_it_directly(playback):
    playback.play(0, b"a" * 160)
    playback.play(160 + ADJACENT, b"b" * 160)
    assert playback.advance(2000) == [(0, b"a" * 160 + b"b" * 160)]


def test_audio_later_than_60_ms_after_the_last_leaves_a_silence(playback):
    playback.play(0, b"a" * 160)
    playback.play(160 + ADJACENT + 1, b"b" * 160)
    assert playback.advance(2000) == [(0, b"a" * 160), (641, b"b" * 160)]


def test_60_ms_are_480_samples_and_a_stall_is_2400():
    assert (ADJACENT, STALL) == (480, 2400)


def test_adjacent_audio_stays_in_order_when_the_last_was_heard_already(playback):
    playback.play(0, b"a" * 160)
    playback.advance(500)
    playback.play(500, b"b" * 480)
    assert playback.advance(510) == [(160, b"b" * 350)]
    assert playback.advance(700) == [(510, b"b" * 130)]


def test_the_first_audio_of_a_stream_starts_now_even_at_its_beginning(playback):
    playback.play(100, b"a")
    assert playback.advance(200) == [(100, b"a")]


def test_nothing_is_heard_of_nothing(playback):
    assert playback.advance(5000) == []
    assert books(playback) == (0, 0, 0, 0)


# --- taking back ------------------------------------------------------------------------------------------------------


def test_what_is_taken_back_was_sent_and_not_heard_and_the_marks_behind_it_are_not_cleared(playback):
    playback.play(0, b"a" * 160)
    mark = playback.mark(0, "end")
    playback.play(0, b"b" * 160)
    assert playback.take_back(100) == ([(0, b"a" * 100)], b"a" * 60 + b"b" * 160)
    assert (playback.end, mark.cleared, books(playback)) == (100, False, (320, 100, 220, 0))


def test_the_front_is_the_number_of_the_next_sample_to_be_heard(playback):
    playback.play(0, b"a" * 320)
    playback.advance(100)
    assert playback.front == 100
    playback.take_back(200)
    playback.play(200, b"a" * 120)
    playback.advance(210)
    assert playback.front == 330


# --- marks ------------------------------------------------------------------------------------------------------------


def test_a_mark_lies_where_the_audio_before_it_ends(playback):
    playback.play(0, b"a" * 800)
    mark = playback.mark(100, "greeting")
    assert (mark.index, mark.name, mark.position, mark.cleared) == (0, "greeting", 800, False)


def test_a_mark_with_nothing_playing_lies_now(playback):
    playback.play(0, b"a" * 160)
    assert playback.mark(900, "late").position == 900
    assert Playback().mark(7, "first").position == 7


def test_a_mark_comes_back_played(playback):
    playback.play(0, b"a" * 160)
    sent = playback.mark(0, "greeting")
    assert playback.returned(170, "greeting") is sent
    assert (sent.cleared, playback.pending_marks) == (False, ())


def test_a_name_that_was_never_sent_changes_nothing(playback):
    playback.play(0, b"a" * 160)
    playback.mark(0, "greeting")
    assert playback.returned(10, "Greeting") is None
    assert books(playback) == (160, 0, 0, 160)
    assert [mark.name for mark in playback.pending_marks] == ["greeting"]


def test_a_mark_comes_back_once(playback):
    playback.mark(0, "greeting")
    assert playback.returned(1, "greeting") is not None
    assert playback.returned(2, "greeting") is None


def test_repeated_names_come_back_in_the_order_they_were_sent(playback):
    for _ in range(3):
        playback.play(0, b"a" * 160)
        playback.mark(0, "responsePart")
    assert [playback.returned(9000, "responsePart").index for _ in range(3)] == [0, 1, 2]
    assert playback.marks_sent == 3


def test_a_mark_that_is_overtaken_stays_pending(playback):
    playback.mark(0, "a")
    playback.mark(0, "b")
    assert playback.returned(5, "b").index == 1
    assert [mark.name for mark in playback.pending_marks] == ["a"]


def test_an_early_mark_says_that_all_before_it_was_heard(playback):
    playback.play(0, b"a" * 800)
    playback.mark(0, "m")
    playback.play(0, b"b" * 800)
    playback.returned(600, "m")
    assert playback.advance(600) == [(0, b"a" * 800)]
    assert playback.advance(810) == [(800, b"b" * 10)]


def test_audio_after_an_early_mark_follows_what_was_heard(playback):
    playback.play(0, b"a" * 800)
    playback.mark(0, "m")
    playback.returned(600, "m")
    playback.advance(600)
    playback.play(610, b"b" * 160)
    assert playback.advance(2000) == [(800, b"b" * 160)]


def test_a_clear_after_an_early_mark_loses_nothing_that_was_heard(playback):
    playback.play(0, b"a" * 800)
    playback.mark(0, "m")
    playback.returned(600, "m")
    assert playback.clear(600) == ([(0, b"a" * 800)], 0)


def test_audio_after_an_early_mark_and_a_clear_follows_what_was_heard(playback):
    playback.play(0, b"a" * 800)
    playback.mark(0, "m")
    playback.play(0, b"b" * 800)
    playback.returned(600, "m")
    assert playback.clear(600) == ([(0, b"a" * 800)], 800)
    playback.play(610, b"c" * 160)
    assert playback.advance(2000) == [(800, b"c" * 160)]


def test_a_mark_does_not_make_a_silence(playback):
    playback.play(0, b"a" * 160)
    playback.mark(0, "m")
    playback.play(0, b"b" * 160)
    assert playback.advance(320) == [(0, b"a" * 160), (160, b"b" * 160)]


# --- clear ------------------------------------------------------------------------------------------------------------


def test_clear_divides_what_was_heard_from_what_never_will_be(playback):
    playback.play(0, b"a" * 800)
    assert playback.clear(300) == ([(0, b"a" * 300)], 500)
    assert books(playback) == (800, 300, 500, 0)
    assert playback.advance(9000) == []


def test_clear_with_nothing_playing_clears_nothing(playback):
    assert playback.clear(50) == ([], 0)
    playback.play(100, b"a" * 160)
    playback.advance(300)
    assert playback.clear(400) == ([], 0)
    assert playback.end == 260


def test_a_mark_that_is_pending_at_clear_is_cleared(playback):
    playback.play(0, b"a" * 800)
    playback.mark(0, "greeting")
    playback.clear(300)
    assert playback.returned(320, "greeting").cleared


def test_a_mark_that_came_back_before_clear_was_played(playback):
    playback.play(0, b"a" * 160)
    playback.mark(0, "one")
    playback.play(0, b"a" * 800)
    playback.mark(0, "two")
    one = playback.returned(165, "one")
    playback.clear(300)
    assert (one.cleared, playback.returned(310, "two").cleared) == (False, True)


def test_a_mark_with_nothing_playing_is_cleared_too_if_its_echo_is_still_on_the_way(playback):
    playback.mark(0, "m")
    playback.clear(1)
    assert playback.returned(2, "m").cleared


def test_new_audio_and_a_new_mark_after_clear_are_played(playback):
    playback.play(0, b"a" * 800)
    playback.mark(0, "old")
    playback.clear(300)
    playback.play(310, b"b" * 160)
    playback.mark(310, "new")
    assert playback.returned(320, "old").cleared
    assert playback.advance(470) == [(300, b"b" * 160)]
    assert not playback.returned(475, "new").cleared


def test_a_repeated_name_across_clear_is_first_the_cleared_one(playback):
    playback.play(0, b"a" * 800)
    playback.mark(0, "part")
    playback.clear(300)
    playback.play(300, b"b" * 160)
    playback.mark(300, "part")
    assert [playback.returned(470, "part").cleared for _ in range(2)] == [True, False]


def test_the_echo_of_a_cleared_mark_does_not_move_the_new_audio(playback):
    playback.play(0, b"a" * 8000)
    playback.mark(0, "old")
    playback.clear(300)
    playback.play(300, b"b" * 8000)
    playback.returned(350, "old")
    assert playback.advance(400) == [(300, b"b" * 100)]
    assert playback.pending == 7900


def test_audio_long_after_clear_starts_now(playback):
    playback.play(0, b"a" * 800)
    playback.clear(300)
    playback.play(2000, b"b" * 160)
    assert playback.advance(3000) == [(2000, b"b" * 160)]


def test_a_mark_that_is_never_sent_has_its_number_and_does_not_come_back(playback):
    playback.mark(0, "sent")
    forgone = playback.forgo_mark(160, "forgone")
    assert (forgone.index, forgone.position, forgone.cleared) == (1, 160, True)
    assert [mark.name for mark in playback.pending_marks] == ["sent"]
    assert playback.mark(170, "next").index == 2


def test_clear_twice_clears_once(playback):
    playback.play(0, b"a" * 800)
    playback.clear(300)
    assert playback.clear(301) == ([], 0)
    assert books(playback) == (800, 300, 500, 0)


# --- stalls -----------------------------------------------------------------------------------------------------------


def stalled(playback: Playback, late: int) -> None:
    """Two seconds of `a`, a mark that comes back that much too late, and a second of `b` after it."""
    playback.play(0, b"a" * 16000)
    playback.mark(0, "m")
    playback.play(0, b"b" * 8000)
    playback.returned(16000 + late, "m")


def test_a_mark_that_is_300_ms_late_moves_nothing(playback):
    stalled(playback, STALL)
    assert playback.advance(99_000) == [(0, b"a" * 16000), (16000, b"b" * 8000)]


def test_a_mark_that_is_later_moves_what_comes_after_it(playback):
    stalled(playback, STALL + 1)
    assert playback.end == 24000 + STALL + 1
    assert playback.advance(99_000) == [(0, b"a" * 16000), (16000 + STALL + 1, b"b" * 8000)]


def test_what_was_heard_already_is_not_moved(playback):
    playback.play(0, b"a" * 8000)
    playback.mark(0, "m")
    playback.play(0, b"b" * 8000)
    assert playback.advance(10_000) == [(0, b"a" * 8000), (8000, b"b" * 2000)]
    playback.returned(12_000, "m")
    assert playback.advance(99_000) == [(14_000, b"b" * 6000)]


def test_a_late_mark_with_nothing_after_it_moves_nothing(playback):
    playback.play(0, b"a" * 800)
    playback.mark(0, "m")
    playback.returned(9000, "m")
    assert playback.end == 800
    playback.play(9000, b"b" * 160)
    assert playback.advance(9999) == [(0, b"a" * 800), (9000, b"b" * 160)]


def test_audio_sent_after_a_stall_follows_what_was_moved(playback):
    stalled(playback, 4000)
    playback.play(20_000, b"c" * 160)
    assert playback.advance(99_000)[-1] == (20_000, b"b" * 8000 + b"c" * 160)


def test_one_stall_moves_the_audio_once_however_many_marks_it_delays(playback):
    for name in "abc":
        playback.play(0, name.encode() * 8000)
        playback.mark(0, name)
    for end, name in ((12_000, "a"), (20_000, "b"), (28_000, "c")):
        playback.returned(end, name)
    assert playback.advance(99_000) == [(0, b"a" * 8000), (12_000, b"b" * 8000), (20_000, b"c" * 8000)]


def test_a_mark_that_a_stall_delays_still_waits_for_its_audio_only(playback):
    playback.play(0, b"a" * 800)
    playback.mark(0, "m")
    nothing_before = playback.mark(9000, "n")
    playback.returned(9500, "m")
    assert nothing_before.position == 9500


def test_a_stall_delays_no_mark_that_is_cleared_and_none_before_it(playback):
    playback.play(0, b"a" * 8000)
    cleared = playback.mark(0, "cleared")
    playback.clear(100)
    playback.play(100, b"b" * 800)
    overtaken = playback.mark(100, "overtaken")
    playback.play(100, b"c" * 800)
    playback.mark(100, "m")
    playback.returned(9000, "m")
    assert (cleared.position, overtaken.position) == (8000, 900)


def test_a_second_stall_moves_what_is_left_once_more(playback):
    for name in "abc":
        playback.play(0, name.encode() * 8000)
        playback.mark(0, name)
    playback.returned(12_000, "a")
    playback.returned(25_000, "b")
    assert playback.advance(99_000) == [(0, b"a" * 8000), (12_000, b"b" * 8000), (25_000, b"c" * 8000)]


def test_a_clear_after_a_stall_counts_as_lost_what_the_stall_held_back(playback):
    stalled(playback, 8000)
    heard, lost = playback.clear(25_000)
    assert (heard, lost) == ([(0, b"a" * 16000), (24_000, b"b" * 1000)], 7000)


# --- the clock --------------------------------------------------------------------------------------------------------


def test_a_clock_starts_at_zero_and_runs_with_the_wall_clock():
    clock = StreamClock(100.0)
    assert [clock.now(100.0), clock.now(100.5), clock.now(102.0)] == [0, 4000, 16000]


def test_a_clock_follows_the_audio_that_arrives_late():
    clock = StreamClock(100.0)
    clock.arrived(7200, 101.0)
    assert (clock.now(101.0), clock.now(101.5), clock.elapsed(101.5)) == (7200, 11200, 12000)


def test_a_wild_timestamp_does_not_carry_the_clock_ahead_of_the_wall():
    clock = StreamClock(100.0)
    clock.arrived(2**53, 101.0)
    assert clock.now(101.0) == clock.elapsed(101.0) == 8000


def test_a_timestamp_that_jumps_back_halts_the_clock_until_the_next_good_one():
    clock = StreamClock(100.0)
    clock.arrived(8000, 101.0)
    assert clock.now(101.0) == 8000
    clock.arrived(0, 101.02)
    assert clock.now(101.02) == 8000
    clock.arrived(8320, 101.04)
    assert clock.now(101.04) == 8320


def test_a_clock_before_its_start_is_at_zero():
    assert StreamClock(100.0).now(99.0) == 0


def test_audio_that_arrives_evenly_has_no_jitter():
    clock = StreamClock(100.0)
    for frame in range(200):
        clock.arrived(160 * (frame + 1), 100.02 + frame / 50)
    assert clock.jitter_ms == pytest.approx(0, abs=0.01)


def test_audio_that_arrives_in_pairs_has_the_jitter_of_rfc_3550():
    clock = StreamClock(100.0)
    for frame in range(400):
        clock.arrived(160 * (frame + 1), 100.04 + frame // 2 / 25)
    # Each frame is 20 ms closer to the one before it or farther away.
    assert clock.jitter_ms == pytest.approx(20, abs=1)
