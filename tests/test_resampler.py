"""What comes out of the resampler: as long as what went in, the same whatever the pieces, and nothing beside it."""

import random

import numpy as np
import pytest

from calls.media import audio
from calls.media.audio import mulaw_to_pcm16
from calls.media.resampler import Resampler, decode, encode, pcm16_to_mulaw, resample, to_line_rate


MULAW = ("mulaw", 8000)
PCM16 = ("pcm16", 8000)
RATES = [16000, 24000, 48000]
#: Full scale in dB is 0; a clean sine of 16 bits has nothing above this beside it.
CLEAN = -85


def sine(hertz, rate, seconds=1.0):
    """PCM16 at 0.9 of full scale."""
    shape = np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)
    return np.rint(29490 * shape).astype("<i2").tobytes()


def noise(samples):
    return random.Random(7).randbytes(2 * samples)


def whole(data, source, target):
    resampler = Resampler(source, target)
    return resampler.convert(data) + resampler.flush()


def in_pieces(data, source, target):
    dice, resampler = random.Random(3), Resampler(source, target)
    made = b""
    while data:
        size = 2 * dice.randint(1, 700)
        made, data = made + resampler.convert(data[:size]), data[size:]
    return made + resampler.flush()


def loudest(pcm16, rate, *, beside=None):
    """The strongest part of the spectrum in dB of full scale; `beside` leaves out 40 Hz on both sides of a tone."""
    samples = np.frombuffer(pcm16, "<i2") / 32768
    window = np.blackman(len(samples))
    spectrum = np.abs(np.fft.rfft(samples * window)) * 2 / window.sum()
    hertz = np.fft.rfftfreq(len(samples), 1 / rate)
    if beside is not None:
        spectrum = spectrum[np.abs(hertz - beside) > 40]
    return 20 * np.log10(spectrum.max() + 1e-9)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("samples", [0, 1, 2, 5, 481, 24000])
def test_as_much_time_comes_out_as_went_in(rate, samples):
    assert len(whole(bytes(2 * samples), ("pcm16", rate), MULAW)) == -(-samples * 8000 // rate)
    assert len(whole(bytes(samples), MULAW, ("pcm16", rate))) == 2 * samples * rate // 8000


@pytest.mark.parametrize("rate", RATES)
def test_the_pieces_make_no_difference(rate):
    for source, target in ((("pcm16", rate), MULAW), (PCM16, ("pcm16", rate))):
        assert in_pieces(noise(10_000), source, target) == whole(noise(10_000), source, target)


@pytest.mark.parametrize("rate", RATES)
def test_a_sine_in_pieces_has_no_click(rate):
    made = in_pieces(sine(1000, rate), ("pcm16", rate), PCM16)[1600:-1600]
    assert loudest(made, 8000) == pytest.approx(-0.9, abs=0.1)
    assert loudest(made, 8000, beside=1000) < CLEAN


@pytest.mark.parametrize("rate", RATES)
def test_what_the_caller_says_has_no_images_at_a_higher_rate(rate):
    made = in_pieces(sine(1000, 8000), PCM16, ("pcm16", rate))[9600:-9600]
    assert loudest(made, rate, beside=1000) < CLEAN


@pytest.mark.parametrize("hertz", [4600, 5000, 7000])
@pytest.mark.parametrize("rate", RATES)
def test_what_a_telephone_cannot_carry_is_gone_and_not_folded_into_the_voice(rate, hertz):
    assert loudest(whole(sine(hertz, rate), ("pcm16", rate), PCM16)[1600:-1600], 8000) < CLEAN


@pytest.mark.parametrize("rate", RATES)
def test_the_whole_band_of_a_telephone_is_kept(rate):
    made = whole(sine(3400, rate), ("pcm16", rate), PCM16)[1600:-1600]
    assert loudest(made, 8000) == pytest.approx(-0.9, abs=0.1)


@pytest.mark.parametrize("rate", RATES)
def test_a_sound_begins_and_ends_where_it_did(rate):
    quiet = bytes(rate // 5)
    made = decode(whole(quiet + sine(1000, rate) + quiet, ("pcm16", rate), PCM16), "pcm16")
    loud = np.flatnonzero(np.abs(made) > 6000)
    # 8 samples are a millisecond.
    assert (loud[0], loud[-1]) == (pytest.approx(800, abs=8), pytest.approx(8800, abs=8))


@pytest.mark.parametrize("rate", RATES)
def test_silence_stays_silence(rate):
    assert set(whole(bytes(20_000), ("pcm16", rate), MULAW)) == {0xFF}


def test_no_more_is_held_back_than_30_ms():
    for rate in RATES:
        down, up = Resampler(("pcm16", rate), MULAW), Resampler(MULAW, ("pcm16", rate))
        assert len(down.convert(bytes(2 * rate))) >= 8000 - 30 * 8
        assert len(up.convert(b"\xff" * 8000)) >= 2 * (rate - 30 * rate // 1000)


def test_a_whole_sound_of_any_rate_keeps_its_length_and_its_band():
    assert loudest(mulaw_to_pcm16(resample(sine(3400, 44100), ("pcm16", 44100)))[1600:-1600], 8000) > -1.5
    too_high = resample(sine(5000, 44100), ("pcm16", 44100))
    assert (len(too_high), set(too_high[800:-800])) == (8000, {0xFF})


def test_samples_of_any_rate_are_made_a_lines_and_lose_what_it_cannot_carry():
    below, above = (decode(sine(hertz, 48000), "pcm16") / 32768 for hertz in (1000, 6000))
    made = to_line_rate(below + above, 48000)
    assert np.abs(made - to_line_rate(below, 48000))[800:-800].max() < 0.0001
    assert np.array_equal(to_line_rate(made, 8000), made)


def test_samples_are_encoded_as_g711_has_them():
    every = np.arange(-32768, 32768).astype("<i2").tobytes()
    expected = audio.pcm16_to_mulaw(every)
    assert encode(decode(every, "pcm16"), "mulaw") == pcm16_to_mulaw(every) == expected


def test_samples_are_rounded_and_not_cut():
    assert encode(np.array([0.6, -0.6], np.float32), "pcm16") == b"\x01\x00\xff\xff"


def test_what_is_louder_than_16_bits_is_clipped_and_does_not_wrap():
    assert encode(np.array([40_000, -40_000], np.float32), "pcm16") == b"\xff\x7f\x00\x80"
