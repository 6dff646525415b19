"""What `manage.py bench_streams` does: measures as its options say, and shows the figures."""

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings

from benchmark import against, comparing, cost, report, scenarios, simulating
from benchmark.candidates import CANDIDATES
from benchmark.lab import Lab
from benchmark.load import BenchmarkError as BenchmarkError


Options = dict[str, Any]


def run(options: Options, say: Callable[[str], None]) -> None:
    """BenchmarkError says why nothing can be measured here, or what a gate found."""
    found = {"machine": report.machine(), **_measure(_lab(options, say), options)}
    if options["json"]:
        options["json"].write_text(json.dumps(found, indent=1) + "\n")
    if not (servers := found.get("servers")):
        return say(json.dumps(found, indent=1))
    if options["plots"]:
        (options["plots"] / "held.svg").write_text(report.held_plot(servers))
        (options["plots"] / "cost.svg").write_text(report.cost_plot(servers))
    say(f"\n{found['machine']}\n\n{report.table(servers)}")


def _measure(lab: Lab, options: Options) -> dict[str, Any]:
    what, calls = options["what"], options["calls"]
    if options["revision"] and what != "against":
        raise BenchmarkError(f"{what} takes no revision: only `against` does.")
    if what == "compare":
        names = options["servers"] or [name for name, one in CANDIDATES.items() if lab.postgres or one.is_sqlite]
        return comparing.compare(lab, names)
    measure = {
        "gate": partial(scenarios.gate, lab, calls),
        "soak": partial(scenarios.soak, lab, options["server"], calls, options["minutes"] or 5),
        "turnover": partial(scenarios.turnover, lab, options["server"], calls),
        "history": partial(scenarios.history, lab, calls, options["sizes"]),
        "listening": partial(scenarios.listening, lab, calls, 10),
        "talking": partial(scenarios.talk, lab, calls, options["talkers"]),
        "measuring": partial(scenarios.measure, lab, calls),
        "supervising": partial(scenarios.supervise, lab, calls, options["listened"]),
        "scaling": partial(scenarios.scale, lab, calls),
        "conversing": partial(scenarios.converse, lab, calls),
        "simulating": partial(simulating.simulate, lab, calls),
        "cost": partial(cost.cost, lab, calls, options["minutes"] or 3),
        "against": partial(against.against, lab, options["revision"], calls),
    }
    return measure[what]()


def _lab(options: Options, say: Callable[[str], None]) -> Lab:
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cores = options["cores"] or available[:2]
    if len(set(cores)) < 2:
        raise BenchmarkError("The benchmark needs Linux and two cores: one for the server, one for the load.")
    if not settings.TWILIO_AUTH_TOKENS:
        raise BenchmarkError("TWILIO_AUTH_TOKEN is not set: callers could not sign. `make run` writes a .env.")
    folder = settings.BASE_DIR / "var" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    server, load = cores
    return Lab(folder, options["postgres"] or "", (server, load), options["seconds"], options["rounds"], say)
