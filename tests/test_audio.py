"""µ-law against CPython's own tables, WAV files against the standard library, loudness and tones."""

import io
import math
import struct
import warnings
import wave
from itertools import pairwise
from types import ModuleType

import pytest

from calls.media import audio


@pytest.fixture(scope="module")
def audioop() -> ModuleType:
    """CPython's G.711 up to 3.12; deprecated there, gone in 3.13."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return pytest.importorskip("audioop", exc_type=ImportError)


ALL_BYTES = bytes(range(256))
ALL_SAMPLES = struct.pack("<65536h", *range(-32768, 32768))


def test_every_byte_decodes_as_cpython_decodes_it(audioop):
    assert audio.mulaw_to_pcm16(ALL_BYTES) == audioop.ulaw2lin(ALL_BYTES, 2)


def test_every_sample_encodes_as_cpython_encodes_it(audioop):
    assert audio.pcm16_to_mulaw(ALL_SAMPLES) == audioop.lin2ulaw(ALL_SAMPLES, 2)


@pytest.mark.parametrize(("byte", "sample"), [(0x00, -32124), (0x80, 32124), (0x7F, 0), (0xFF, 0), (0x8F, 16764)])
def test_bytes_decode_to_the_values_of_g711(byte, sample):
    assert audio.mulaw_to_pcm16(bytes([byte])) == struct.pack("<h", sample)


@pytest.mark.parametrize(("sample", "byte"), [(0, 0xFF), (-32768, 0x00), (32767, 0x80), (32124, 0x80), (-1, 0x7E)])
def test_samples_encode_to_the_values_of_g711(sample, byte):
    assert audio.pcm16_to_mulaw(struct.pack("<h", sample)) == bytes([byte])


def test_every_byte_but_negative_zero_survives_the_way_there_and_back():
    there_and_back = audio.pcm16_to_mulaw(audio.mulaw_to_pcm16(ALL_BYTES))
    assert there_and_back == ALL_BYTES.replace(b"\x7f", b"\xff")


def test_silence_is_ff_and_not_00():
    assert audio.mulaw_to_pcm16(audio.SILENCE) == b"\x00\x00"


def test_nothing_converts_to_nothing():
    assert (audio.mulaw_to_pcm16(b""), audio.pcm16_to_mulaw(b""), audio.stereo(b"", b"")) == (b"", b"", b"")


def test_a_sample_cut_in_two_is_refused():
    with pytest.raises(ValueError, match="3 bytes are not a whole number of samples"):
        audio.pcm16_to_mulaw(b"abc")


def test_stereo_interleaves_left_and_right_as_pcm16():
    assert audio.stereo(b"\x00\xff", b"\x80\x7f") == struct.pack("<4h", -32124, 32124, 0, 0)


def test_stereo_interleaves_left_and_right_as_mulaw():
    assert audio.stereo(b"ac", b"bd", "mulaw") == b"abcd"


@pytest.mark.parametrize("encoding", ["pcm16", "mulaw"])
def test_lanes_of_two_lengths_are_refused(encoding):
    with pytest.raises(ValueError, match="not 2 and 1 samples"):
        audio.stereo(b"ab", b"c", encoding)


@pytest.mark.parametrize(
    ("channels", "encoding", "width"), [(1, "pcm16", 2), (2, "pcm16", 4), (1, "mulaw", 1), (2, "mulaw", 2)]
)
def test_a_sample_of_time_has_the_width_of_all_channels(channels, encoding, width):
    assert audio.sample_width(channels, encoding) == width


def test_the_standard_library_reads_what_we_write():
    body = audio.stereo(b"\x00\x80\xff", b"\xff\x00\x80")
    with wave.open(io.BytesIO(audio.wav_header(3, 2) + body)) as file:
        assert file.getparams()[:4] == (2, 2, 8000, 3)
        assert file.readframes(9) == body


def test_a_mulaw_header_states_format_7_and_8_bits():
    header = audio.wav_header(5, 2, "mulaw")
    assert len(header) == audio.WAV_HEADER_SIZE
    assert struct.unpack("<HHIIHH", header[20:36]) == (7, 2, 8000, 16000, 2, 8)
    assert struct.unpack("<I", header[40:]) == (10,)


def test_the_size_of_a_recording_past_4_gib_is_capped():
    header = audio.wav_header(2**40, 2)
    riff, data = struct.unpack("<I", header[4:8])[0], struct.unpack("<I", header[40:])[0]
    assert (riff, data) == (2**32 - 1 - 8, 2**32 - 1 - 44)


def wav(code: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, data: bytes = b"\x00\x00\x84\x82") -> bytes:
    chunks = b"fmt " + struct.pack("<IHHIIHH", 16, code, channels, rate, rate * bits // 8, bits // 8, bits)
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def test_a_pcm16_file_is_read_as_mulaw():
    assert audio.read_wav(wav()) == b"\xff\x00"


def test_a_mulaw_file_is_read_as_it_is():
    assert audio.read_wav(wav(code=7, bits=8, data=b"abc")) == b"abc"


@pytest.mark.parametrize("rate", [11025, 22050, 24000, 44100, 48000])
def test_a_file_of_another_rate_is_read_at_that_of_a_telephone(rate):
    sine = [int(9000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(rate)]
    samples = struct.unpack(
        "<8000h", audio.mulaw_to_pcm16(audio.read_wav(wav(rate=rate, data=struct.pack(f"<{rate}h", *sine))))
    )
    assert sum(a < 0 <= b for a, b in pairwise(samples)) in (439, 440)
    assert max(samples) == pytest.approx(9000, rel=0.05)


def test_a_mulaw_file_of_another_rate_is_read_too():
    assert audio.read_wav(wav(code=7, bits=8, rate=16000, data=b"\x9a" * 16_000)).count(b"\x9a") > 7900


def test_chunks_that_nobody_needs_are_passed_over_with_their_padding():
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\x00"
    assert audio.read_wav(wav()[:12] + extra + wav()[12:]) == b"\xff\x00"


def test_a_file_that_was_cut_short_gives_the_whole_samples_it_has():
    assert audio.read_wav(wav()[:-1]) == b"\xff"


def test_a_size_that_a_pipe_left_open_means_the_rest_of_the_file():
    open_end = wav().replace(b"data\x04\x00\x00\x00", b"data\xff\xff\xff\xff")
    assert audio.read_wav(open_end) == b"\xff\x00"


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"rate": 0}, "0 Hz"),
        ({"channels": 2}, "2 channel"),
        ({"bits": 8}, "8 bits, format 1"),
        ({"code": 7}, "16 bits, format 7"),
        ({"code": 0xFFFE}, "format 65534"),
    ],
)
def test_another_format_is_refused_by_its_name_and_with_a_remedy(facts, named):
    with pytest.raises(ValueError, match=f"{named}.*sox"):
        audio.read_wav(wav(**facts))


@pytest.mark.parametrize("data", [b"", b"RIFF", b"ID3\x04 an mp3 file", b"RIFF____AVI x", b"RIFX____WAVEx"])
def test_what_is_not_a_wav_file_is_refused(data):
    with pytest.raises(ValueError, match="not a WAV file"):
        audio.read_wav(data)


@pytest.mark.parametrize(
    "data",
    [
        wav()[:12],  # nothing
        wav()[:36],  # a format, no samples
        wav()[:12] + wav()[36:],  # samples, no format
        wav()[:30],  # half a format
        wav()[:12] + b"fmt \x02\x00\x00\x00\x01\x00" + wav()[36:],  # a format of two bytes
    ],
)
def test_a_wav_file_without_format_or_samples_is_refused(data):
    with pytest.raises(ValueError, match="without a format or without samples"):
        audio.read_wav(data)


def test_a_quiet_line_is_not_speech():
    assert not audio.is_speech(b"\xff\x7f\xfe\x7e" * 40)


def test_a_tone_is_speech_whatever_its_sign():
    assert audio.is_speech(b"\x00" * 160)
    assert audio.is_speech(b"\x80" * 160)


def test_no_audio_is_not_speech():
    assert not audio.is_speech(b"")


def test_speech_begins_at_the_threshold():
    loudness_5 = audio.pcm16_to_mulaw(struct.pack("<h", 1340)) * 160
    assert audio.is_speech(loudness_5, threshold=5)
    assert not audio.is_speech(loudness_5, threshold=6)


def test_one_click_in_a_quiet_frame_is_not_speech():
    assert not audio.is_speech(b"\xff" * 159 + b"\x00")


def test_the_loudest_sample_is_looked_for_among_every_nth():
    quiet, loud = b"\xff", b"\x00"
    assert audio.loudest(quiet * 4 + loud + quiet * 3) == 125
    assert audio.loudest(quiet * 4 + loud + quiet * 3, step=3) == 0
    assert audio.loudest(b"") == 0


def test_peaks_are_the_loudest_samples_of_every_run_and_of_the_rest():
    assert audio.peaks(b"\xff\x00\xff" + b"\xff\xff\xff" + b"\x80", 3) == bytes([125, 0, 125])


def test_a_frame_has_one_peak_and_nothing_has_none():
    assert (audio.peaks(b"\xff" * 160), audio.peaks(b"")) == (b"\x00", b"")


@pytest.mark.parametrize("step", [1, 3])
def test_the_peaks_of_many_are_those_of_each(step):
    sound = bytes(range(256)) * 10
    runs = [sound[:length] for length in (1600, 0, 160, 161, 7, 2400)]
    assert audio.peaks_of_many(runs, step=step) == [audio.peaks(run, step=step) for run in runs]
    assert audio.peaks_of_many([]) == []


def test_a_tone_has_its_length_its_frequency_and_its_level():
    samples = struct.unpack("<8000h", audio.mulaw_to_pcm16(audio.tone(440, 1000)))
    rises = sum(a < 0 <= b for a, b in pairwise(samples))
    assert rises in (439, 440)
    assert max(samples) == pytest.approx(0.3 * 32767, rel=0.05)


def test_a_tone_fades_in_and_out_so_that_it_does_not_click():
    samples = struct.unpack("<800h", audio.mulaw_to_pcm16(audio.tone(1000, 100, level=1)))
    assert max(map(abs, samples[:4] + samples[-4:])) < 3300 < 32000 < max(samples)


def test_a_tone_of_no_length_is_empty():
    assert audio.tone(440, 0) == b""
