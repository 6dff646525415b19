"""Where speech really begins and ends, near where the detector says so.

Silero ends 0.3 s late to 0.2 s early: it goes on after a vowel, and takes a last s or t for noise. So the sound itself
is asked: how much louder is each 5 ms, in its three loudest bands, than what the line carries while nobody speaks? The
edge is where the sum of that, less a toll for each 5 ms, is largest (a cumulative sum, as Page's test has it): a soft
consonant pays for the closure before it, and a click of a keyboard does not. What a line carries decides the toll,
which is raised until the line alone would hardly move an edge. Where the sound says little, the detector's usual delay
counts.

With 30 dB between speech and noise the edges are within 15 ms of the true ones; with 20 dB those of 98 in 100 within
60 ms: there the s of "six" is no louder than the noise. `python -m tests.trials.conversations` measures it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calls.measuring.lanes import Lane
from calls.media.audio import LINEAR, SAMPLES_PER_MS
from calls.media.conversation import joined
from calls.media.turns import LEAD, Span


Floats = npt.NDArray[np.float32]

# Samples of a step, 5 ms, and of the window around it, 16 ms.
STEP, WINDOW = 5 * SAMPLES_PER_MS, 128
# Edges of the bands, in Hz; what is below is hum. Of them the loudest few count: a vowel has others than an s.
BANDS = (200, 400, 700, 1000, 1500, 2000, 2600, 3200, 3950)
LOUDEST = 3
# How far below the voice, in dB, a sound is heard no more beside it; and the least that two levels of a line differ.
FAINT, LEAST = 30.0, 1.5
# A silence that is quieter than the line by so many deviations is neither: the line has begun behind it.
QUIETER = 2.0
# In steps: how far the edge may lie from its usual place, into the speech and away from it.
INTO, AWAY = 62, 48
# How much before and behind these is looked at: the voice, and the line without it.
VOICE, QUIET = 1000 * SAMPLES_PER_MS, 1600 * SAMPLES_PER_MS
# Steps of the line alone that suffice to know it; below the second number nothing is known.
ENOUGH, TOO_FEW = 100, 20
# Where the detector's edges usually lie, in samples behind the true ones: its ends, and its onsets.
LATE_END, LATE_ONSET = 90 * SAMPLES_PER_MS, 5 * SAMPLES_PER_MS


@dataclass(frozen=True)
class Toll:
    """What a step costs, and the most that it may bring; how far, in ms, the edge usually is from its usual place."""

    cost: float
    most: float
    weight: float = 0.4
    spread: float = 50.0


# From the steadiest line to the most restless one, and what the line alone may move an edge by, in steps on average.
TOLLS = (Toll(1.0, 4.0, 1.0, 80.0), Toll(1.5, 2.5), Toll(2.0, 2.5), Toll(2.5, 4.0), Toll(3.0, 4.0))
UNMOVED = 4.0

_LEVELS = (np.array(LINEAR, np.float32) / 32768).astype(np.float32)
_HANN = np.hanning(WINDOW).astype(np.float32)
_BINS = [round(hertz * WINDOW / 8000) for hertz in BANDS]


def refined(lane: Lane, spans: list[Span]) -> list[Span]:
    """The spans of a detector, each as long as the sound itself."""
    # Only a piece of a turn that goes on ends where the next one begins.
    whole = joined(spans, 0)
    found = []
    for nth, span in enumerate(whole):
        since = whole[nth - 1].end if nth else 0
        until = whole[nth + 1].start if nth + 1 < len(whole) else lane.samples
        start = _start(lane, span, since)
        end = _end(lane, span, until)
        if start < end:
            found.append(Span(start, end))
    return found


def _end(lane: Lane, span: Span, until: int) -> int:
    usual = span.end - LATE_END
    first = max(span.start, usual - VOICE)
    heard = _decoded(lane, first, min(usual + QUIET, max(until, span.end)))
    before = _decoded(lane, max(span.start - VOICE, 0), span.start)
    return first + _edge(heard, usual - first, before)


def _start(lane: Lane, span: Span, since: int) -> int:
    usual = span.start + LEAD - LATE_ONSET
    last = min(span.end, usual + VOICE)
    # Backwards in time, a beginning is an end.
    heard = _decoded(lane, max(min(since, span.start), usual - QUIET, 0), last)[::-1]
    behind = _decoded(lane, span.end, min(span.end + VOICE, lane.samples))
    return max(last - _edge(heard, last - usual, behind), 0)


def _decoded(lane: Lane, start: int, stop: int) -> Floats:
    return _LEVELS[np.frombuffer(lane.read(start, stop), np.uint8)] if start < stop else np.zeros(0, np.float32)


def _edge(heard: Floats, usual: int, elsewhere: Floats) -> int:
    """Where the voice ends that `heard` begins with, which usually is at `usual`; `elsewhere` it is silent too."""
    powers = _powers(heard)
    middle = usual // STEP
    low, high = max(middle - INTO, 0), min(middle + AWAY, len(powers))
    if low >= high:
        return usual
    faint = _faint(powers[:middle])
    line = _decibels(powers[high:], faint)
    if len(line) < ENOUGH:
        line = np.concatenate([line, _decibels(_powers(elsewhere), faint)])
    if len(line) < TOO_FEW:
        return usual
    told, alone = _told(_decibels(powers[low:high], faint), line, faint)
    toll = next((toll for toll in TOLLS if _moved(alone, toll) <= UNMOVED), TOLLS[-1])
    gain = toll.weight * np.cumsum(_gains(told, toll))
    away = (np.arange(low + 1, high + 1) * STEP - usual) / (SAMPLES_PER_MS * toll.spread)
    return (low + 1 + int(np.argmax(gain - away**2 / 2))) * STEP


def _powers(audio: Floats) -> Floats:
    """Of each whole step, by band; the window lies around the step's middle."""
    count = len(audio) // STEP
    if not count:
        return np.zeros((0, len(BANDS) - 1), np.float32)
    padded = np.pad(audio, ((WINDOW - STEP) // 2, WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP][:count]
    spectrum = np.abs(np.fft.rfft(frames * _HANN, axis=1)) ** 2 / ((_HANN**2).sum() * WINDOW)
    return np.add.reduceat(spectrum[:, : _BINS[-1]], _BINS[:-1], axis=1).astype(np.float32)


def _faint(voice: Floats) -> float:
    """The power, in each band, of what is not heard beside that voice."""
    loud = float(np.percentile(voice.sum(axis=1), 90)) if len(voice) else 0.0
    return max(loud * 10 ** (-FAINT / 10) / (len(BANDS) - 1), 1e-9)


def _decibels(powers: Floats, faint: float) -> Floats:
    levels: Floats = 10 * np.log10(powers + np.float32(faint))
    return levels


def _told(levels: Floats, line: Floats, faint: float) -> tuple[Floats, Floats]:
    """How far each step stands out of the line, and each step of the line itself, in its own usual deviations."""
    usual = np.median(line, axis=0)
    spread = np.maximum(1.48 * np.median(np.abs(line - usual), axis=0), LEAST)
    step, alone = (_stands_out(one, usual, spread, faint) for one in (levels, line))
    middle = np.nanmedian(alone)
    deviation = max(1.48 * float(np.nanmedian(np.abs(alone - middle))), 0.3)
    return (step - middle) / deviation, (alone - middle) / deviation


def _stands_out(levels: Floats, usual: Floats, spread: Floats, faint: float) -> Floats:
    deviations = (levels - usual) / spread
    audible = (10 ** (levels / 10)).sum(axis=1) > 2 * faint * levels.shape[1]
    above, below = (np.sort(one, axis=1)[:, -LOUDEST:].mean(axis=1) for one in (deviations, -deviations))
    out: Floats = np.where(audible, np.maximum(above, below - 1), above)
    out[~audible & (above < -QUIETER)] = np.nan
    return out


def _gains(told: Floats, toll: Toll) -> Floats:
    gains: Floats = np.nan_to_num(np.clip(told, -1, toll.most) - toll.cost, nan=0.0)
    return gains


def _moved(alone: Floats, toll: Toll) -> float:
    """By how many steps the line alone would move an edge, on average over many places in it."""
    length = 30
    if len(alone) < length + 10:
        return 0.0
    sums = np.cumsum(np.lib.stride_tricks.sliding_window_view(_gains(alone, toll), length)[::5], axis=1)
    return float(np.where(sums.max(axis=1) > 0, sums.argmax(axis=1) + 1, 0).mean())
