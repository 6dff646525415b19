"""µ-law (G.711) and PCM16, WAV headers, silence and peaks. Everything is 8000 samples a second, one channel a lane.

One µ-law byte is one sample, so lengths in bytes and in samples are the same number: 8 a millisecond.
"""

import struct
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from math import pi, sin
from typing import Literal


SAMPLE_RATE = 8000
SAMPLES_PER_MS = 8
# One of Twilio's media messages: 20 ms (https://www.twilio.com/docs/voice/media-streams/websocket-messages).
FRAME_SAMPLES = 160
SILENCE = b"\xff"

WAV_HEADER_SIZE = 44
PCM16, MULAW = 1, 7
# What is below is no rate of a sound but a broken file.
_LOWEST_RATE = 1000
Encoding = Literal["pcm16", "mulaw"]

_BIAS = 0x84
_CLIP = 32635


def _decode(byte: int) -> int:
    """One µ-law byte as a linear sample of 16 bits (ITU-T G.711, with its values scaled by 4)."""
    byte = ~byte & 0xFF
    magnitude = (((byte & 0x0F) << 3) + _BIAS << (byte >> 4 & 0x07)) - _BIAS
    return -magnitude if byte & 0x80 else magnitude


def _encode(sample: int) -> int:
    """One linear sample as a µ-law byte. The two lowest bits are dropped first, as G.711's 14 bits have it."""
    sample >>= 2
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _CLIP >> 2) + (_BIAS >> 2)
    segment = magnitude.bit_length() - 6
    return ~(sign | segment << 4 | magnitude >> segment + 1 & 0x0F) & 0xFF


LINEAR = [_decode(byte) for byte in range(256)]
_LOW = bytes(sample & 0xFF for sample in LINEAR)
_HIGH = bytes(sample >> 8 & 0xFF for sample in LINEAR)
# Loudness as 7 bits: what a waveform needs, monotonic in the sample's magnitude.
_LOUDNESS = bytes(min(abs(sample) >> 8, 127) for sample in LINEAR)


@cache
def encode_table() -> bytes:
    """µ-law of every 16-bit sample, by its unsigned value: 64 KiB, made on first use."""
    return bytes(_encode(value - 0x10000 if value & 0x8000 else value) for value in range(0x10000))


def mulaw_to_pcm16(mulaw: bytes) -> bytes:
    """Little-endian PCM16, twice as long."""
    pcm = bytearray(2 * len(mulaw))
    pcm[0::2] = mulaw.translate(_LOW)
    pcm[1::2] = mulaw.translate(_HIGH)
    return bytes(pcm)


def pcm16_to_mulaw(pcm: bytes) -> bytes:
    """µ-law of little-endian PCM16, half as long. ValueError if a sample is cut in two."""
    if len(pcm) % 2:
        raise ValueError(f"PCM16 has two bytes a sample; {len(pcm)} bytes are not a whole number of samples")
    table = encode_table()
    return bytes([table[sample] for (sample,) in struct.iter_unpack("<H", pcm)])


def stereo(left: bytes, right: bytes, encoding: Encoding = "pcm16") -> bytes:
    """Two µ-law lanes of one length, interleaved as WAV wants them: 4 bytes a sample, or 2 as µ-law.

    Slices and `translate` render an hour in 0.14 s and hold the GIL only in short runs of C.
    """
    if len(left) != len(right):
        raise ValueError(f"both lanes have to be equally long, not {len(left)} and {len(right)} samples")
    if encoding == "mulaw":
        mixed = bytearray(2 * len(left))
        mixed[0::2], mixed[1::2] = left, right
        return bytes(mixed)
    mixed = bytearray(4 * len(left))
    mixed[0::4], mixed[1::4] = left.translate(_LOW), left.translate(_HIGH)
    mixed[2::4], mixed[3::4] = right.translate(_LOW), right.translate(_HIGH)
    return bytes(mixed)


def sample_width(channels: int, encoding: Encoding = "pcm16") -> int:
    """Bytes of a WAV body per sample of time."""
    return channels * (1 if encoding == "mulaw" else 2)


def wav_header(samples: int, channels: int, encoding: Encoding = "pcm16") -> bytes:
    """The 44 bytes before that many samples a channel. Past 4 GiB the size is capped."""
    width = sample_width(channels, encoding)
    size = min(samples * width, 0xFFFFFFFF - WAV_HEADER_SIZE)
    code, bits = (MULAW, 8) if encoding == "mulaw" else (PCM16, 16)
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", size + WAV_HEADER_SIZE - 8, b"WAVE", b"fmt ", 16, code, channels),
        *(SAMPLE_RATE, SAMPLE_RATE * width, width, bits, b"data", size),
    )


def read_wav(data: bytes) -> bytes:
    """The µ-law samples, 8000 a second, of a WAV file: mono, PCM16 or µ-law, of any rate.

    ValueError says what else it is. Another rate than 8000 holds the event loop for up to 20 ms a minute.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("not a WAV file")
    form: tuple[int, ...] = ()
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt " and len(body) >= 16:
            form = struct.unpack_from("<HHIIHH", body)
        if name == b"data" and form:
            return _samples(body, form)
        at += 8 + size + size % 2
    raise ValueError("a WAV file without a format or without samples")


def _samples(body: bytes, form: tuple[int, ...]) -> bytes:
    code, channels, rate, _, _, bits = form
    if channels != 1 or (code, bits) not in ((PCM16, 16), (MULAW, 8)) or rate < _LOWEST_RATE:
        raise ValueError(
            f"{rate} Hz, {channels} channel(s), {bits} bits, format {code}; it has to be mono, 16-bit PCM or µ-law. "
            "`sox in.wav -r 8000 -c 1 -b 16 out.wav` makes one."
        )
    if code == PCM16:
        body = body[: len(body) // 2 * 2]
    if rate != SAMPLE_RATE:
        # numpy and soxr; who reads none of these files needs neither.
        from calls.media.resampler import resample

        return resample(body, ("pcm16" if code == PCM16 else "mulaw", rate))
    return body if code == MULAW else pcm16_to_mulaw(body)


def is_speech(mulaw: bytes, threshold: int = 4) -> bool:
    """Whether the mean loudness of a frame (0-127) reaches the threshold; 4 is about -30 dB, a quiet line is below."""
    return bool(mulaw) and sum(mulaw.translate(_LOUDNESS)) >= threshold * len(mulaw)


def peaks(mulaw: bytes, samples: int = FRAME_SAMPLES, *, step: int = 1) -> bytes:
    """The loudest sample of every `samples` (the last run may be shorter), as 0-127; `step` looks at each nth only."""
    loud = mulaw.translate(_LOUDNESS)
    return bytes([max(loud[at : at + samples : step]) for at in range(0, len(loud), samples)])


def peaks_of_many(runs: Sequence[bytes], samples: int = FRAME_SAMPLES, *, step: int = 1) -> list[bytes]:
    """`peaks` of each, with numpy: from two runs on it is faster, at forty six times."""
    import numpy as np

    whole = [run if len(run) % samples == 0 else run + SILENCE * (-len(run) % samples) for run in runs]
    loud = np.frombuffer(b"".join(whole).translate(_LOUDNESS), np.uint8).reshape(-1, samples)
    tops = loud[:, ::step].max(axis=1).tobytes()
    ends = [*accumulate(len(run) // samples for run in whole)]
    return [tops[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def loudest(mulaw: bytes, *, step: int = 1) -> int:
    """The loudest of every `step`th sample, as 0-127; 0 of nothing."""
    return max(mulaw[::step].translate(_LOUDNESS), default=0)


def tone(hertz: float, milliseconds: int, level: float = 0.3) -> bytes:
    """A µ-law sine with 5 ms of fade at both ends, so that it does not click."""
    samples = milliseconds * SAMPLES_PER_MS
    fade = 5 * SAMPLES_PER_MS
    edges = (min(1.0, n / fade, (samples - 1 - n) / fade) for n in range(samples))
    wave = (int(32767 * level * edge * sin(2 * pi * hertz * n / SAMPLE_RATE)) for n, edge in enumerate(edges))
    return pcm16_to_mulaw(struct.pack(f"<{samples}h", *wave))
