"""The run as one JSON document, for programs; each call has a line. `version` changes when a name in it does."""

import json
from dataclasses import asdict, is_dataclass
from typing import Any

from simulator.reports.figures import Figures, figures_of
from simulator.reports.results import Result, Run


VERSION = 1


def as_json(run: Run) -> str:
    document = {
        "version": VERSION,
        "simulator": run.version,
        "tested": run.addresses,
        "began": run.began.isoformat(),
        "seconds": round(run.took, 3),
        "interrupted": run.interrupted,
        "ok": not run.failed and not run.interrupted,
        "summary": _summary(figures_of(run.results)),
        "scenarios": [
            {"file": file, "name": name} | _summary(figures_of(results))
            for (file, name), results in run.scenarios.items()
        ],
    }
    head = json.dumps(document, indent=2, default=_plain).removesuffix("\n}")
    calls = ",\n    ".join(json.dumps(_call(result), default=_plain) for result in run.results)
    return f'{head},\n  "calls": [\n    {calls}\n  ]\n}}\n'


def _summary(figures: Figures) -> dict[str, Any]:
    return {
        "calls": figures.calls,
        **{status.replace(" ", "_"): figures.statuses[status] for status in ("ok", "failed", "interrupted", "not run")},
        "stream_seconds": round(figures.seconds, 3),
        "frames": {
            "sent": figures.frames_sent,
            "received": figures.frames_received,
            "dropped": figures.frames_dropped,
        },
        "marks": {name: figures.marks[name] for name in ("played", "cleared", "unreturned")},
        "response_ms": figures.response,
        "first_audio_ms": figures.first_audio,
        "lateness_ms": figures.late,
        "warning": figures.warning,
    }


def _call(result: Result) -> dict[str, Any]:
    planned, measured = result.planned, result.measured
    return {
        "number": planned.number,
        "file": planned.file,
        "name": planned.name,
        "call": planned.nth,
        "status": result.status,
        "began": result.began.isoformat() if result.began else None,
        "took_seconds": round(result.took, 3),
        "first_audio_ms": measured.first_audio_ms,
        "response_ms": measured.response_ms,
        "wav": result.wav or None,
        "log": [[round(line.at, 3), line.text] for line in result.log],
        "report": None if result.status == "not run" else _report(result),
    }


def _report(result: Result) -> dict[str, Any]:
    """As `call --json` has it; its audio is gone, so the times come from what was measured."""
    report = result.report.as_dict() | {"seconds": round(result.measured.seconds, 3)}
    for stream in report["streams"]:
        stream.pop("seconds", None)
    return report


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} is not for JSON")
