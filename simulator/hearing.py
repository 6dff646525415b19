"""What was said on a line, when, and how quickly it was answered: by level, and by likeness. Pure: µ-law in, times out.

Times are milliseconds since the lane began, exact to the sample (0.125 ms).
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.audio import FRAME_SAMPLES, SAMPLE_RATE, pcm16_of


Samples = NDArray[np.float32]

# Of 20 ms, on average: -36 dB. Quiet lines are below that, and people who speak softly above it.
_LOUD = 1 / 64
# A click is no word.
_SHORTEST = SAMPLE_RATE // 100
# From here on it is that sound. Another sentence of the same voice comes to 0.3, and to 0.7 if it begins with the same
# words; what is left of the same one after 3 % loss, to 0.98.
LIKENESS = 0.8
# A thousandth of the needle's energy (-30 dB): with less of it on the line, what is like it is noise.
_AUDIBLE = 1e-3


@dataclass(frozen=True)
class Span:
    """A stretch of speech, from its first loud sample to after its last one."""

    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Response:
    """Something was heard at `at_ms`, so long after the end of the words that it answers."""

    at_ms: float
    after_ms: float


@dataclass(frozen=True)
class Found:
    """Where a sound begins, and how much it is like the one that was looked for: 0 not at all, 1 the same."""

    at_ms: float
    likeness: float


def speech(lane: bytes, *, pause_ms: int = 300) -> list[Span]:
    """Everything that is louder than a quiet line; pauses of up to so long belong to it."""
    return [Span(_ms(begin), _ms(end)) for begin, end in _stretches(np.abs(_linear(lane)), pause_ms)]


def responses(said: bytes, heard: bytes) -> list[Response]:
    """One for each time that the caller's words were over and something was heard before the caller spoke again.

    What began while the caller still spoke answers nothing.
    """
    words, answers = speech(said), speech(heard)
    found = []
    for spoken, later in pairwise([*words, Span(float("inf"), float("inf"))]):
        if begins := [span.start_ms for span in answers if spoken.end_ms <= span.start_ms < later.start_ms]:
            found.append(Response(begins[0], begins[0] - spoken.end_ms))
    return found


def find(needle: bytes, lane: bytes) -> Found | None:
    """Where on the lane that sound is, however loud; None if nothing there is like it."""
    found = nearest(needle, lane)
    return found if found is not None and found.likeness >= LIKENESS else None


def nearest(needle: bytes, lane: bytes) -> Found | None:
    """What is most like it, be it as little as it may; None if the needle or the lane is silent.

    Normalised cross-correlation: a needle of which only a part is on the lane is that much less likely.
    """
    wanted, there = _linear(needle), _linear(lane)
    energy = float(wanted @ wanted)
    if not energy or not there.any():
        return None
    energies = np.maximum(_energies(there, len(wanted)), energy * _AUDIBLE)
    likeness = _correlation(wanted, there) / np.sqrt(energy * energies)
    at = int(likeness.argmax())
    return Found(_ms(at), min(1.0, max(0.0, float(likeness[at]))))


def _stretches(levels: Samples, pause_ms: int) -> list[tuple[int, int]]:
    """(first, after the last) loud sample of each, from the 20 ms that are loud as a whole."""
    padded = np.pad(levels, (0, -len(levels) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
    loud = np.flatnonzero(padded.mean(axis=1) >= _LOUD)
    if not len(loud):
        return []
    pieces = [_refined(levels, begin, end) for begin, end in _runs(loud)]
    joined = [pieces[0]]
    for begin, end in pieces[1:]:
        if begin - joined[-1][1] <= pause_ms * SAMPLE_RATE // 1000:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((begin, end))
    return [(begin, end) for begin, end in joined if end - begin >= _SHORTEST]


def _runs(frames: NDArray[np.intp]) -> list[tuple[int, int]]:
    """(first, after the last) of frames that follow one another."""
    ends = np.flatnonzero(np.diff(frames) > 1)
    firsts, lasts = frames[np.append(0, ends + 1)], frames[np.append(ends, len(frames) - 1)]
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]


def _refined(levels: Samples, begin: int, end: int) -> tuple[int, int]:
    """The samples of a run of frames. Its first or last words may lie in a frame that is not loud as a whole."""
    first, last = max(0, begin - 1) * FRAME_SAMPLES, (end + 1) * FRAME_SAMPLES
    loud = np.flatnonzero(levels[first:last] >= _LOUD)
    return first + int(loud[0]), first + int(loud[-1]) + 1


def _correlation(needle: Samples, lane: Samples) -> Samples:
    """For each sample of the lane, how much of the needle is there; what would lie behind the lane's end is silence."""
    size = _smooth(len(needle) + len(lane))
    spectrum = np.fft.rfft(lane, size) * np.conj(np.fft.rfft(needle, size))
    return np.fft.irfft(spectrum, size)[: len(lane)].astype(np.float32)


def _energies(lane: Samples, samples: int) -> Samples:
    """Of so many samples of the lane from each one on."""
    sums = np.zeros(len(lane) + samples)
    np.cumsum(lane * lane, dtype=np.float64, out=sums[1 : len(lane) + 1])
    sums[len(lane) + 1 :] = sums[len(lane)]
    return (sums[samples:] - sums[: len(lane)]).astype(np.float32)


def _smooth(size: int) -> int:
    """The next size that Fourier transforms are quick for: a power of 2, times 1, 3, 5, 9 or 15."""
    return min(factor << (-(-size // factor) - 1).bit_length() for factor in (1, 3, 5, 9, 15))


def _linear(lane: bytes) -> Samples:
    """Between -1 and 1."""
    return _table()[np.frombuffer(lane, np.uint8)]


@cache
def _table() -> NDArray[Any]:
    return np.array([pcm16_of(byte) / 32768 for byte in range(256)], np.float32)


def _ms(samples: int) -> float:
    return samples * 1000 / SAMPLE_RATE
