"""How many calls one core carries, beside what others would build on. Needs Linux, two cores and a C compiler.

Every server is a real process on a core of its own, under a load generator on another one; callers are signed, speak
50 frames a second and compare every echo. A load is held if 99 of 100 echoes come within 20 ms and none is missing.

  compare    ramps every server until it no longer holds (20 minutes with three rounds)
  gate       the CPU of an echoed and recorded frame against a bare echo on the same server; fails past 1.25 times
  soak       one load for --minutes
  turnover   --calls one after the other, 50 at once: the memory before and after
  history    one load on top of longer and longer histories
  listening  how soon a recording of two hours plays, and what ten listeners cost 50 live calls
"""

import json
import os
from argparse import RawDescriptionHelpFormatter
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, CommandParser

from benchmark import report, scenarios
from benchmark.load import BenchmarkError
from benchmark.scenarios import Lab
from benchmark.servers import CANDIDATES


# What each scenario takes for --calls.
CALLS = {"gate": 100, "soak": 150, "turnover": 1000, "history": 100, "listening": 50}
SIZES = [0, 1_000, 100_000]


class Command(BaseCommand):
    help = __doc__

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        return super().create_parser(*args, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("what", nargs="?", default="compare", choices=["compare", *CALLS], help="(compare)")
        parser.add_argument("--servers", nargs="+", choices=CANDIDATES, help="for compare: only these")
        parser.add_argument("--server", choices=CANDIDATES, default="callstream", help="for soak and turnover")
        parser.add_argument("--calls", type=int, help="at once; for turnover in all")
        parser.add_argument("--rounds", type=int, default=3, help="medians are of so many (3)")
        parser.add_argument("--seconds", type=float, default=4, help="for which each load is measured (4)")
        parser.add_argument("--minutes", type=float, default=5, help="for soak (5)")
        parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="for history: calls of the past")
        parser.add_argument("--postgres", metavar="URL", help="a server where databases may be made and dropped")
        parser.add_argument("--cores", type=int, nargs=2, metavar="N", help="for the server and for the load")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
        parser.add_argument("--plots", type=Path, metavar="FOLDER", help="for compare: draw them there as SVG")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = self._measure(options)
        except BenchmarkError as error:
            raise CommandError(str(error)) from error
        found = {"machine": report.machine(), **found}
        if options["json"]:
            options["json"].write_text(json.dumps(found, indent=1) + "\n")
        if servers := found.get("servers"):
            if options["plots"]:
                (options["plots"] / "held.svg").write_text(report.held_plot(servers))
                (options["plots"] / "cost.svg").write_text(report.cost_plot(servers))
            self.stdout.write(f"\n{found['machine']}\n\n{report.table(servers)}")
        else:
            self.stdout.write(json.dumps(found, indent=1))

    def _measure(self, options: dict[str, Any]) -> dict[str, Any]:
        lab, what = self._lab(options), options["what"]
        calls = options["calls"] or CALLS.get(what, 0)
        if what == "compare":
            names = options["servers"] or [name for name, one in CANDIDATES.items() if lab.postgres or one.is_sqlite]
            return scenarios.compare(lab, names)
        run = {
            "gate": partial(scenarios.gate, lab, calls),
            "soak": partial(scenarios.soak, lab, options["server"], calls, options["minutes"]),
            "turnover": partial(scenarios.turnover, lab, options["server"], calls),
            "history": partial(scenarios.history, lab, calls, options["sizes"]),
            "listening": partial(scenarios.listening, lab, calls, 10),
        }
        return run[what]()

    def _lab(self, options: dict[str, Any]) -> Lab:
        available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        cores = options["cores"] or available[:2]
        if len(set(cores)) < 2:
            raise BenchmarkError("The benchmark needs Linux and two cores: one for the server, one for the load.")
        if not settings.TWILIO_AUTH_TOKENS:
            raise BenchmarkError("TWILIO_AUTH_TOKEN is not set: callers could not sign. `make run` writes a .env.")
        folder = settings.BASE_DIR / "var" / "bench"
        folder.mkdir(parents=True, exist_ok=True)
        server, load = cores
        return Lab(folder, options["postgres"] or "", (server, load), options["seconds"], options["rounds"], self.say)

    def say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
