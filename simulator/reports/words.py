"""Figures in words, for a terminal and for whatever else shows text."""

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from simulator.reports.figures import Figures, Spread, figures_of
from simulator.reports.masking import masked_text
from simulator.reports.results import Result, Run
from simulator.scenario import Scenario


# More than these are counted and not listed.
LISTED = 20


def ms(value: float) -> str:
    """A time: whole milliseconds, and tenths where they say something."""
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def figure_lines(figures: Figures) -> Iterator[str]:
    yield from waited_lines(figures)
    if figures.late:
        yield f"simulator      {percentiles(figures.late)} late ({counted(figures.late.count, 'frame')})"
    if figures.warning:
        yield f"warning: {figures.warning}"


def waited_lines(figures: Figures) -> Iterator[str]:
    """What callers waited for."""
    if figures.response:
        yield f"response time  {percentiles(figures.response)} ({counted(figures.response.count, 'answer')})"
    if figures.first_audio:
        yield f"first audio    {percentiles(figures.first_audio)} ({counted(figures.first_audio.count, 'call')})"
    if marks := marks_line(figures):
        yield f"marks          {marks}"


def marks_line(figures: Figures) -> str:
    return ", ".join(
        f"{figures.marks[outcome]:,} {outcome}" for outcome in sorted(figures.marks) if figures.marks[outcome]
    )


def tested(scenarios: Iterable[Scenario]) -> tuple[str, ...]:
    """The addresses that are called, each once, without what only they and the server know."""
    return tuple(dict.fromkeys(masked_text(_address(scenario)) for scenario in scenarios))


def _address(scenario: Scenario) -> str:
    url = urlsplit(scenario.voice_url)
    shown = url._replace(netloc=url.netloc.rpartition("@")[2], query="…" if url.query else "", fragment="").geturl()
    return f"{shown} at {scenario.server}" if scenario.server and not shown.startswith(scenario.server) else shown


def verdict(run: Run) -> str:
    """The headline."""
    statuses = figures_of(run.results).statuses
    calls, is_one = counted(len(run.results), "call"), len(run.results) == 1
    if run.interrupted:
        over = statuses["ok"] + statuses["failed"]
        return f"interrupted: {over:,} of {calls} played, {statuses['failed']:,} failed"
    if statuses["failed"]:
        return "the call failed" if is_one else f"{statuses['failed']:,} of {calls} failed"
    return "the call went well" if is_one else f"all {calls} went well"


def summary(run: Run) -> str:
    """What a run says when it is over; the verdict is its last line."""
    failed = run.failed
    return "\n".join(
        [
            *(line for results in run.scenarios.values() for line in _scenario(results)),
            "",
            *figure_lines(figures_of(run.results)),
            *(failure_line(result) for result in failed[:LISTED]),
            *([f"and {len(failed) - LISTED:,} more"] if len(failed) > LISTED else []),
            verdict(run),
        ]
    )


def _scenario(results: list[Result]) -> Iterator[str]:
    figures, planned = figures_of(results), results[0].planned
    counts = ", ".join(f"{count} {status}" for status, count in figures.statuses.items())
    response = f"; response p50 {ms(figures.response.p50)}, p99 {ms(figures.response.p99)}" if figures.response else ""
    yield f"{planned.file}: {planned.name}: {counts}{response}"


def failure_line(result: Result) -> str:
    fault = result.faults[0]
    return f"FAILED {fault.where}: {result.planned.title}: {' '.join(fault.text.split())}"


def percentiles(spread: Spread) -> str:
    return f"p50 {ms(spread.p50)}, p90 {ms(spread.p90)}, p99 {ms(spread.p99)}, worst {ms(spread.worst)}"
