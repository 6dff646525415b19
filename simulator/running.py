"""`python -m simulator run scenario.yaml …`: plays scenarios against a server, and reports what came of them."""

import asyncio
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from simulator import about, options
from simulator.command import FAILED, INTERRUPTED, copies
from simulator.playing import Playing
from simulator.report import Report
from simulator.reports.as_json import as_json
from simulator.reports.junit import junit
from simulator.reports.keeping import Keeper
from simulator.reports.live import Display
from simulator.reports.page import page
from simulator.reports.results import Planned, Run
from simulator.reports.words import summary, tested
from simulator.scenario import Scenario
from simulator.scenarios import ScenarioError, load, meant, variables_of, write_scenario
from simulator.watching import watch


DESCRIPTION = """\
Plays the calls that scenarios describe, and judges each by what the scenario
expects. On a terminal it shows how far it is; what a build server wants goes
into files.
"""
EPILOG = """\
examples:
  export TWILIO_AUTH_TOKEN=...   # the server's own
  %(prog)s order.yaml --voice-url http://127.0.0.1:5000/voice
  %(prog)s scenarios/*.yaml --junit junit.xml --html report.html --save calls/
  %(prog)s order.yaml --calls 1000 --at-once 200 --json load.json
  %(prog)s order.yaml --set customer=4711 --set language=de-DE

exit status:
  0 if every call went well, 1 if one failed, 2 if an option or a scenario is
  wrong, 130 after Ctrl-C, which hangs up and reports what was played
"""
WRONG = 2


def add_to(commands: "_SubParsersAction[ArgumentParser]") -> None:
    """The command `run`, among the program's."""
    parser = commands.add_parser(
        "run",
        help="play scenarios, and report what came of them",
        usage="%(prog)s SCENARIO ... [option ...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    _add_what(parser)
    _add_reports(parser)
    parser.set_defaults(run=run, parser=parser)


def run(chosen: Namespace) -> int:
    """Plays the calls; the program's exit status."""
    try:
        plan = list(_plan(chosen))
        _make_room(chosen)
    except (ScenarioError, OSError) as error:
        print(f"{chosen.parser.prog}: {error}", file=sys.stderr)
        return WRONG
    keeper, display = Keeper(len(plan), chosen.save), Display(len(plan), chosen.quiet)
    playing = Playing(plan, chosen.at_once or chosen.calls, keeper.keep, display.ended, display.say)
    over, trouble = _play(playing, display), keeper.trouble
    if chosen.record:
        trouble = _record(chosen.record, plan[0].scenario, playing.first) or trouble
    return _conclude(over, chosen, trouble)


def _plan(chosen: Namespace) -> Iterator[Planned]:
    """Each scenario in turn, as often as it is asked for; those of one file lie together."""
    number, variables = 0, dict(chosen.set)
    _check_names(chosen, variables)
    if chosen.voice_url:
        variables.setdefault("voice_url", chosen.voice_url)
    for file in chosen.scenarios:
        for scenario in load(file, variables, chosen.auth_token):
            for nth, copy in enumerate(copies(_addressed(scenario, chosen), chosen.calls), 1):
                number += 1
                yield Planned(str(file), copy, number, nth, chosen.calls)


def _check_names(chosen: Namespace, variables: dict[str, str]) -> None:
    """A name that no scenario has is a slip, and not a wish."""
    known = {name for file in chosen.scenarios for name in variables_of(file)} if variables else set()
    for name in variables.keys() - known:
        chosen.parser.error(f"--set {name}: no scenario has a variable `{name}`{meant(name, known)}")


def _addressed(scenario: Scenario, chosen: Namespace) -> Scenario:
    """What the command line says outweighs the scenario; calls that the server places have their own URL."""
    if chosen.voice_url and scenario.url:
        voice = urlsplit(chosen.voice_url)
        scenario = replace(scenario, url=chosen.voice_url, public_url=f"{voice.scheme}://{voice.netloc}")
    return scenario if chosen.server is None else replace(scenario, server=chosen.server)


def _make_room(chosen: Namespace) -> None:
    """Before the first call: after a thousand it is late to find out that their report cannot be written."""
    for file in filter(None, (chosen.junit, chosen.json, chosen.html, chosen.record)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.open("a").close()
    if chosen.save:
        chosen.save.mkdir(parents=True, exist_ok=True)


def _play(playing: Playing, display: Display) -> Run:
    """A second Ctrl-C does not wait for the server; what was over by then is reported."""
    began, clock = datetime.now(UTC), time.monotonic()
    try:
        asyncio.run(_watched(playing, display))
    except KeyboardInterrupt:
        playing.interrupted = True
    display.close()
    return Run(
        playing.results,
        tested(planned.scenario for planned in playing.plan),
        about.version(),
        began,
        time.monotonic() - clock,
        playing.interrupted,
    )


async def _watched(playing: Playing, display: Display) -> None:
    watching = asyncio.create_task(watch(playing, display))
    try:
        await playing.play()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _conclude(over: Run, chosen: Namespace, trouble: str) -> int:
    """Writes what was asked for and says how it went."""
    if chosen.junit:
        chosen.junit.write_bytes(junit(over))
    if chosen.json:
        chosen.json.write_text(as_json(over), encoding="utf-8")
    if chosen.html:
        chosen.html.write_text(page(over, chosen.html.parent), encoding="utf-8")
    if not chosen.quiet:
        print(summary(over))
    if trouble:
        print(f"{chosen.parser.prog}: {trouble}", file=sys.stderr)
    if over.interrupted:
        return INTERRUPTED
    return FAILED if over.failed or trouble else 0


def _record(file: Path, scenario: Scenario, report: Report | None) -> str:
    """Writes a scenario that does what that call did; why it could not, in a line."""
    if report is None:
        return f"--record {file}: the first call is not over"
    try:
        write_scenario(report, scenario, file)
    except ValueError as error:
        return f"--record {file}: {error}"
    except OSError as error:
        return f"--record {file}: {error.strerror}"
    return ""


def _add_what(parser: ArgumentParser) -> None:
    what = parser.add_argument_group("what is played")
    what.add_argument("scenarios", nargs="+", type=Path, metavar="SCENARIO", help="a file")
    what.add_argument("--calls", type=options.positive, default=1, metavar="N", help="how often each (%(default)s)")
    what.add_argument(
        "--at-once", type=options.positive, metavar="M", help="at most so many at a time (default: as many as --calls)"
    )
    what.add_argument(
        "--set", type=_variable, action="append", default=[], metavar="NAME=VALUE", help="a variable of the scenarios"
    )
    what.add_argument(
        "--voice-url", type=options.address, metavar="URL", help="of the number, whatever a scenario says"
    )
    what.add_argument(
        "--server", type=options.origin, metavar="URL", help="dialled instead of each host that an address names"
    )
    what.add_argument(
        "--auth-token", default="", metavar="TOKEN", help="signs every request; default: TWILIO_AUTH_TOKEN"
    )


def _add_reports(parser: ArgumentParser) -> None:
    reports = parser.add_argument_group("reports")
    reports.add_argument(
        "--junit", type=Path, metavar="FILE", help="XML for build servers: a suite a file, a case a call"
    )
    reports.add_argument("--json", type=Path, metavar="FILE", help="everything, for programs")
    reports.add_argument("--html", type=Path, metavar="FILE", help="a page, with pictures of the calls that failed")
    reports.add_argument(
        "--save", type=Path, metavar="FOLDER", help="a WAV of every call: left the caller, right what was heard"
    )
    reports.add_argument("--record", type=Path, metavar="FILE", help="a scenario of the first call, and WAV files")
    reports.add_argument("--quiet", action="store_true", help="only say what went wrong")


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"{text!r}: write it as NAME=VALUE")
    return name, value
