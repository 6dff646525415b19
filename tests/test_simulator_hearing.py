"""What is heard on a line is found to the sample, over a bad line too, and nothing else is taken for it."""

import os
import random
import shutil

import pytest

from simulator.audio import SILENCE, mulaw_of, pcm16_of
from simulator.hearing import Found, Response, Span, find, nearest, responses, speech
from simulator.spoken import spoken


MS = 8  # samples
LOUD = bytes([mulaw_of(8000), mulaw_of(-8000)])


@pytest.fixture
def espeak():
    if not shutil.which("espeak-ng"):
        (pytest.fail if os.environ.get("REQUIRE_ESPEAK") else pytest.skip)("espeak-ng is not installed")


def quiet(ms):
    return SILENCE * int(ms * MS)


def loud(ms):
    """Each sample of it is loud, so that there is no doubt where it begins."""
    return LOUD * int(ms * MS // 2)


def noise(ms, seed):
    """Like nothing else, as a sentence is."""
    dice = random.Random(seed)
    return bytes(mulaw_of(round(dice.gauss(0, 4000))) for _ in range(int(ms * MS)))


def quieter(audio, factor):
    return bytes(mulaw_of(round(factor * pcm16_of(byte))) for byte in audio)


def lossy(audio, share):
    dice = random.Random(7)
    frames = [audio[at : at + 160] for at in range(0, len(audio), 160)]
    return b"".join(SILENCE * len(frame) if dice.random() < share else frame for frame in frames)


def test_speech_is_found_to_the_sample():
    assert speech(quiet(101.25) + loud(333) + quiet(500)) == [Span(101.25, 434.25)]


def test_a_word_may_begin_and_end_where_its_20_ms_are_not_loud_as_a_whole():
    """In 1 ms of 20, at four times the level that is loud."""
    soft = bytes([mulaw_of(2000), mulaw_of(-2000)])
    assert speech(quiet(119) + soft * 244 + quiet(500)) == [Span(119, 180)]


def test_who_speaks_softly_is_heard():
    assert speech(quiet(500) + bytes([mulaw_of(700), mulaw_of(-700)]) * 800 + quiet(500)) == [Span(500, 700)]


def test_a_short_pause_belongs_to_what_is_said():
    lane = loud(400) + quiet(300) + loud(400) + quiet(300.125) + loud(400)
    assert speech(lane) == [Span(0, 1100), Span(1400.125, 1800.125)]


def test_a_longer_pause_may_belong_to_it_too():
    assert speech(loud(400) + quiet(700) + loud(400), pause_ms=700) == [Span(0, 1500)]


@pytest.mark.parametrize("lane", [b"", quiet(2000), loud(5) + quiet(500), quieter(noise(2000, 1), 0.05), b"\x7f" * 800])
def test_a_quiet_line_a_click_and_noise_are_no_speech(lane):
    assert speech(lane) == []


def test_speech_may_go_on_to_the_end_of_a_lane_that_is_no_whole_number_of_frames():
    assert speech(quiet(50) + loud(77.75)) == [Span(50, 127.75)]


def test_a_response_is_counted_from_the_end_of_the_words():
    said = loud(1000) + quiet(3000) + loud(500) + quiet(1000)
    heard = quiet(1640.5) + loud(600) + quiet(2500) + loud(700)
    assert responses(said, heard) == [Response(1640.5, 640.5), Response(4740.5, 240.5)]


def test_words_that_nobody_answered_have_no_response():
    assert responses(loud(1000) + quiet(2000) + loud(500), quiet(4000) + loud(500)) == [Response(4000, 500)]


def test_who_says_nothing_is_not_answered():
    assert responses(b"", b"") == responses(quiet(2000), loud(500)) == []


def test_who_talks_while_the_caller_does_answers_nothing():
    assert responses(loud(1000) + quiet(2000), quiet(900) + loud(900)) == []


def test_a_sound_is_found_to_the_sample():
    lane = quiet(1000.125) + noise(800, 1) + quiet(500) + noise(900, 2) + quiet(100)
    assert find(noise(900, 2), lane) == Found(2300.125, pytest.approx(1))


def test_a_sound_is_found_through_loss_and_at_another_level():
    lane = lossy(quieter(quiet(730) + noise(3000, 1) + quiet(500), 0.2), 0.03)
    assert find(noise(3000, 1), lane) == Found(730, pytest.approx(0.98, abs=0.015))


@pytest.mark.parametrize("lane", [b"", quiet(3000), noise(3000, 2), noise(900, 1) + quiet(2000)])
def test_another_sound_or_a_part_of_it_is_not_taken_for_it(lane):
    assert find(noise(3000, 1), lane) is None


def test_what_is_cut_short_is_that_much_less_like_it():
    found = nearest(noise(2000, 1), quiet(100) + noise(2000, 1)[: 1000 * MS])
    assert found == Found(100, pytest.approx(0.71, abs=0.02))


@pytest.mark.parametrize("needle", [b"", quiet(1000)])
def test_silence_is_never_found(needle):
    assert find(needle, noise(1000, 1)) is None


def test_a_sentence_is_not_taken_for_another_one_of_the_same_voice(espeak):
    wanted, other = (
        spoken("I would like a large pizza with mushrooms."),
        spoken("I would like a large pizza with salami."),
    )
    assert find(wanted, quiet(500) + other + quiet(900) + spoken("Your order will be with you soon.")) is None
    assert find(wanted, quiet(500) + lossy(quieter(wanted, 0.3), 0.03) + quiet(900)).at_ms == 500
