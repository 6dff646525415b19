"""The simulator's own sound: G.711 by its table, and the files that it reads and writes."""

import struct

import pytest

from calls.media import audio as ours
from simulator.audio import is_loud, mono_wav, mulaw_of, mulaw_wav, pcm16_of, read_wav, stereo_wav, tone


SPEECH = bytes(range(256)) * 2


def wav(form, *, samples=SPEECH, before=b""):
    body = b"WAVE" + before + b"fmt " + struct.pack("<IHHIIHH", 16, *form) + b"data" + struct.pack("<I", len(samples))
    return b"RIFF" + struct.pack("<I", len(body) + len(samples)) + body + samples


@pytest.mark.parametrize(
    ("sample", "byte"),
    [(0, 0xFF), (-1, 0x7E), (4, 0xFE), (-4, 0x7E), (123, 0xF0), (124, 0xEF), (32767, 0x80), (-32768, 0x00)],
)
def test_a_sample_has_the_byte_that_g711_gives_it(sample, byte):
    assert mulaw_of(sample) == byte


def test_the_server_and_the_simulator_agree_on_every_sample():
    pcm16 = struct.pack("<65536h", *range(-32768, 32768))
    assert bytes(mulaw_of(sample) for sample in range(-32768, 32768)) == ours.pcm16_to_mulaw(pcm16)
    assert stereo_wav(SPEECH, SPEECH[::-1])[44:] == ours.stereo(SPEECH, SPEECH[::-1])


def test_a_file_of_mulaw_is_read_as_it_is():
    assert read_wav(wav((7, 1, 8000, 8000, 1, 8))) == SPEECH


@pytest.mark.parametrize("samples", [SPEECH, SPEECH[:3], b""])
def test_what_is_written_is_read_as_it_was(samples):
    assert read_wav(mulaw_wav(samples)) == samples
    assert [*map(mulaw_of, map(pcm16_of, read_wav(mono_wav(samples))))] == [*map(mulaw_of, map(pcm16_of, samples))]


def test_two_channels_of_mulaw_have_twice_the_rate():
    assert struct.unpack_from("<HHIIHH", mulaw_wav(SPEECH, channels=2), 20) == (7, 2, 8000, 16000, 2, 8)


def test_a_file_of_pcm_becomes_mulaw_and_half_a_sample_is_left_out():
    pcm16 = struct.pack("<3h", 0, 123, -32768)
    assert read_wav(wav((1, 1, 8000, 16000, 2, 16), samples=pcm16 + b"\x01")) == b"\xff\xf0\x00"


def test_what_else_stands_in_a_file_is_passed_over():
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\x00"
    assert read_wav(wav((7, 1, 8000, 8000, 1, 8), before=odd)) == SPEECH


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"ID3\x04", "not a WAV file"),
        (b"RIFF\x00\x00\x00\x00WAVE", "without a format"),
        (wav((1, 2, 44100, 176400, 4, 16)), r"44100 Hz, 2 channel\(s\) and 16 bits"),
        (wav((3, 1, 8000, 32000, 4, 32)), r"32 bits \(format 3\).* are wanted: sox in.wav"),
    ],
)
def test_any_other_file_is_refused_with_what_it_is(data, fault):
    with pytest.raises(ValueError, match=fault):
        read_wav(data)


def test_a_tone_is_loud_and_goes_round_in_whole_seconds():
    assert tone(350, 2) == tone(350, 1) * 2
    assert tone(350, 1)[0] == 0xFF
    assert is_loud(tone(350, 1))


@pytest.mark.parametrize("quiet", [b"", b"\xff" * 160, bytes([mulaw_of(900), mulaw_of(-900)]) * 80])
def test_silence_and_a_quiet_line_are_not_loud(quiet):
    assert not is_loud(quiet)
