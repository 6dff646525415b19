"""The run as one page that needs no other file: for whoever opens a red build's artifacts."""

import re
from base64 import b64encode
from collections import defaultdict
from hashlib import sha256
from pathlib import Path
from xml.etree.ElementTree import Element

from simulator.reports.details import anchor, data_url, details, file_url
from simulator.reports.figures import Figures, Spread, figures_of
from simulator.reports.markup import Child, el, html, table
from simulator.reports.results import Result, Run
from simulator.reports.style import CSS
from simulator.reports.words import counted, marks_line, ms, verdict


# A page of some megabytes can still be opened: the rest is in the JSON, and in the files that --save writes.
AUDIO_BYTES = 3_000_000
REASONS = 50

_NUMBER = re.compile(r"\b[A-Z]{2}[0-9a-f]{32}\b|\d+(?:\.\d+)?")


def page(run: Run, folder: Path = Path()) -> str:
    """`folder`: where it will lie, so that it finds the files of --save."""
    figures = figures_of(run.results)
    title = verdict(run)
    body = el(
        "body",
        el(
            "main", el("h1", title, class_="failed" if run.failed else "ok"), _about(run), *_parts(run, figures, folder)
        ),
    )
    return html(el("html", _head(f"{title}: simulator"), body, lang="en"))


def _parts(run: Run, figures: Figures, folder: Path) -> list[Child]:
    return [
        el("p", f"Beware: {figures.warning}.", class_="warning", role="note") if figures.warning else None,
        _tiles(figures, run),
        _percentiles(figures) if figures.late or figures.first_audio else None,
        _reasons(run),
        _scenarios(run),
        *_calls(run, folder),
    ]


def _head(title: str) -> Element:
    """Nothing is loaded and nothing runs, even if a server's text got through: the page says so itself."""
    digest = b64encode(sha256(CSS.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; media-src 'self' data: file:; base-uri 'none'"
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", title),
        el("style", CSS),
    )


def _about(run: Run) -> Element:
    facts = [
        ("tested", ", ".join(run.addresses)),
        ("scenarios", ", ".join(run.files)),
        ("began", run.began.strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("took", f"{run.took:.1f} s"),
        ("by", run.version),
    ]
    return el("dl", *(el(tag, text) for name, text in facts for tag, text in (("dt", name), ("dd", text))))


def _tiles(figures: Figures, run: Run) -> Element:
    tiles = [(f"{count:,}", str(status)) for status, count in figures.statuses.items()]
    tiles += [(f"{figures.seconds:,.0f} s", "of conversation"), (f"{figures.frames_sent:,}", "frames sent")]
    tiles += [(f"{figures.frames_received:,}", "frames received")]
    marks = marks_line(figures)
    items = [el("li", el("b", value), f" {name}") for value, name in tiles]
    return el(
        "ul",
        *items,
        el("li", el("b", f"{figures.marks.total():,}"), f" marks: {marks}") if marks else None,
        class_="tiles",
    )


def _percentiles(figures: Figures) -> Element:
    rows = [
        _spread("Response time", figures.response, "answer"),
        _spread("First audio", figures.first_audio, "call"),
        _spread("Frames that left the simulator late", figures.late, "frame"),
    ]
    return table("How long callers waited", ["What", "p50", "p90", "p99", "worst", "of"], rows)


def _spread(name: str, spread: Spread | None, of: str) -> list[Child]:
    if spread is None:
        return [name, "–", "–", "–", "–", f"no {of}s"]
    values = (spread.p50, spread.p90, spread.p99, spread.worst)
    return [name, *(ms(value) for value in values), counted(spread.count, of)]


def _reasons(run: Run) -> Element | None:
    """What went wrong how often, whatever the times and numbers in it; with links to the calls that are shown."""
    if len(run.failed) < 2:
        return None
    calls: dict[str, list[Result]] = defaultdict(list)
    for result in run.failed:
        calls[_NUMBER.sub("", result.reason)].append(result)
    named = {result.planned.number for result in run.shown}
    rows: list[list[Child]] = [
        [results[0].reason, str(len(results)), _links([result for result in results if result.planned.number in named])]
        for results in sorted(calls.values(), key=len, reverse=True)[:REASONS]
    ]
    return table("Why calls failed", ["First thing that was wrong", "Calls", "See"], rows)


def _links(results: list[Result]) -> Element:
    links = [el("a", f"#{result.planned.number}", href=f"#{anchor(result)}") for result in results[:8]]
    more: list[Child] = ["…"] if len(results) > len(links) else []
    return el("span", *(child for link in links for child in (link, " ")), *more)


def _scenarios(run: Run) -> Element:
    rows = [_scenario(name, file, figures_of(results)) for (file, name), results in run.scenarios.items()]
    heads = ["Scenario", "File", "Calls", "Failed", "Response p50", "p99", "First audio p50"]
    return table(counted(len(rows), "scenario"), heads, rows)


def _scenario(name: str, file: str, figures: Figures) -> list[Child]:
    failed = figures.statuses["failed"]
    response = [ms(figures.response.p50), ms(figures.response.p99)] if figures.response else ["–", "–"]
    first = ms(figures.first_audio.p50) if figures.first_audio else "–"
    return [
        name,
        file,
        f"{figures.calls:,}",
        el("strong", str(failed), class_="failed") if failed else "0",
        *response,
        first,
    ]


def _calls(run: Run, folder: Path) -> list[Child]:
    results, left = run.shown, AUDIO_BYTES
    if not results:
        return []
    parts: list[Child] = [el("h2", "Calls that failed" if all(result.failed for result in results) else "Calls")]
    silent = 0
    for result in results:
        wav = file_url(result.wav, folder) if result.wav else _embedded(result, left)
        left -= len(wav) if wav.startswith("data:") else 0
        silent += not wav and result.sound is not None
        parts.append(details(result, wav, is_open=len(results) <= 3))
    return [*parts, *_left_out(run, len(results), silent)]


def _embedded(result: Result, left: int) -> str:
    """Its sound, if the page has room for it."""
    if result.sound is None or len(result.sound.said) * 8 // 3 > left:
        return ""
    return data_url(result.sound)


def _left_out(run: Run, results: int, silent: int) -> list[Child]:
    more = len([result for result in run.failed if not result.shown])
    return [
        el("p", f"{counted(more, 'more call')} failed; the page shows the first {results}, --json has them all.")
        if more > 0
        else None,
        el("p", f"The sound of {counted(silent, 'call')} would make this page too big: --save FOLDER keeps every WAV.")
        if silent
        else None,
    ]
