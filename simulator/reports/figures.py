"""Percentiles and sums of many calls. Exact: every value is kept, and a percentile is one that was measured."""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np

from simulator.pacer import LATE_MS
from simulator.reports.results import Result, Status


@dataclass(frozen=True)
class Spread:
    """Percentiles by nearest rank, in the unit of the values."""

    count: int
    p50: float
    p90: float
    p99: float
    worst: float


@dataclass(frozen=True)
class Figures:
    statuses: Counter[Status]
    seconds: float  # of streams
    frames_sent: int
    frames_received: int
    frames_dropped: int
    marks: Counter[str]  # by outcome: played, cleared, unreturned
    response: Spread | None  # ms
    first_audio: Spread | None  # ms
    frames: tuple["array[float]", ...]  # how late each left the simulator itself, in seconds, by call

    @property
    def calls(self) -> int:
        return self.statuses.total()

    @cached_property
    def late(self) -> Spread | None:
        """How late frames left the simulator itself, in ms. Of very many it takes a moment."""
        return late_ms(self.frames)

    @property
    def warning(self) -> str:
        """Why the figures are not the server's; empty if they are."""
        return beware(self.late)


def spread(values: Iterable[float]) -> Spread | None:
    """None if there are no values."""
    return spread_of(np.fromiter(values, float))


def spread_of(values: "np.ndarray[Any, np.dtype[np.floating[Any]]]") -> Spread | None:
    """The same of very many."""
    if not len(values):
        return None
    ranked = np.sort(values)
    p50, p90, p99 = (float(ranked[ceil(percent * len(ranked) / 100) - 1]) for percent in (50, 90, 99))
    return Spread(len(ranked), p50, p90, p99, float(ranked[-1]))


def late_ms(calls: Iterable["array[float]"]) -> Spread | None:
    """How late the frames of these calls left the simulator; seconds are given."""
    frames = [np.asarray(call, np.float32) for call in calls]
    return spread_of(1000 * np.concatenate(frames)) if frames else None


def beware(late: Spread | None) -> str:
    """Why what was measured is not the server's; empty if it is."""
    if late is None or late.p99 <= LATE_MS:
        return ""
    return (
        f"these figures are the simulator's, not the server's: it was {late.p99:.0f} ms late at p99; "
        "place fewer calls at once, or run several simulators"
    )


def figures_of(results: Iterable[Result]) -> Figures:
    results = list(results)
    streams = [stream for result in results for stream in result.report.streams]
    marks = Counter[str](outcome for stream in streams for _, outcome in stream.marks)
    marks["unreturned"] = sum(len(stream.unreturned) for stream in streams)
    first = [result.measured.first_audio_ms for result in results]
    return Figures(
        statuses=Counter[Status](result.status for result in results),
        seconds=sum(result.measured.seconds for result in results),
        frames_sent=sum(stream.frames_sent for stream in streams),
        frames_received=sum(stream.frames_received for stream in streams),
        frames_dropped=sum(stream.frames_dropped for stream in streams),
        marks=marks,
        response=spread(ms for result in results for ms in result.measured.response_ms),
        first_audio=spread(ms for ms in first if ms is not None),
        frames=tuple(result.late for result in results),
    )
