"""What speech services give and take, made into what a telephone carries (µ-law, 8000 Hz), and back.

A converter is made for one sound, and takes it in chunks of any size, odd ones too. What comes out is the same whatever
the chunks were, byte for byte, and lasts as long as what went in, to the sample. A second of sound costs 1 ms; give it
no more at once, since the event loop waits.
"""

from collections.abc import Callable
from typing import get_args

from calls.media.audio import SAMPLE_RATE, mulaw_to_pcm16
from calls.media.audio import Encoding as Encoding
from calls.media.examiner import Examiner


#: An encoding and a rate in samples a second.
Form = tuple[Encoding, int]
PLAIN: Form = ("mulaw", SAMPLE_RATE)
RATES = (8000, 16000, 24000, 48000)


class Converter:
    """One sound's, from its first chunk to `flush`."""

    def __init__(
        self,
        convert: Callable[[bytes], bytes],
        end: Callable[[], bytes] = bytes,
        *,
        width: int = 1,
        objection: Callable[[bytes], str] | None = None,
    ) -> None:
        self._convert, self._end = convert, end
        self._width = width
        self._objection = objection
        self._rest = b""

    @property
    def holds(self) -> bool:
        """Whether `flush` may have something left to say."""
        return self._end is not bytes

    def convert(self, chunk: bytes) -> bytes:
        """As much as is certain by now; where the rate changes the last 15-30 ms come with the next chunk.

        ValueError for what is not what it was said to be, mostly in the first half second: it says what to do.
        """
        if self._objection and (objection := self._objection(chunk)):
            raise ValueError(objection)
        if self._width > 1:
            chunk = self._rest + chunk
            whole = len(chunk) - len(chunk) % self._width
            chunk, self._rest = chunk[:whole], chunk[whole:]
        return self._convert(chunk)

    def flush(self) -> bytes:
        """The end of the sound. Half a sample that is left is dropped: by now an error would help nobody."""
        return self._end()


def to_mulaw(encoding: Encoding, rate: int) -> Converter:
    """To µ-law of 8000 Hz, which itself stays as it is; ValueError for an encoding or a rate that is none of ours.

    It looks at what it converts (`calls.media.examiner`), since what is not audio is noise in the caller's ear.
    """
    _check(encoding, rate)
    objection = Examiner(encoding).objection
    if rate != SAMPLE_RATE:
        return _resampling((encoding, rate), PLAIN, objection)
    if encoding == "mulaw":
        return Converter(bytes, objection=objection)
    from calls.media.resampler import pcm16_to_mulaw

    return Converter(pcm16_to_mulaw, width=2, objection=objection)


def from_mulaw(encoding: Encoding, rate: int) -> Converter:
    """From µ-law of 8000 Hz; ValueError as for `to_mulaw`."""
    _check(encoding, rate)
    if rate != SAMPLE_RATE:
        return _resampling(PLAIN, (encoding, rate))
    return Converter(bytes if encoding == "mulaw" else mulaw_to_pcm16)


def load() -> None:
    """Imports what converts, which takes 0.1 s: a server process does it before calls come."""
    to_mulaw("pcm16", 24000)


def _check(encoding: object, rate: object) -> None:
    if encoding not in get_args(Encoding):
        raise ValueError(f'encoding is "mulaw" or "pcm16" (16 bits, little-endian), not {encoding!r}')
    if type(rate) is not int or rate not in RATES:
        raise ValueError(f"rate is 8000, 16000, 24000 or 48000 samples a second, not {rate!r}")


def _resampling(source: Form, target: Form, objection: Callable[[bytes], str] | None = None) -> Converter:
    from calls.media.resampler import Resampler

    resampler = Resampler(source, target)
    width = 1 if source[0] == "mulaw" else 2
    return Converter(resampler.convert, resampler.flush, width=width, objection=objection)
