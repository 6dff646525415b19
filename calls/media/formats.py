"""What speech services give and take, made into what a telephone carries (µ-law, 8000 Hz), and back.

A converter is made for one sound, and takes it in chunks of any size, odd ones too. What comes out is the same whatever
the chunks were, byte for byte, and lasts as long as what went in, to the sample. A second of sound costs 1 ms; give it
no more at once, since the event loop waits.
"""

from collections.abc import Callable
from typing import get_args

from calls.media.audio import SAMPLE_RATE, mulaw_to_pcm16, pcm16_to_mulaw
from calls.media.audio import Encoding as Encoding


RATES = (8000, 16000, 24000, 48000)


class Converter:
    """One sound's. After `flush` the next chunk begins another sound."""

    def __init__(self, width: int, convert: Callable[[bytes], bytes], end: Callable[[], bytes] = bytes) -> None:
        self._width = width
        self._convert, self._end = convert, end
        self._rest = b""

    def convert(self, chunk: bytes) -> bytes:
        """As much as is certain by now; where the rate changes the last 15-30 ms come with the next chunk."""
        if self._width == 1:
            return self._convert(chunk)
        chunk = self._rest + chunk
        whole = len(chunk) - len(chunk) % self._width
        self._rest = chunk[whole:]
        return self._convert(chunk[:whole])

    def flush(self) -> bytes:
        """The end of the sound. Half a sample that is left is dropped: by now an error would help nobody."""
        self._rest = b""
        return self._end()


def to_mulaw(encoding: Encoding, rate: int) -> Converter:
    """To µ-law of 8000 Hz, which itself stays as it is; ValueError for an encoding or a rate that is none of ours."""
    return _converter((encoding, rate), ("mulaw", SAMPLE_RATE))


def from_mulaw(encoding: Encoding, rate: int) -> Converter:
    """From µ-law of 8000 Hz; ValueError as for `to_mulaw`."""
    return _converter(("mulaw", SAMPLE_RATE), (encoding, rate))


def load() -> None:
    """Imports what converts, 0.15 s: a server process does it before calls come."""
    to_mulaw("pcm16", 24000)


def _converter(source: tuple[Encoding, int], target: tuple[Encoding, int]) -> Converter:
    for encoding, rate in (source, target):
        if encoding not in get_args(Encoding):
            raise ValueError(f'encoding is "mulaw" or "pcm16" (16 bits, little-endian), not {encoding!r}')
        if type(rate) is not int or rate not in RATES:
            raise ValueError(f"rate is 8000, 16000, 24000 or 48000 samples a second, not {rate!r}")
    width = 1 if source[0] == "mulaw" else 2
    if source[1] != target[1]:
        from calls.media.resampler import Resampler

        resampler = Resampler(source, target)
        return Converter(width, resampler.convert, resampler.flush)
    if source[0] == target[0]:
        return Converter(width, bytes)
    return Converter(width, pcm16_to_mulaw if source[0] == "pcm16" else mulaw_to_pcm16)
