"""µ-law (G.711) and PCM16, WAV headers, silence and peaks. Everything is 8000 samples a second, one channel a lane.

One µ-law byte is one sample, so lengths in bytes and in samples are the same number: 8 a millisecond.
"""

import struct
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from math import pi, sin
from typing import Literal


SAMPLE_RATE = 8000
SAMPLES_PER_MS = 8
# One of Twilio's media messages: 20 ms (https://www.twilio.com/docs/voice/media-streams/websocket-messages).
FRAME_SAMPLES = 160
SILENCE = b"\xff"

WAV_HEADER_SIZE = 44
PCM16, MULAW = 1, 7
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
    """The µ-law samples of a WAV file: 8000 Hz, mono, PCM16 or µ-law. ValueError says what else it is."""
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
    if (channels, rate) == (1, SAMPLE_RATE) and (code, bits) in ((PCM16, 16), (MULAW, 8)):
        return body if code == MULAW else pcm16_to_mulaw(body[: len(body) // 2 * 2])
    raise ValueError(
        f"{rate} Hz, {channels} channel(s), {bits} bits, format {code}; it has to be 8000 Hz, mono, PCM16 or µ-law. "
        "`sox in.wav -r 8000 -c 1 -b 16 out.wav` makes one."
    )


# How the sound files begin that are most often taken for raw samples: WAV, Ogg, FLAC, MP3 with a tag.
_FILES = (b"RIFF", b"OggS", b"fLaC", b"ID3\x03\x00", b"ID3\x04\x00")
# What is looked at in one go, in bytes: 0.26 s of µ-law.
_WINDOW = 2048
_HIGH_NIBBLE = bytes(byte >> 4 for byte in range(256))


class Examiner:
    """Notices audio that is not µ-law. It looks at the first seconds of a stream only, since it costs 0.2 ms a window.

    Of little-endian PCM16 every other byte is the high one. The low ones are as good as random, the high ones are not;
    or (a tone, loud or decoded from µ-law) the numbers follow each other smoothly, and as µ-law they do not. In µ-law
    all bytes are alike. Tests hold it against speech, tones, DTMF, dings and noise: µ-law is never taken for PCM16.
    """

    # Windows that are looked at in one call, and altogether; silent ones do not count.
    AT_ONCE, ALTOGETHER, REACH = 4, 16, 64
    # This many smooth windows in a row are no coincidence; a hissed consonant makes one or two.
    IN_A_ROW = 4

    def __init__(self) -> None:
        self._left = self.ALTOGETHER
        self._smooth = 0
        self._collected = b""

    def objection(self, audio: bytes) -> str:
        """What this is instead of µ-law, and what to do; "" if nothing is wrong with it."""
        if audio.startswith(_FILES):
            return "this is a sound file, not raw µ-law: calls.media.audio.read_wav(data) returns a WAV file's samples"
        if self._left and self._is_pcm16(audio):
            return "this is 16-bit PCM, not µ-law: calls.media.audio.pcm16_to_mulaw(data) makes that of it, at 8000 Hz"
        return ""

    def _is_pcm16(self, audio: bytes) -> bool:
        self._collected = collected = self._collected + audio[: self.REACH * _WINDOW]
        if len(collected) < _WINDOW:
            return False
        self._collected = b""
        until = max(self._left - self.AT_ONCE, 0)
        for at in range(0, len(collected) - _WINDOW + 1, _WINDOW):
            if self._left > until and self._shows_pcm16(collected[at : at + _WINDOW]):
                return True
        return False

    def _shows_pcm16(self, window: bytes) -> bool:
        # Silence is silence in both.
        if len(set(window)) < 8:
            return False
        self._left -= 1
        self._smooth = self._smooth + 1 if _is_smooth(window[:512]) else 0
        return self._smooth == self.IN_A_ROW or _has_random_halves(window)


def _has_random_halves(window: bytes) -> bool:
    """Whether the even bytes or the odd ones are spread evenly, the others are not like them, and PCM16 is smooth.

    A µ-law ding of 1000 or 2000 Hz may have such halves too, but as PCM16 it is rough: 0.65 at least, of thousands that
    were made at random. Speech is mostly below 0.3.
    """
    halves = [[half.count(value) / len(half) for value in range(16)] for half in _nibbles(window)]
    apart = sum(abs(low - high) for low, high in zip(*halves, strict=True)) / 2
    spread = any(max(half) <= 0.12 and sum(part > 0.01 for part in half) >= 15 for half in halves)
    return apart >= 0.25 and spread and _roughness(_around_zero(window)) < 0.3


def _around_zero(window: bytes) -> list[int]:
    """The window as PCM16, without its direct current."""
    pcm16 = struct.unpack(f"<{len(window) // 2}h", window)
    middle = sum(pcm16) // len(pcm16)
    return [sample - middle for sample in pcm16]


def _nibbles(window: bytes) -> tuple[bytes, bytes]:
    high = window.translate(_HIGH_NIBBLE)
    return high[0::2], high[1::2]


def _is_smooth(window: bytes) -> bool:
    """Whether it runs smoothly as PCM16 and not as µ-law."""
    pcm16 = struct.unpack(f"<{len(window) // 2}h", window)
    return _roughness(pcm16) < 0.3 and 0.6 < _roughness([LINEAR[byte] for byte in window]) < 1.4


def _roughness(samples: Sequence[int]) -> float:
    """How far each sample is from the one before it: 0 for a slow wave, 1 for noise, 2 for the fastest tone."""
    energy = sum(sample * sample for sample in samples)
    if not energy:
        return 0.0
    return sum((a - b) * (a - b) for a, b in pairwise(samples)) / (2 * energy)


def is_speech(mulaw: bytes, threshold: int = 4) -> bool:
    """Whether the mean loudness of a frame (0-127) reaches the threshold; 4 is about -30 dB, a quiet line is below."""
    return bool(mulaw) and sum(mulaw.translate(_LOUDNESS)) >= threshold * len(mulaw)


def peaks(mulaw: bytes, samples: int = FRAME_SAMPLES, *, step: int = 1) -> bytes:
    """The loudest sample of every `samples` (the last run may be shorter), as 0-127; `step` looks at each nth only."""
    loud = mulaw.translate(_LOUDNESS)
    return bytes([max(loud[at : at + samples : step]) for at in range(0, len(loud), samples)])


def tone(hertz: float, milliseconds: int, level: float = 0.3) -> bytes:
    """A µ-law sine with 5 ms of fade at both ends, so that it does not click."""
    samples = milliseconds * SAMPLES_PER_MS
    fade = 5 * SAMPLES_PER_MS
    edges = (min(1.0, n / fade, (samples - 1 - n) / fade) for n in range(samples))
    wave = (int(32767 * level * edge * sin(2 * pi * hertz * n / SAMPLE_RATE)) for n, edge in enumerate(edges))
    return pcm16_to_mulaw(struct.pack(f"<{samples}h", *wave))
