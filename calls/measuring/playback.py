"""When we were heard: the lane of what was sent and heard is known to the sample, so its loudness tells."""

import numpy as np
import numpy.typing as npt

from calls.measuring.lanes import Lane
from calls.media.audio import LINEAR, SAMPLES_PER_MS
from calls.media.conversation import joined
from calls.media.turns import Span


# Samples that are looked at together, 5 ms.
STEP = 5 * SAMPLES_PER_MS
# Below that, in dB, nothing is heard: µ-law's own least difference is at -72.
INAUDIBLE = -60.0
# What stays below -38 dB for 0.2 s, and 18 dB below what is loud, is no speech but what speech services stream between
# sentences. Where there is 0.5 s of it, only what is 6 dB louder is heard.
NEAR_SILENCE, BELOW, STEPS_OF_IT, ENOUGH_OF_IT, ABOVE = -38.0, 18.0, 40, 100, 6.0
# What digital silence has, in dB.
NOTHING = -90.0
# The loudness of such near silence is looked for anew every 20 s.
ANEW = 4000
# Sounds with no more than that between them are one; shorter ones than the second are clicks.
TOGETHER, CLICK = 60 * SAMPLES_PER_MS, 20 * SAMPLES_PER_MS

Floats = npt.NDArray[np.float32]
_POWERS = ((np.array(LINEAR, np.float32) / 32768) ** 2).astype(np.float32)


def sounds(lane: Lane) -> list[Span]:
    """Where there is something to be heard, to 5 ms. A quiet hiss between sentences is not; whatever is louder is."""
    found: list[Span] = []
    for start, audio in lane.pieces():
        for at in range(0, len(audio), ANEW * STEP):
            heard = _heard(_levels(audio[at : at + ANEW * STEP]))
            found += [Span(start + at + one * STEP, start + at + other * STEP) for one, other in heard]
    return [span for span in joined(found, TOGETHER) if span.end - span.start >= CLICK]


def _levels(audio: bytes) -> Floats:
    """In dB, of each step; what is left behind the last whole one counts as one."""
    whole = np.frombuffer(audio.ljust(-(-len(audio) // STEP) * STEP, b"\xff"), np.uint8)
    powers: Floats = _POWERS[whole].reshape(-1, STEP).mean(axis=1)
    levels: Floats = 10 * np.log10(powers + np.float32(10 ** (NOTHING / 10)))
    return levels


def _heard(levels: Floats) -> list[tuple[int, int]]:
    audible = levels > INAUDIBLE
    if not audible.any():
        return []
    quiet = np.zeros(len(levels), bool)
    most = min(NEAR_SILENCE, float(np.percentile(levels[audible], 95)) - BELOW)
    for first, last in _runs((levels < most) & (levels > NOTHING + 1)):
        if last - first >= STEPS_OF_IT:
            quiet[first:last] = True
    hiss = levels[quiet & audible]
    if len(hiss) >= ENOUGH_OF_IT:
        audible &= levels > np.percentile(hiss, 75) + ABOVE
    return _runs(audible)


def _runs(is_so: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_so, [False])).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]
