"""What the streams of this process have counted, added up for whoever scrapes it: now and then, not with each frame."""

from typing import Any

from calls import metrics
from calls.media.audio import FRAME_SAMPLES


_FIGURES = {
    "frames_received": metrics.frames.labels("inbound"),
    "frames_sent": metrics.frames.labels("outbound"),
    "frames_missing": metrics.frames_missing,
    "frames_rejected": metrics.frames_rejected,
    "handler_overruns": metrics.handler_overruns,
}


class Tally:
    """One stream's. What it counts may fall, since late frames fill holes: a figure never does, and so waits for it."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told = dict.fromkeys(_FIGURES, 0)

    def take(self, counters: dict[str, Any], *, sent: int) -> None:
        """What is new since the last time; `sent` in samples."""
        now = {**counters, "frames_sent": sent // FRAME_SAMPLES}
        for name, told in self._told.items():
            if now[name] > told:
                _FIGURES[name].inc(now[name] - told)
                self._told[name] = now[name]
