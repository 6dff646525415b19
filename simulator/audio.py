"""Sound as Twilio has it on a phone line: µ-law, one channel, 8000 bytes a second, so that a byte is a sample.

Written from ITU-T G.711 and not from what the server does, so that it can disagree with that.
"""

import struct
import wave
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from itertools import accumulate, pairwise
from math import sin, tau


SAMPLE_RATE = 8000
FRAME_SAMPLES = 160  # of a media message: 20 ms
SILENCE = b"\xff"

# G.711, table 2a: the magnitudes of 14 bits at which one code ends and the next begins. A segment has 16 codes of one
# width, twice that of the segment before it; the very first code is half as wide as its neighbours.
_ENDS = list(accumulate([1] + [2 << code // 16 for code in range(1, 128)]))
# A code sounds like the middle of what it stands for, and the first one like nothing.
_MIDDLES = [0, *((begin + end) // 2 for begin, end in pairwise(_ENDS))]
# By byte, whose bits are a code's, inverted: the first one is the sign, set for what is above zero.
_LINEAR = [_MIDDLES[~byte & 0x7F] * (1 if byte & 0x80 else -1) for byte in range(256)]
_PCM16 = [4 * sample for sample in _LINEAR]
# Magnitudes of 8 bits. Of a quiet line they are less than 8 on average, which is -30 dB.
_LOUDNESS = bytes(abs(sample) >> 5 for sample in _LINEAR)
_QUIET = 8


def mulaw_of(sample: int) -> int:
    """The byte for a sample of 16 bits."""
    linear = sample >> 2
    code = bisect_right(_ENDS, abs(linear), hi=127)
    return (0x7F if linear < 0 else 0xFF) - code


def pcm16_of(byte: int) -> int:
    """The sample of 16 bits for a byte."""
    return _PCM16[byte]


def is_loud(mulaw: bytes) -> bool:
    """Whether it is louder than a quiet line."""
    return bool(mulaw) and sum(mulaw.translate(_LOUDNESS)) >= _QUIET * len(mulaw)


@cache
def tone(hertz: int, seconds: int) -> bytes:
    """A sine at a third of full scale. It goes round in whole seconds, so it begins and ends at zero."""
    heights = (sin(tau * hertz * n / SAMPLE_RATE) for n in range(SAMPLE_RATE))
    return bytes(mulaw_of(round(10_000 * height)) for height in heights) * seconds


def stereo_wav(left: bytes, right: bytes) -> bytes:
    """A file of 16-bit PCM; both sides are µ-law, and equally long."""
    sides = array("h", bytes(4 * len(left)))
    sides[0::2], sides[1::2] = (array("h", [_PCM16[byte] for byte in side]) for side in (left, right))
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(sides.tobytes())
    return file.getvalue()


def mono_wav(audio: bytes) -> bytes:
    """A file of 16-bit PCM."""
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(array("h", [_PCM16[byte] for byte in audio]).tobytes())
    return file.getvalue()


def read_wav(data: bytes) -> bytes:
    """The µ-law of a file with 8 kHz, one channel, and PCM16 or (which `wave` cannot read) µ-law; ValueError if not."""
    if (data[:4], data[8:12]) != (b"RIFF", b"WAVE"):
        raise ValueError("not a WAV file")
    chunks = dict(_chunks(BytesIO(data[12:])))
    form, samples = chunks.get(b"fmt ", b""), chunks.get(b"data")
    if len(form) < 16 or samples is None:
        raise ValueError("a WAV file without a format or without samples")
    match struct.unpack_from("<HHI6xH", form):
        case 7, 1, 8000, 8:
            return samples
        case 1, 1, 8000, 16:
            return bytes(mulaw_of(sample) for (sample,) in struct.iter_unpack("<h", samples[: len(samples) & ~1]))
        case code, channels, rate, bits:
            raise ValueError(
                f"a WAV file of {rate} Hz, {channels} channel(s) and {bits} bits (format {code}); 8000 Hz, one channel "
                "and 16-bit PCM or µ-law are wanted: sox in.wav -r 8000 -c 1 -b 16 out.wav"
            )
    raise AssertionError("a format has four numbers")


def _chunks(file: BytesIO) -> Iterator[tuple[bytes, bytes]]:
    """Each with its name; they begin at even places."""
    while len(head := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        yield name, file.read(size)
        file.read(size % 2)
