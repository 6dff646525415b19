"""Who speaks in a lane, told by the detector that handlers use: the same model, the same thresholds.

A live stream's windows come one after the other; those of a recording are all there. So a lane is cut into segments,
each with some seconds of what comes before it for the model to settle, and the windows of 64 segments are judged in one
run, which costs a tenth of what they cost one by one. What is digitally silent is not judged.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from threading import Lock

import numpy as np

from calls.measuring.lanes import Lane
from calls.media.audio import SAMPLES_PER_MS
from calls.media.turns import WINDOW, Span, Turns
from calls.speech.detector import Loudness, available
from calls.speech.silero import AT_ONCE, Silero, Voice


# Silence that ends a span. Handlers wait longer, for the end of a turn; here one is made of spans.
END_SILENCE = 300 * SAMPLES_PER_MS
# Windows of a segment, and of those before it that the model hears first: 8 s and 1.5 s.
SEGMENT, BEFORE = 250, 47
# Silence shorter than that is judged all the same: the model goes on for some windows after a word.
GAP = 47
# µ-law of 0 and of the least that is not 0: nobody hears that.
SILENT = bytes([0xFF, 0x7F, 0xFE, 0x7E])

Segment = tuple[int, int]


def spans(lane: Lane) -> list[Span]:
    """Where somebody speaks, as the detector has it: each begins 0.2 s early and ends up to 0.3 s late."""
    turns = Turns(END_SILENCE)
    found = [turns.hear(position, likely) for position, likely in _likelihoods(lane)]
    return [span for span in (*found, turns.advance(lane.samples + END_SILENCE), turns.finish()) if span]


def _likelihoods(lane: Lane) -> Iterator[tuple[int, float]]:
    """Windows in order, and how likely each is speech."""
    for start, audio in lane.pieces():
        segments = [(start + first * WINDOW, start + last * WINDOW) for first, last in _segments(audio)]
        for at in range(0, len(segments), AT_ONCE):
            together = segments[at : at + AT_ONCE]
            for (first, _), judged in zip(together, _judge(lane, together), strict=True):
                yield from ((first + nth * WINDOW, one) for nth, one in enumerate(judged))


def _segments(audio: bytes) -> Iterator[Segment]:
    """What is not silent of a piece, in windows from its beginning."""
    loud = np.frombuffer(audio.translate(_IS_LOUD).ljust(-(-len(audio) // WINDOW) * WINDOW, b"\0"), np.uint8)
    windows = np.flatnonzero(loud.reshape(-1, WINDOW).any(axis=1))
    if not len(windows):
        return
    breaks = np.flatnonzero(np.diff(windows) > GAP)
    firsts = windows[np.concatenate(([0], breaks + 1))]
    lasts = windows[np.concatenate((breaks, [len(windows) - 1]))] + GAP
    end = len(loud) // WINDOW
    for first, last in zip(firsts, lasts, strict=True):
        for at in range(int(first), min(int(last) + 1, end), SEGMENT):
            yield at, min(at + SEGMENT, int(last) + 1, end)


def _judge(lane: Lane, segments: Sequence[Segment]) -> list[list[float]]:
    """Of each segment its windows; all of them in step, each with the model's memory of what was before it."""
    begins = [max(0, first - BEFORE * WINDOW) for first, _ in segments]
    audio = [lane.read(begin, last) for begin, (_, last) in zip(begins, segments, strict=True)]
    voices = [Voice() for _ in segments]
    judged: list[list[float]] = [[] for _ in segments]
    for at in range(0, max(map(len, audio)), WINDOW):
        going = [nth for nth, one in enumerate(audio) if at < len(one)]
        with _ONE_AT_A_TIME:
            likely = _model().judge([(voices[nth], audio[nth][at : at + WINDOW]) for nth in going])
        for nth, one in zip(going, likely, strict=True):
            judged[nth].append(one)
    firsts = ((first - begin) // WINDOW for begin, (first, _) in zip(begins, segments, strict=True))
    return [one[first:] for one, first in zip(judged, firsts, strict=True)]


# The model serves one thread at a time; calls that are over and calls that run are heard in two.
_ONE_AT_A_TIME = Lock()
_IS_LOUD = bytes(byte not in SILENT for byte in range(256))


@cache
def _model() -> Silero | Loudness:
    """This process's."""
    return available()
