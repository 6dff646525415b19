"""How many calls one core carries, compared with what others would build on. Needs Linux, two cores and a C compiler.

Every server is a real process on a core of its own, under a load generator on another one; callers are signed, speak
50 frames a second and compare every echo. A load is held if 99 of 100 echoes come within 20 ms and none is missing.
docs/performance.md says how to read the figures.

  compare    ramps every server until it no longer holds (25 minutes with three rounds)
  gate       the CPU of an echoed and recorded frame against a bare echo on the same server; fails past 1.25 times
  soak       one load for --minutes
  turnover   --calls one after the other, 50 at once: the memory before and after
  history    one load on top of longer and longer histories
  listening  how soon a recording of two hours plays, and what ten listeners cost 50 live calls
  talking    what --talkers whose turns are told cost --calls that echo, as a ratio of their p99 (1 minute)
  measuring  what measuring an hour of call costs, and --calls that echo on the same core meanwhile (1 minute)
  supervising what it costs --calls that --listened of them are heard by staff, as a ratio of the others' p99 (1 minute)
  scaling    how many times the calls of one worker two of them carry, with --postgres (1 minute)
  conversing how long one and fifty callers wait for an answer, and the memory after --calls that talk (6 minutes)
  against    what a frame costs here and at another revision of git, as a ratio: `against v0.1.0` (3 minutes)
  cost       the cores of ours and of PostgreSQL (--postgres) that 1,000 calls an hour of --minutes take (1 minute)
  simulating how late the simulator itself is with up to --calls, against a bare echo on the other core (2 minutes)
"""

from argparse import RawDescriptionHelpFormatter
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser


# What each scenario takes for --calls.
CALLS = {
    "gate": 100,
    "against": 100,
    "soak": 150,
    "turnover": 1000,
    "history": 100,
    "listening": 50,
    "conversing": 1000,
    "talking": 80,
    "measuring": 80,
    "supervising": 200,
    "scaling": 60,
    "cost": 50,
    "simulating": 1000,
}
SIZES = [0, 1_000, 100_000]


class Command(BaseCommand):
    help = __doc__

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        return super().create_parser(*args, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        servers = _servers()
        parser.add_argument("what", nargs="?", default="compare", choices=["compare", *CALLS], help="(compare)")
        parser.add_argument("revision", nargs="?", help="for against: a tag, a branch or a commit")
        parser.add_argument("--servers", nargs="+", choices=servers, help="for compare: only these")
        parser.add_argument("--server", choices=servers, default="callstream", help="for soak and turnover")
        parser.add_argument("--calls", type=int, help="at once; for turnover in all")
        parser.add_argument("--rounds", type=int, default=3, help="how many the medians are taken of (3)")
        parser.add_argument("--seconds", type=float, default=4, help="how long each load is measured (4)")
        parser.add_argument("--minutes", type=float, help="for soak (5); for cost: of each call (3)")
        parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="for history: calls of the past")
        parser.add_argument("--talkers", type=int, default=20, help="for talking (20)")
        parser.add_argument("--listened", type=int, default=50, help="for supervising (50)")
        parser.add_argument("--postgres", metavar="URL", help="a server where databases may be made and dropped")
        parser.add_argument("--cores", type=int, nargs=2, metavar="N", help="for the server and for the load")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
        parser.add_argument("--plots", type=Path, metavar="FOLDER", help="for compare: draw them there as SVG")

    def handle(self, *args: Any, **options: Any) -> None:
        if not _is_installed():
            raise CommandError("benchmark/ is not installed: the image does without it. Run this in a checkout.")
        from benchmark import command

        options["calls"] = options["calls"] or CALLS.get(options["what"], 0)
        try:
            command.run(options, self.say)
        except command.BenchmarkError as error:
            raise CommandError(str(error)) from error

    def say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _is_installed() -> bool:
    return find_spec("benchmark") is not None


def _servers() -> Collection[str] | None:
    """Their names; None where nobody knows them."""
    if not _is_installed():
        return None
    from benchmark.candidates import CANDIDATES

    return CANDIDATES
