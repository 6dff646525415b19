"""One sound from one sample rate to another, by soxr.

numpy and soxr take 0.15 s to import: `calls.media.formats` imports this module when it is needed, and a server process
has that done before calls come.

    held back    20 ms      1 s       aliases, by soxr's filter, of 0.9 of full scale at 24 kHz → 8 kHz
    25 ms        18 µs      0.8 ms    -91 dB    variable rate (ours)
    75 ms        3 µs       0.1 ms    -92 dB    MQ, HQ: in blocks, so that sound comes in jerks (118 ms at 16 kHz)
    40 ms        3 µs       0.1 ms    -92 dB    LQ: in blocks too, and 8 dB less at 3400 Hz
    none         2 µs       0.1 ms    none      QQ: no filter
"""

import numpy as np
import soxr
from numpy.typing import NDArray

from calls.media.audio import LINEAR, SAMPLE_RATE, Encoding, encode_table


Samples = NDArray[np.float32]

_MULAW_SAMPLES = np.array(LINEAR, np.float32)
_MULAW_BYTES = np.frombuffer(encode_table(), np.uint8)


class Resampler:
    """Takes whole samples, in pieces of any length, and gives as many of the other rate: the time is the same.

    float32 between the two ends: soxr dithers int16, and silence would not stay silence. The variable-rate filter is
    used at one rate, since it works sample by sample: what it holds back is 15-30 ms, and always the same.
    """

    def __init__(self, source: tuple[Encoding, int], target: tuple[Encoding, int]) -> None:
        self._source, self._target = source, target
        self._stream = soxr.ResampleStream(source[1], target[1], 1, "float32", vr=True)
        self._taken = self._given = 0

    def convert(self, data: bytes) -> bytes:
        samples = decode(data, self._source[0])
        self._taken += len(samples)
        return self._give(self._stream.resample_chunk(samples))

    def flush(self) -> bytes:
        """The end. Silence pushes it out, since by itself soxr is up to a sample short."""
        (_, rate), (_, target_rate) = self._source, self._target
        left = -(-self._taken * target_rate // rate) - self._given
        return self._give(self._stream.resample_chunk(np.zeros(rate // 10, np.float32))[:left])

    def _give(self, samples: Samples) -> bytes:
        self._given += len(samples)
        return encode(samples, self._target[0])


def resample(data: bytes, source: tuple[Encoding, int]) -> bytes:
    """A whole sound of any rate as µ-law of 8000 Hz."""
    encoding, rate = source
    return encode(soxr.resample(decode(data, encoding), rate, SAMPLE_RATE), "mulaw")


def to_line_rate(samples: Samples, rate: int) -> Samples:
    """A whole sound at 8000 samples a second; what such a line cannot carry, 4 kHz and above, is not in it."""
    return soxr.resample(samples, rate, SAMPLE_RATE) if rate != SAMPLE_RATE else samples


def pcm16_to_mulaw(data: bytes) -> bytes:
    """At one rate, as `calls.media.audio` does it, ten times as fast."""
    return bytes(_MULAW_BYTES[np.frombuffer(data, "<u2")])


def decode(data: bytes, encoding: Encoding) -> Samples:
    if encoding == "mulaw":
        return _MULAW_SAMPLES[np.frombuffer(data, np.uint8)]
    return np.frombuffer(data, "<i2").astype(np.float32)


def encode(samples: Samples, encoding: Encoding) -> bytes:
    whole = np.clip(np.rint(samples), -32768, 32767).astype("<i2")
    return bytes(_MULAW_BYTES[whole.view("<u2")]) if encoding == "mulaw" else bytes(whole)
