"""What a run came to: one result a call, in the order in which they were planned, and what was tested when."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePath
from typing import Any, Literal

from simulator.report import Finding, Report
from simulator.reports.masking import masked
from simulator.reports.measuring import Measured, Sound, measure, sound_of
from simulator.scenario import Scenario


def _no_frames() -> "array[float]":
    return array("f")


LONGEST = 400  # characters

Status = Literal["ok", "failed", "interrupted", "not run"]


@dataclass(frozen=True)
class Planned:
    """One call that is to be played."""

    file: str
    scenario: Scenario
    number: int  # among all calls of the run, from 1
    nth: int = 1  # among the calls of its scenario, from 1 ...
    of: int = 1  # ... to this

    @property
    def name(self) -> str:
        return self.scenario.name or PurePath(self.file).stem

    @property
    def title(self) -> str:
        return self.name if self.of == 1 else f"{self.name}, call {self.nth} of {self.of}"


@dataclass(frozen=True)
class Logged:
    """A line of a call's log."""

    at: float  # seconds since the call began
    text: str


@dataclass(frozen=True)
class Fault:
    text: str
    where: str  # the file and, if a line of it asked for it, the line


@dataclass(frozen=True)
class Result:
    """What came of one call; its texts can be told to anyone, and its report has no audio any more."""

    planned: Planned
    status: Status = "not run"
    report: Report = field(default_factory=lambda: Report(""))
    measured: Measured = field(default_factory=Measured)
    summary: str = ""  # one line
    log: tuple[Logged, ...] = ()
    began: datetime | None = None
    took: float = 0.0  # seconds, with every request
    late: "array[float]" = field(default_factory=_no_frames)  # of each frame of ours, in seconds
    sound: Sound | None = None  # None: nothing was said or heard, or it was let go
    wav: str = ""  # where --save put it
    shown: bool = False  # with everything about it, on the page

    @property
    def failed(self) -> bool:
        return self.status == "failed"

    @property
    def reason(self) -> str:
        """What was wrong first, in one line that is not too long."""
        reason = self.report.reason
        return reason if len(reason) <= LONGEST else f"{reason[: LONGEST - 2]} …"

    @property
    def faults(self) -> list[Fault]:
        """Everything that was wrong."""
        broken = [finding for finding in self.report.findings if not finding.ok]
        return [Fault(error, self._where(error, broken)) for error in self.report.errors]

    def _where(self, error: str, broken: list[Finding]) -> str:
        lines = [finding.line for finding in broken if finding.line is not None and finding.what in error]
        return f"{self.planned.file}:{lines[0]}" if lines else self.planned.file


@dataclass(frozen=True)
class Run:
    """A run that is over."""

    results: tuple[Result, ...]
    addresses: tuple[str, ...]  # that were tested, without tokens
    version: str  # of the simulator
    began: datetime
    took: float  # seconds
    interrupted: bool = False

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if result.failed]

    @property
    def shown(self) -> list[Result]:
        return [result for result in self.results if result.shown]

    @property
    def files(self) -> dict[str, list[Result]]:
        """The results of each file, in the order in which the files were given."""
        files: dict[str, list[Result]] = {}
        for result in self.results:
            files.setdefault(result.planned.file, []).append(result)
        return files

    @property
    def scenarios(self) -> dict[tuple[str, str], list[Result]]:
        """The results of each scenario, by its file and name."""
        scenarios: dict[tuple[str, str], list[Result]] = {}
        for result in self.results:
            scenarios.setdefault((result.planned.file, result.planned.name), []).append(result)
        return scenarios


def judge(planned: Planned, report: Report, log: Iterable[Logged] = (), **facts: Any) -> Result:
    """The result of a call that is over: measured, and with nothing in it that cannot be told. `facts`: as they are."""
    sound, secret = sound_of(report), planned.scenario.auth_token
    silent = replace(report, streams=[replace(stream, sent=b"", heard=[]) for stream in report.streams])
    return Result(
        planned=planned,
        status="ok" if report.ok else "failed",
        report=masked(silent, secret),
        measured=measure(sound, report.seconds),
        summary=masked(report.summary(), secret),
        log=masked(tuple(log), secret),
        sound=sound if sound.said or sound.heard else None,
        **facts,
    )
