"""What is right is never objected to, whatever it sounds like; what is wrong mostly is, by its name."""

import shutil

import numpy as np
import pytest

from calls.media.audio import mulaw_to_pcm16
from calls.media.examiner import Examiner
from calls.sounds import FOLDER
from tests.support.waves import Chance, espeak, mulaw, pcm16, speech, stereo


RATES = [8000, 16000, 24000, 48000]
SPOKEN = ["apology", "caller", "greeting", "thanks"]
SENTENCES = [
    ("en-us", "Good morning, thank you for calling. How may I help you today?"),
    ("en-gb+f3", "She sells sea shells by the sea shore, sixty six of them."),
    ("en-us+whisper", "Fish and chips, shoes and socks, zips and fizz."),
    ("de", "Bitte bleiben Sie in der Leitung, ich verbinde Sie gleich weiter."),
    ("pl", "Proszę czekać, łączę z konsultantem."),
    ("fr+m7", "Merci de votre appel, au revoir."),
]


def objection(data, encoding="mulaw", size=96_000):
    """To audio in pieces of that size."""
    examiner = Examiner(encoding)
    return next(filter(None, (examiner.objection(data[at : at + size]) for at in range(0, len(data), size))), "")


def objections(sounds):
    """To sounds as they are, and to what is left of them after a telephone."""
    for sound in sounds:
        yield objection(pcm16(sound), "pcm16", 3001)
        yield objection(mulaw_to_pcm16(mulaw(sound)), "pcm16")
        yield objection(mulaw(sound), "mulaw", 1037)


# --- what is right ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
def test_no_sound_is_objected_to(rate):
    assert set(objections(Chance(rate).sounds(12))) == {""}


@pytest.mark.parametrize("rate", RATES)
def test_no_speech_is_objected_to(rate):
    assert set(objections(speech(name, rate) * level for name in SPOKEN for level in (1, 0.1, 0.01))) == {""}


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs espeak-ng")
@pytest.mark.parametrize("rate", RATES)
def test_no_sentence_of_any_voice_is_objected_to(rate):
    assert set(objections(espeak(text, voice, rate) for voice, text in SENTENCES)) == {""}


@pytest.mark.parametrize("phase", [0, np.pi / 4, np.pi / 2])
def test_a_tone_whose_samples_come_in_pairs_is_not_stereo(phase):
    tone = np.sin(np.pi / 2 * np.arange(16_000) + phase)
    fades = (tone * level for level in (0.9, 0.3, np.linspace(0, 1, 16_000), np.exp(-np.arange(16_000) / 4000)))
    assert set(objections(fades)) == {""}


def test_steps_that_last_longer_than_two_samples_are_not_stereo():
    steps = np.repeat(np.sin(2 * np.pi * np.arange(4000) / 40), 8)
    assert set(objections([steps * 0.5])) == {""}


def test_a_tone_of_three_samples_that_fades_is_not_made_of_floats():
    """Any two of these are a float between -2 and 2."""
    tone = np.tile([15_500, -17_500, 2000], 5000) / 32768 * np.linspace(0.95, 1.03, 15_000)
    assert set(objections([tone])) == {""}


@pytest.mark.parametrize("byte", [b"\xff", b"\x7f", b"\x00", b"\x7f\xff", b"\xfe\x7e\xff\x7f"])
def test_no_silence_is_objected_to(byte):
    for encoding in ("mulaw", "pcm16"):
        assert objection(byte * 16_000, encoding) == ""


# --- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [320, 1038, 96_000])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", SPOKEN)
def test_pcm16_is_not_taken_for_mulaw(name, rate, size):
    assert 'encoding="pcm16"' in objection(pcm16(speech(name, rate)), "mulaw", size)


@pytest.mark.parametrize("name", SPOKEN)
def test_quiet_pcm16_is_not_taken_for_mulaw(name):
    assert "16-bit PCM" in objection(pcm16(speech(name, 24000) * 0.003))


@pytest.mark.parametrize("level", [0.003, 0.3, 0.9])
def test_a_tone_of_pcm16_is_not_taken_for_mulaw(level):
    tone = level * np.sin(2 * np.pi * 440 * np.arange(16_000) / 8000)
    assert "16-bit PCM" in objection(pcm16(tone))
    assert "16-bit PCM" in objection(mulaw_to_pcm16(mulaw(tone)))


@pytest.mark.parametrize("size", [320, 1037, 96_000])
@pytest.mark.parametrize("name", SPOKEN)
def test_mulaw_is_not_taken_for_pcm16(name, size):
    assert "this is µ-law" in objection(mulaw(speech(name, 8000)), "pcm16", size)


@pytest.mark.parametrize("encoding", ["mulaw", "pcm16"])
@pytest.mark.parametrize("name", SPOKEN)
def test_floats_are_not_taken_for_samples(name, encoding):
    assert "32-bit floats" in objection(speech(name, 24000).astype("<f4").tobytes(), encoding)


@pytest.mark.parametrize("size", [333, 4000, 96_000])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", SPOKEN)
def test_speech_on_both_channels_is_stereo(name, rate, size):
    said = speech(name, rate)
    assert "stereo" in objection(pcm16(stereo(said, said)), "pcm16", size)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", SPOKEN)
def test_speech_on_one_channel_is_stereo(name, rate):
    said = speech(name, rate)
    for left, right in ((said, 0 * said), (0 * said, said)):
        assert "stereo" in objection(pcm16(stereo(left, right)), "pcm16")


@pytest.mark.parametrize("name", SPOKEN)
def test_stereo_of_mulaw_is_stereo(name):
    said = speech(name, 8000)
    for left, right in ((said, said), (said, 0 * said), (0 * said, said)):
        assert "stereo" in objection(mulaw(stereo(left, right)))


@pytest.mark.parametrize("rate", [24000, 48000])
def test_two_channels_that_differ_are_stereo(rate):
    one, other = speech("greeting", rate), speech("caller", rate)
    shortest = min(len(one), len(other))
    assert "stereo" in objection(pcm16(stereo(one[:shortest], other[:shortest])), "pcm16")


def test_stereo_pcm16_is_not_taken_for_mulaw():
    said = speech("greeting", 24000)
    assert "this is stereo 16-bit PCM" in objection(pcm16(stereo(said, 0 * said)))


@pytest.mark.parametrize("encoding", ["mulaw", "pcm16"])
def test_a_wav_file_is_no_sound_and_can_be_read(encoding):
    assert "(WAV), not raw" in (said := objection((FOLDER / "beep.wav").read_bytes(), encoding))
    assert "read_wav" in said


@pytest.mark.parametrize("encoding", ["mulaw", "pcm16"])
def test_another_file_is_no_sound_and_can_be_converted(encoding):
    assert "(Ogg), not raw" in (said := objection(b"OggS" + bytes(100), encoding))
    assert "ffmpeg" in said


# --- how much is looked at --------------------------------------------------------------------------------------------


NOISE = np.random.default_rng(1).integers(0, 256, 2048, np.uint8).tobytes()
TONE = pcm16(0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 8000))


def test_only_the_first_seconds_of_a_sound_are_examined():
    examiner = Examiner()
    for _ in range(examiner.ALTOGETHER):
        assert examiner.objection(NOISE) == ""
    assert examiner.objection(TONE) == ""


def test_no_more_is_examined_in_one_go_than_the_event_loop_can_wait_for():
    data = NOISE * Examiner.AT_ONCE + TONE[: 2048 * Examiner.AT_ONCE]
    assert objection(data, size=2048 * Examiner.AT_ONCE) != ""
    assert objection(data) == ""


def test_what_comes_in_one_go_is_examined_here_and_there():
    assert objection(NOISE * 2 + TONE + TONE + TONE + TONE) != ""


def test_silence_in_front_does_not_count():
    assert objection(b"\0" * 2048 * 40 + TONE, size=2048) != ""
