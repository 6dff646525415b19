"""Whether two pieces of audio are the same words in the same voice, wherever in them each lies."""

import numpy as np
import numpy.typing as npt

from calls.media.audio import LINEAR, SAMPLES_PER_MS


# Half a second of the one is looked for in the other: a pause between two sentences may be longer there.
WINDOW = 500 * SAMPLES_PER_MS
# Where a piece begins and ends is known to 5 ms, and what was cut off there is looked for all the same: of two that are
# as long as each other there would be one place alone, and a tone that lies 0.2 ms beside itself is another one.
SLACK = 20 * SAMPLES_PER_MS
#: From here on two are the same. What was decoded twice, or resampled, has 0.95 and more; another sentence 0.1 to 0.3.
ALIKE = 0.7

Floats = npt.NDArray[np.float64]
_LEVELS = np.array(LINEAR, np.float64) / 32768


def likeness(one: bytes, other: bytes) -> float:
    """From 0 to 1, of µ-law: how well the pieces of the shorter one are found in the longer one. 1.0 for silence."""
    needle, hay = sorted((_decoded(one), _decoded(other)), key=len)
    hay = np.pad(hay, SLACK)
    weights, found = [], []
    for at in range(0, len(needle), WINDOW):
        piece = needle[at : at + WINDOW]
        if power := float(piece @ piece):
            weights.append(power)
            found.append(_best(piece, hay))
    return float(np.average(found, weights=weights)) if weights else 1.0


def _decoded(audio: bytes) -> Floats:
    return _LEVELS[np.frombuffer(audio, np.uint8)]


def _best(piece: Floats, hay: Floats) -> float:
    """The largest correlation at any place, each by the power of what lies there."""
    size = 1 << (len(hay) + len(piece)).bit_length()
    product = np.fft.irfft(np.fft.rfft(hay, size) * np.fft.rfft(piece, size).conj(), size)
    product = product[: len(hay) - len(piece) + 1]
    sums = np.concatenate(([0.0], np.cumsum(hay**2)))
    powers = sums[len(piece) :] - sums[: -len(piece)]
    # What is next to nothing is like everything.
    least = 0.01 * float(piece @ piece)
    return float(np.clip(product / np.sqrt(np.maximum(powers, least) * (piece @ piece)), 0, 1).max())
