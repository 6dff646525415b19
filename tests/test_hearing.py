"""What the caller has heard is on the recording once it is certain, and what a dead socket swallowed never is."""

import pytest

from calls.media.hearing import Hearing
from calls.media.playback import StreamClock
from calls.media.rows import ChunkRow, GapRow
from calls.media.tape import Tape


SECOND = 8000


@pytest.fixture
def hearing():
    """Of a conversation that began at 0 s, with 5 s of audio on their way to the caller."""
    hearing = Hearing(Tape("MZ1", "CA1", ("inbound",), bidirectional=True), StreamClock(0.0))
    hearing.playback.play(0, b"a" * 5 * SECOND)
    return hearing


def recorded(hearing):
    """(position, samples) of what is on the outbound lane, and (position, samples, reason) of what is not."""
    hearing.tape.close()
    rows = [row for row in hearing.tape.cut_all() if getattr(row, "track", "") == "outbound"]
    chunks = [(row.start, len(row.payload)) for row in rows if isinstance(row, ChunkRow)]
    return chunks, [(row.start, row.length, row.reason) for row in rows if isinstance(row, GapRow)]


def test_what_was_played_is_heard_while_the_other_side_lives(hearing):
    hearing.advance(1.5)
    assert (hearing.heard, hearing.is_complete) == (1.5 * SECOND, False)
    hearing.note_sign(5 * SECOND)
    hearing.advance(5.0)
    assert (hearing.heard, hearing.is_complete) == (5 * SECOND, True)
    assert recorded(hearing) == ([(0, 5 * SECOND)], [])


def test_after_two_silent_seconds_it_waits_for_a_sign_of_life(hearing):
    hearing.advance(3.0)
    assert (hearing.heard, hearing.is_complete) == (0, False)
    hearing.note_sign(3 * SECOND)
    hearing.advance(3.0)
    assert hearing.heard == 3 * SECOND


def test_a_socket_that_was_silent_to_its_end_was_dead_since_the_last_sign(hearing):
    hearing.note_sign(SECOND)
    hearing.advance(4.0)
    assert hearing.end(4.0, is_stopped=False)[0] == SECOND
    assert hearing.heard == SECOND
    assert recorded(hearing) == ([(0, SECOND)], [(SECOND, 4 * SECOND, "cleared")])


def test_a_caller_who_hangs_up_has_heard_everything_until_then(hearing):
    assert hearing.end(4.0, is_stopped=True)[0] == 4 * SECOND
    assert recorded(hearing) == ([(0, 4 * SECOND)], [(4 * SECOND, SECOND, "cleared")])


def test_a_caller_who_is_lost_hears_no_more_however_long_it_takes_to_read_the_rest(hearing):
    hearing.note_lost(1.0)
    hearing.note_lost(2.0)
    hearing.advance(3.0)
    assert hearing.heard == 0
    assert hearing.end(4.0, is_stopped=True)[0] == SECOND
    assert hearing.heard == SECOND


def test_what_is_cleared_was_never_heard(hearing):
    assert hearing.clear(SECOND) == 4 * SECOND
    assert (hearing.heard, hearing.is_complete) == (SECOND, True)
    assert hearing.clear(SECOND) == 0
    assert recorded(hearing) == ([(0, SECOND)], [(SECOND, 4 * SECOND, "cleared")])


def test_what_a_silent_socket_heard_before_a_clear_waits_for_a_sign_too(hearing):
    assert hearing.clear(3 * SECOND) == 2 * SECOND
    assert (hearing.heard, hearing.is_complete) == (0, False)
    hearing.note_sign(3 * SECOND)
    hearing.advance(3.0)
    assert (hearing.heard, hearing.is_complete) == (3 * SECOND, True)


def test_what_was_heard_while_paused_is_not_recorded_though_it_is_laid_later(hearing):
    hearing.tape.pause()
    hearing.advance(3.0)
    hearing.tape.resume()
    hearing.note_sign(3 * SECOND)
    hearing.advance(4.0)
    assert hearing.heard == 4 * SECOND
    assert recorded(hearing) == ([(3 * SECOND, SECOND)], [(0, 3 * SECOND, "paused")])


@pytest.mark.parametrize(("at", "end"), [(1.05, SECOND), (1.5, 1.5 * SECOND)])
def test_a_frame_that_is_about_to_come_is_no_silence(hearing, at, end):
    hearing.tape.media("inbound", 0, b"x" * SECOND, 0)
    assert hearing.end(at, is_stopped=True)[0] == end


def test_what_is_taken_back_will_be_sent_again_and_is_no_gap(hearing):
    assert hearing.take_back(SECOND) == b"a" * 4 * SECOND
    assert hearing.heard == SECOND
    assert recorded(hearing) == ([(0, SECOND)], [])


def test_what_is_taken_back_from_a_silent_socket_waits_for_a_sign_of_life_all_the_same(hearing):
    assert len(hearing.take_back(3 * SECOND)) == 2 * SECOND
    assert hearing.heard == 0
    hearing.note_sign(3 * SECOND)
    hearing.advance(3.0)
    assert hearing.heard == 3 * SECOND


def test_the_end_says_how_much_was_not_heard(hearing):
    assert hearing.end(4.0, is_stopped=True) == (4 * SECOND, SECOND)
    assert hearing.note_cleared(0) == 0
