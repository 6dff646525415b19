"""What is µ-law is never taken for something else, and PCM is seen for what it is."""

import struct
from math import sin, tau
from random import Random

import pytest

from calls.media.audio import mulaw_to_pcm16
from simulator.audio import mulaw_of
from simulator.examine.encoding import container, has_zeros, is_pcm16
from simulator.examine.voices import BABBLE
from tests.support.servers import SPEECH


SECONDS = 2


def tone(hertz, loudness=9000):
    return bytes(mulaw_of(round(loudness * sin(tau * hertz * n / 8000))) for n in range(8000 * SECONDS))


@pytest.mark.parametrize("sound", [SPEECH, *BABBLE], ids=["speech", "one voice", "another"])
def test_speech_as_mulaw_is_mulaw(sound):
    assert not is_pcm16(sound)
    assert is_pcm16(mulaw_to_pcm16(sound))


@pytest.mark.parametrize("hertz", range(50, 4000, 79))
def test_no_tone_is_taken_for_pcm(hertz):
    assert not is_pcm16(tone(hertz))


def test_tones_in_pcm_are_seen():
    assert all(is_pcm16(mulaw_to_pcm16(tone(hertz))) for hertz in (200, 440, 1000))


@pytest.mark.parametrize("audio", [b"\xff", b"\x7f\xff", b"\x7e\xfe\xff\x7f", b"\x00"])
def test_no_silence_is_taken_for_pcm(audio):
    assert not is_pcm16(audio * 16_000)


def test_noise_and_what_is_short_are_not_judged():
    noise = bytes(Random(1).choices(range(256), k=32_000))
    assert not is_pcm16(noise)
    assert not is_pcm16(mulaw_to_pcm16(SPEECH[:1000]))


def test_white_noise_in_pcm_is_not_accused_of_being_anything():
    chance = Random(2)
    assert not is_pcm16(b"".join(struct.pack("<h", chance.randrange(-9000, 9000)) for _ in range(16_000)))


@pytest.mark.parametrize(
    ("beginning", "name"),
    [(b"RIFF\0\0\0\0WAVE", "a WAV header"), (b"ID3\x04", "an MP3 tag"), (b"OggS", "an Ogg page"), (b"\xff" * 9, "")],
)
def test_files_are_known_by_how_they_begin(beginning, name):
    assert container(beginning + SPEECH) == name


def test_zeros_are_the_silence_of_another_encoding():
    assert has_zeros(SPEECH + bytes(800))
    assert not has_zeros(SPEECH + b"\xff" * 800)
