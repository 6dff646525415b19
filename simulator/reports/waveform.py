"""Both lanes of a call as a picture: SVG without a script, readable without a style sheet."""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np

from simulator.audio import SAMPLE_RATE, pcm16_of
from simulator.reports.markup import el
from simulator.reports.measuring import Sound


WIDTH, LANE, GAP, FLAG = 960, 76, 22, 16
COLUMNS = WIDTH // 2
ROWS = 3  # of flags, one above the other where they are close
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600)
# Blue and orange can be told apart by whoever sees no red, on white and on black.
SAID, HEARD, BROKEN = "#2f7ed8", "#d9730d", "#b3261e"

_LEVELS = np.abs([pcm16_of(byte) for byte in range(256)]) / 32768


@dataclass(frozen=True)
class Flag:
    """Something that came about at a time."""

    number: int
    at_ms: float
    text: str
    is_broken: bool = False  # what was expected here did not come about

    @property
    def label(self) -> str:
        return f"{self.number}!" if self.is_broken else str(self.number)


def waveform(sound: Sound, flags: list[Flag], name: str) -> Element:
    samples = max(len(sound.said), 1)
    scale = WIDTH / samples
    top = ROWS * (FLAG + 2) + 18
    below = top + LANE + GAP
    bottom = below + LANE
    return el(
        "svg",
        *_axis(samples / SAMPLE_RATE, top, bottom),
        *_lane(sound.said, top, SAID, "the caller"),
        *_lane(sound.heard, below, HEARD, "what the caller heard"),
        *_flags(flags, scale * SAMPLE_RATE / 1000, bottom),
        viewBox=f"0 0 {WIDTH} {bottom + 20}",
        role="img",
        aria_label=name,
        class_="waveform",
        fill="currentColor",
        font_family="system-ui, sans-serif",
        font_size="12",
    )


def outline(lane: bytes, columns: int) -> list[float]:
    """How loud it was at most in each part, 0 to 1; quiet speech is drawn larger than it is, so that it can be seen."""
    if not lane:
        return [0.0] * columns
    levels = _LEVELS[np.frombuffer(lane, np.uint8)]
    begins = np.arange(columns) * len(levels) // columns
    peaks = np.maximum.reduceat(levels, begins)
    return [float(value) for value in peaks**0.6]


def _lane(lane: bytes, top: int, colour: str, name: str) -> Iterator[Element]:
    middle, half = top + LANE / 2, LANE / 2
    heights = (round(half * share) for share in outline(lane, COLUMNS))
    bars = "".join(f"M{2 * n + 1} {middle - h:g}v{2 * h}" for n, h in enumerate(heights) if h)
    yield el("text", name, x="2", y=str(top - 5))
    yield _line(0, middle, WIDTH, middle, stroke=colour, opacity="0.5")
    yield el("path", d=bars, stroke=colour, stroke_width="2", fill="none")


def _axis(seconds: float, top: int, bottom: int) -> Iterator[Element]:
    """Seconds, not more than a dozen of them."""
    step = next((step for step in STEPS if seconds / step <= 12), STEPS[-1] * 2)
    for n in range(int(seconds / step) + 1):
        x = round(n * step / max(seconds, step) * WIDTH, 1) if seconds else 0
        yield _line(x, top, x, bottom, stroke="currentColor", opacity="0.15")
        if x < WIDTH - 24:
            yield el("text", f"{n * step:g} s", x=f"{x + 3:g}", y=str(bottom + 15), opacity="0.75")


def _flags(flags: list[Flag], scale: float, bottom: int) -> Iterator[Element]:
    """A line each; its number where there is room."""
    ends = [-1.0] * ROWS
    for flag in flags:
        x = min(round(flag.at_ms * scale, 1), WIDTH - 1.0)
        width = 6 + 7 * len(flag.label)
        row = next((row for row in range(ROWS) if ends[row] < x), None)
        yield el(
            "g",
            el("title", f"{flag.number}: {flag.text}"),
            _line(x, 2 if row is None else row * (FLAG + 2) + 2, x, bottom, stroke="currentColor", opacity="0.4"),
            *(() if row is None else _plate(flag, min(x, WIDTH - width), row * (FLAG + 2) + 2, width)),
        )
        if row is not None:
            ends[row] = x + width + 2


def _plate(flag: Flag, x: float, y: int, width: int) -> tuple[Element, Element]:
    fill, middle = BROKEN if flag.is_broken else "#5b6470", f"{x + width / 2:g}"
    return (
        el("rect", x=f"{x:g}", y=str(y), width=str(width), height=str(FLAG), rx="3", fill=fill),
        el("text", flag.label, x=middle, y=str(y + 12), text_anchor="middle", fill="#ffffff", font_size="11"),
    )


def _line(x1: float, y1: float, x2: float, y2: float, **how: str) -> Element:
    return el("line", x1=f"{x1:g}", y1=f"{y1:g}", x2=f"{x2:g}", y2=f"{y2:g}", **how)
