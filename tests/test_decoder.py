"""Files that somebody uploads, made into what a telephone carries. soundfile writes them, hands break them."""

import io
import struct

import numpy as np
import pytest
import soundfile

from calls.media.audio import mulaw_to_pcm16, tone, wav_header
from calls.media.decoder import LONGEST, decode


def sine(hertz, rate, seconds=1.0, level=0.3):
    return level * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def written(samples, rate=8000, subtype="PCM_16", kind="WAV"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def heard(data):
    """What a caller hears, between -1 and 1."""
    return np.frombuffer(mulaw_to_pcm16(decode(data)), "<i2") / 32768


def level(samples):
    """Decibels of full scale, without both ends."""
    return 10 * np.log10(np.mean(samples[800:-800] ** 2) + 1e-12)


def pitch(samples):
    return np.argmax(np.abs(np.fft.rfft(samples))) * 8000 / len(samples)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_of_any_rate_mono_or_stereo_is_the_same_sound(rate, channels):
    sound = heard(written(np.stack([sine(440, rate)] * channels, axis=1), rate))
    assert len(sound) == 8000
    assert pitch(sound) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_a_wav_of_any_width_is_the_same_sound(subtype):
    sound = heard(written(sine(440, 16000), 16000, subtype))
    assert pitch(sound) == pytest.approx(440, abs=2)
    assert level(sound) == pytest.approx(-20, abs=0.5)


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (48000, 1)])
def test_an_mp3_is_the_same_sound(rate, channels):
    mp3 = written(np.stack([sine(440, rate)] * channels, axis=1), rate, "MPEG_LAYER_III", "MP3")
    sound = heard(mp3)
    assert len(sound) / 8000 == pytest.approx(1, abs=0.15)
    assert pitch(sound[1600:-1600]) == pytest.approx(440, abs=2)


def test_what_no_telephone_carries_does_not_come_back_as_another_tone():
    below, above = sine(1000, 48000), sine(6000, 48000)
    sound = heard(written(np.stack([below + above, below + above], axis=1), 48000))
    spectrum = np.abs(np.fft.rfft(sound[800:-800] * np.hanning(6400)))
    near = np.abs(np.fft.rfftfreq(6400, 1 / 8000) - 1000) < 20
    # 6 kHz would be heard at 2 kHz; what is left beside 1 kHz is µ-law's own noise.
    assert 20 * np.log10(spectrum[~near].max() / spectrum.max()) < -45


def test_both_sides_of_stereo_are_heard():
    sound = heard(written(np.stack([sine(400, 8000), sine(1000, 8000)], axis=1)))
    spectrum = np.abs(np.fft.rfft(sound))
    assert spectrum[400] == pytest.approx(spectrum[1000], rel=0.05)


@pytest.mark.parametrize("loudness", [0.02, 0.3, 1.0])
def test_what_is_quiet_or_loud_is_heard_as_loud_as_speech(loudness):
    assert level(heard(written(sine(440, 16000, level=loudness), 16000))) == pytest.approx(-20, abs=0.5)


def test_pauses_make_nothing_louder():
    spoken = np.concatenate([sine(440, 8000, 1.0), np.zeros(24_000)])
    assert level(heard(written(spoken))[:8000]) == pytest.approx(-20, abs=0.5)


def test_floating_point_beyond_full_scale_is_not_clipped():
    sound = heard(written(sine(440, 16000, level=8.0), 16000, "FLOAT"))
    assert np.abs(sound).max() == pytest.approx(0.1 * 2**0.5, rel=0.05)


def test_a_click_keeps_a_quiet_sound_below_full_scale():
    sound = sine(440, 8000, level=0.02)
    sound[4000] = 1.0
    assert np.abs(heard(written(sound))).max() < 0.8


def test_what_is_no_number_is_silent():
    samples = sine(440, 8000)
    samples[100:200] = np.nan
    samples[300:400] = np.inf
    sound = heard(written(samples, subtype="FLOAT"))
    assert np.abs(sound[120:180]).max() < 0.001
    assert pitch(sound) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("rate", [8000, 48000])
def test_sixty_seconds_are_not_too_long_and_a_second_more_is(rate):
    assert len(decode(written(sine(440, rate, LONGEST), rate))) == LONGEST * 8000
    with pytest.raises(ValueError, match="This sound lasts 1:01; it may last 60 seconds"):
        decode(written(sine(440, rate, LONGEST + 1), rate))


def test_what_an_encoder_adds_to_sixty_seconds_is_cut_off():
    mp3 = written(sine(440, 16000, LONGEST + 0.05), 16000, "MPEG_LAYER_III", "MP3")
    assert len(decode(mp3)) == LONGEST * 8000


def test_a_small_file_of_long_silence_is_read_no_further_than_a_minute(monkeypatch):
    mp3, read, taken = written(np.zeros(8000 * 300), 8000, "MPEG_LAYER_III", "MP3"), soundfile.SoundFile.read, []
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *facts, **more: taken.append(1) or read(*facts, **more))
    with pytest.raises(ValueError, match="This sound lasts 5:00"):
        decode(mp3)
    assert len(taken) == LONGEST + 1


def test_a_header_that_claims_more_than_there_is_does_no_harm():
    body = mulaw_to_pcm16(tone(440, 1000))
    claims = wav_header(2**31 - 100, 1)[:44] + body
    assert len(decode(claims)) == 8000


@pytest.mark.parametrize("rate", [1, 3999, 192_001, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_refused(rate):
    header = bytearray(wav_header(8000, 1))
    struct.pack_into("<I", header, 24, rate)
    with pytest.raises(ValueError, match=f"This file has {rate} samples a second; it has to be from 4000 to 192000"):
        decode(bytes(header) + bytes(16_000))


def test_more_channels_than_anybody_has_are_refused():
    with pytest.raises(ValueError, match="This file has 9 channels; at most 8"):
        decode(written(np.zeros((8000, 9))))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "This file is empty"),
        (b"<html>not found</html>", "not a sound file that can be read here: it has to be WAV or MP3"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), "of another kind, MP4: it has to be WAV or MP3"),
        (b"fLaC" + bytes(100), "of another kind, FLAC"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "This WAV file cannot be read: "),
        (b"ID3\x04\0\0" + bytes(200), "This MP3 file cannot be read: "),
        (wav_header(0, 1), "There is no sound in this file"),
        (wav_header(100, 1) + bytes(200), "There is no sound in this file"),
        (wav_header(8000, 1) + bytes(16_000), "There is nothing but silence in this file"),
    ],
)
def test_what_cannot_be_played_is_refused_in_words(data, words):
    with pytest.raises(ValueError, match=words):
        decode(data)


def test_a_length_that_no_header_can_have_is_not_repeated(monkeypatch):
    monkeypatch.setattr(soundfile.SoundFile, "frames", 2**60)
    with pytest.raises(ValueError, match="This sound lasts longer than that; it may last 60 seconds"):
        decode(written(sine(440, 8000, LONGEST + 1)))
