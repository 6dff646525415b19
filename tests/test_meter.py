"""How loud both sides of a running call are, who speaks, and what its caller waits for."""

from calls.media.audio import SILENCE, loudest, tone
from calls.media.meter import BREATH, MOST_BEATS, LaneMeter, Meter
from calls.media.rows import ChunkRow, GapRow


# A beat of each: 0.2 s, as samples.
BEAT = 1600
WORD = tone(300, 200, level=0.5)
HUM = tone(100, 200, level=0.06)
QUIET = SILENCE * BEAT


def chunk(audio, start=0, track="inbound"):
    return ChunkRow("MZ1", track, 0, start, audio)


def talk(meter, audio, start, track="inbound", beats=1):
    """That many beats of it from there on; returns where they end."""
    for at in range(start, start + beats * BEAT, BEAT):
        meter.hear([chunk(audio, at, track)])
    return start + beats * BEAT


def test_the_loudest_sample_is_found_among_every_few():
    assert loudest(b"\xff\xff\x00\xff") == 125
    assert loudest(b"\xff\xff\x00\xff", step=3) == 0
    assert loudest(b"") == 0


def test_a_level_is_taken_once():
    lane = LaneMeter()
    lane.hear([chunk(WORD)])
    assert 60 <= lane.take()[0] <= 66
    assert lane.take() == b""


def test_a_beat_without_audio_is_silent():
    lane = LaneMeter()
    lane.hear([])
    assert lane.take() == b"\0"
    assert not lane.speaks(0)


def test_levels_that_nobody_takes_do_not_pile_up():
    lane = LaneMeter()
    for _ in range(MOST_BEATS + 5):
        lane.hear([chunk(QUIET)])
    assert len(lane.take()) == MOST_BEATS


def test_somebody_speaks_until_they_pause_for_longer_than_a_breath():
    lane = LaneMeter()
    lane.hear([chunk(WORD)])
    assert lane.speaks(BEAT + BREATH - 1)
    assert not lane.speaks(BEAT + BREATH)


def test_audio_that_comes_late_ends_nothing_earlier():
    lane = LaneMeter()
    lane.hear([chunk(WORD, 10 * BEAT), chunk(WORD)])
    assert lane.spoke_until == 11 * BEAT


def test_a_quiet_line_says_nothing():
    meter = Meter()
    end = talk(meter, QUIET, 0, beats=10)
    assert not meter.caller.speaks(end)


def test_noise_that_goes_on_is_not_speech_in_the_end():
    meter = Meter()
    end = talk(meter, HUM, 0, beats=5)
    assert meter.caller.speaks(end)
    end = talk(meter, HUM, end, beats=100)
    assert not meter.caller.speaks(end)
    end = talk(meter, WORD, end)
    assert meter.caller.speaks(end)


def test_half_a_minute_of_speech_is_still_speech():
    meter = Meter()
    end = talk(meter, WORD, 0, beats=150)
    assert meter.caller.speaks(end)


def test_the_caller_waits_from_the_beginning_for_our_first_word():
    assert Meter().wait(8000) == 8000


def test_the_caller_waits_from_the_end_of_their_words():
    meter = Meter()
    end = talk(meter, WORD, talk(meter, WORD, 0, "outbound"))
    assert meter.wait(end + BREATH - 1) is None
    assert meter.wait(end + 8000) == 8000


def test_whom_we_have_answered_does_not_wait():
    meter = Meter()
    end = talk(meter, WORD, talk(meter, WORD, 0), "outbound")
    assert meter.wait(end + 80_000) is None


def test_nobody_knows_whether_a_caller_waits_who_was_not_heard():
    assert Meter(said_until=4000).wait(80_000) is None


def test_what_is_no_audio_says_nothing_of_the_lanes():
    meter = Meter()
    meter.hear([GapRow("MZ1", "inbound", 0, BEAT, "timestamp")])
    assert (meter.caller.take(), meter.us.take()) == (b"\0", b"\0")
