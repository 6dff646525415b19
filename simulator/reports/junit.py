"""JUnit's XML, as Jenkins, GitLab and GitHub read it: a suite a file, a case a call.

Nobody owns the format. What the strictest of its readers has no name for is left out:
https://github.com/jenkinsci/xunit-plugin (junit-10.xsd).
"""

from collections.abc import Iterable
from pathlib import PurePath
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from simulator.reports.figures import figures_of
from simulator.reports.masking import masked_text
from simulator.reports.results import Result, Run
from simulator.reports.words import figure_lines, ms


def junit(run: Run) -> bytes:
    root = Element("testsuites", {"name": "simulator", **_counts(run.results), "time": f"{run.took:.3f}"})
    for file, results in run.files.items():
        _suite(root, run, file, results)
    indent(root)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _counts(results: Iterable[Result], skipped: bool = False) -> dict[str, str]:
    """`errors` are for what a test could not find out; a call always tells."""
    statuses = [result.status for result in results]
    counts = {"tests": len(statuses), "failures": statuses.count("failed"), "errors": 0}
    if skipped:
        counts["skipped"] = statuses.count("interrupted") + statuses.count("not run")
    return {name: str(count) for name, count in counts.items()}


def _suite(root: Element, run: Run, file: str, results: list[Result]) -> None:
    name = masked_text(file)
    suite = SubElement(root, "testsuite", {"name": name, "file": name, **_counts(results, skipped=True)})
    suite.set("time", f"{sum(result.took for result in results):.3f}")
    suite.set("timestamp", run.began.strftime("%Y-%m-%dT%H:%M:%S"))
    properties = SubElement(suite, "properties")
    for name, value in _properties(run, results):
        SubElement(properties, "property", name=name, value=value)
    for result in results:
        _case(suite, result)


def _properties(run: Run, results: list[Result]) -> list[tuple[str, str]]:
    figures = figures_of(results)
    spreads = [("response time", figures.response), ("first audio", figures.first_audio)]
    named = [(name, spread) for name, spread in spreads if spread]
    return [
        ("simulator", run.version),
        *(("tested", address) for address in run.addresses),
        *(
            (f"{name} {percent}", ms(getattr(spread, percent)))
            for name, spread in named
            for percent in ("p50", "p90", "p99")
        ),
        *([("warning", figures.warning)] if figures.warning else []),
    ]


def _case(suite: Element, result: Result) -> None:
    planned = result.planned
    case = SubElement(suite, "testcase", name=masked_text(planned.title), classname=_class_of(planned.file))
    case.set("time", f"{result.took:.3f}")
    if result.failed:
        _fail(case, result)
    elif result.status != "ok":
        SubElement(case, "skipped", message=f"{result.status}: Ctrl-C")
    if result.status != "not run":
        SubElement(case, "system-out").text = "\n".join(_told(result))


def _class_of(file: str) -> str:
    """Jenkins takes what stands before the last dot for a package."""
    parts = (part.replace(".", "_") for part in PurePath(masked_text(file)).with_suffix("").parts if part.strip("./"))
    return ".".join(parts)


def _fail(case: Element, result: Result) -> None:
    """The first line is what a red build shows."""
    kind = "expectation" if any(not finding.ok for finding in result.report.findings) else "call"
    failure = SubElement(case, "failure", message=result.reason, type=kind)
    failure.text = "\n".join(f"{fault.text}\n  {fault.where}" for fault in result.faults)


def _told(result: Result) -> list[str]:
    return [
        result.summary,
        *figure_lines(figures_of([result])),
        *(f"{'held' if finding.ok else 'BROKEN'}: {finding.what}" for finding in result.report.findings),
        *(f"warning: {warning}" for warning in result.report.warnings),
        *([f"sound: {result.wav}"] if result.wav else []),
        *(f"{line.at:8.3f} {line.text}" for line in result.log),
    ]
