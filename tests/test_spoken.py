"""Sentences as a caller's audio: what espeak-ng says, as a phone line has it."""

import os
import shutil

import numpy as np
import pytest

from calls.media.audio import mulaw_to_pcm16
from simulator import spoken as module
from simulator.spoken import LONGEST, SpeechUnavailable, spoken


@pytest.fixture
def espeak():
    if not shutil.which("espeak-ng"):
        (pytest.fail if os.environ.get("REQUIRE_ESPEAK") else pytest.skip)("espeak-ng is not installed")


def samples(mulaw):
    return np.frombuffer(mulaw_to_pcm16(mulaw), "<i2") / 32768


def test_a_sentence_is_as_loud_as_a_caller_and_has_no_silence_around_it(espeak):
    said = samples(spoken("I would like to order a large pizza."))
    assert 1.5 < len(said) / 8000 < 3.5
    assert np.sqrt(np.mean(said**2)) == pytest.approx(0.1, rel=0.05)
    assert max(abs(said[:400])) > 0.005
    assert max(abs(said[-400:])) > 0.005


def test_the_same_sentence_is_the_same_audio(espeak):
    assert spoken("Four o'clock.") == spoken.__wrapped__("Four o'clock.")


def test_who_speaks_faster_is_done_sooner(espeak):
    assert len(spoken("One, two, three, four, five.", words_a_minute=300)) < 0.8 * len(
        spoken("One, two, three, four, five.")
    )


def test_what_looks_like_an_option_is_spoken(espeak, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(spoken("-w file --version")) > 4000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", " \n", "\x00"])
def test_a_text_without_a_word_is_refused(espeak, text):
    with pytest.raises(ValueError, match="nothing in it that can be said"):
        spoken(text)


@pytest.mark.parametrize("voice", ["nobody", "--stdout", "../en", ""])
def test_a_voice_that_is_not_there_is_named(espeak, voice):
    with pytest.raises(SpeechUnavailable, match=f"{voice!r}"):
        spoken("Hello.", voice)


def test_where_nothing_can_speak_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpeechUnavailable, match="install espeak-ng"):
        spoken("Nobody has said this before.")


@pytest.mark.parametrize(("text", "speed", "fault"), [("a" * (LONGEST + 1), 160, "characters"), ("a", 20, "80 to 450")])
def test_what_is_too_long_or_too_slow_is_refused(text, speed, fault):
    with pytest.raises(ValueError, match=fault):
        spoken(text, words_a_minute=speed)


@pytest.mark.parametrize(("hertz", "passes"), [(400, 1), (3000, 1), (4300, 0), (7900, 0)])
def test_what_a_phone_line_does_not_carry_leaves_nothing_behind(hertz, passes):
    sine = np.sin(2 * np.pi * hertz * np.arange(22050) / 22050)
    heard = module._resampled(sine, 22050)[400:7600]
    assert np.sqrt(2 * np.mean(heard**2)) == pytest.approx(passes, abs=0.01)
