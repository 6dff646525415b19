"""How far a run is, on a terminal: a block of lines that is drawn anew. Anywhere else: plain lines as calls end."""

import shutil
import sys
from dataclasses import dataclass
from typing import TextIO

from simulator.reports.figures import Spread, beware, figures_of
from simulator.reports.results import Result
from simulator.reports.words import counted, failure_line, percentiles, waited_lines


# Of more calls, a plain output names only those that fail.
NAMED = 50
UP_AND_CLEAR = "\x1b[{}F\x1b[J"
BAR = 24


@dataclass(frozen=True)
class Now:
    """How far a run is."""

    over: tuple[Result, ...]
    calls: int  # of the whole run
    alive: int
    frames_a_second: float
    late: Spread | None  # ms, of the frames of the last seconds
    seconds: float  # since the run began


def block(now: Now) -> list[str]:
    """What a terminal shows."""
    figures, done = figures_of(now.over), round(BAR * len(now.over) / now.calls)
    warning = beware(now.late)
    return [
        f"{'█' * done}{'░' * (BAR - done)} {_progress(now)}",
        f"frames         {now.frames_a_second:,.0f} sent a second",
        *waited_lines(figures),
        *([f"simulator      {percentiles(now.late)} late"] if now.late else []),
        *([f"warning: {warning}"] if warning else []),
    ]


def line(now: Now) -> str:
    """The same, where nothing is drawn."""
    response = figures_of(now.over).response
    waited = f"; response time {percentiles(response)}" if response else ""
    return f"{_progress(now)}{waited}" + (f"; warning: {warning}" if (warning := beware(now.late)) else "")


def _progress(now: Now) -> str:
    failed = sum(result.failed for result in now.over)
    clock = f"{int(now.seconds) // 60}:{int(now.seconds) % 60:02}"
    return f"{len(now.over):,} of {counted(now.calls, 'call')} over, {failed:,} failed, {now.alive:,} alive, {clock}"


class Display:
    """Tells of a run while it runs; `quiet`: only of calls that fail."""

    def __init__(self, calls: int, quiet: bool = False, to: TextIO | None = None) -> None:
        self._to, self._quiet, self._calls = to or sys.stderr, quiet, calls
        self._drawn = 0  # lines of the block that stands there

    @property
    def is_drawn(self) -> bool:
        return not self._quiet and self._to.isatty()

    def ended(self, result: Result) -> None:
        """A line for a call that is over, above the block."""
        if result.failed:
            self.say(failure_line(result))
        elif not self._quiet and not self.is_drawn and self._calls <= NAMED:
            self.say(f"{result.status:<6} {result.planned.file}: {result.planned.title}: {result.report.ended}")

    @property
    def every(self) -> float:
        """Seconds from one to the next."""
        return 0.5 if self.is_drawn else 10

    def lines(self, now: Now) -> list[str]:
        return block(now) if self.is_drawn else [line(now)]

    def show(self, lines: list[str]) -> None:
        """Draws the block anew, or says a line."""
        if self.is_drawn:
            self._draw(lines)
        elif not self._quiet:
            self.say("\n".join(lines))

    def close(self) -> None:
        if self._drawn:
            self._draw([])

    def say(self, line: str) -> None:
        """A line that stays."""
        self._draw([])
        print(line, file=self._to, flush=True)

    def _draw(self, lines: list[str]) -> None:
        width = shutil.get_terminal_size().columns - 1
        erased = UP_AND_CLEAR.format(self._drawn) if self._drawn else ""
        self._to.write(erased + "".join(f"{line[:width]}\n" for line in lines))
        self._to.flush()
        self._drawn = len(lines)
