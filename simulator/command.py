"""A run of the simulator from a terminal: plays the calls, shows how far they are, and says what came of them."""

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from simulator.api import PhoneNumber, PlacedCall, TwilioApi
from simulator.call import SimulatedCall
from simulator.deliveries import Manner
from simulator.interrupting import at_ctrl_c
from simulator.options import Options
from simulator.outbound import OutboundCall
from simulator.pacer import LATE_MS
from simulator.report import Report
from simulator.scenario import Scenario, new_sid


FAILED, INTERRUPTED = 1, 130

# The calls, all over, and whether Ctrl-C ended them.
Played = tuple[list[Report], bool]


class Failed(Exception):
    """The last line of a program that ends with this status."""

    def __init__(self, reason: str, status: int = FAILED) -> None:
        super().__init__(reason)
        self.status = status


def place(scenario: Scenario, options: Options) -> Played:
    """Places --calls calls at once. A second Ctrl-C does not wait for the server."""
    try:
        return asyncio.run(_place(copies(scenario, options["calls"]), options["quiet"], options["api_port"]))
    except KeyboardInterrupt:
        raise Failed("interrupted", INTERRUPTED) from None


def answer(scenario: Scenario, options: Options, order: Callable[[str], None] | None) -> Played:
    """Serves the REST API and answers the call that `order` places there, told the API's address; in a thread.

    Without `order` it answers whatever is placed, until Ctrl-C.
    """
    calls: list[OutboundCall] = []
    try:
        asyncio.run(_answer(scenario, options, calls, order))
    except KeyboardInterrupt:
        return [call.report for call in calls], order is not None
    return [call.report for call in calls], False


def conclude(reports: list[Report], options: Options, write: Callable[[str], object]) -> None:
    """Saves what was asked for and says how it went; Failed if a call did."""
    if options["save"]:
        _save(reports, options["save"])
    if options["json"]:
        write(json.dumps([report.as_dict() for report in reports], indent=2))
    elif not options["quiet"]:
        write("\n".join(line for report in reports for line in _lines(report, len(reports))))
        if (late := max((report.lateness.p99_ms for report in reports), default=0.0)) > LATE_MS:
            write(f"  warning: the simulator itself was {late:.0f} ms late at p99; place fewer calls at once")
    failed = [report for report in reports if not report.ok]
    if failed and len(reports) == 1:
        raise Failed(failed[0].reason)
    if failed:
        raise Failed(f"{len(failed)} of {len(reports)} calls failed; {failed[0].call_sid}: {failed[0].reason}")


def copies(scenario: Scenario, calls: int) -> list[Scenario]:
    """Each with a CallSid of its own, and with the next number where numbers can be counted up."""
    return [
        replace(
            scenario,
            call_sid=new_sid("CA") if n else scenario.call_sid,
            from_number=_next_number(scenario.from_number, n),
        )
        for n in range(calls)
    ]


def _next_number(number: str, n: int) -> str:
    return f"+{int(number[1:]) + n}" if number.startswith("+") and number[1:].isdigit() else number


async def _place(scenarios: list[Scenario], quiet: bool, api_port: int) -> Played:
    bar = not quiet and sys.stderr.isatty()
    calls = [SimulatedCall(scenario, _log(scenario, len(scenarios), quiet or bar)) for scenario in scenarios]
    pressed = asyncio.Event()

    def hang_up() -> None:
        pressed.set()
        for call in calls:
            call.hang_up()

    at_ctrl_c(hang_up)
    progress = asyncio.create_task(_show(calls)) if bar else None
    if api_port:
        api = TwilioApi(scenarios[0].account_sid, scenarios[0].auth_token)
        await api.start(api_port)
        await asyncio.gather(*(api.play(call) for call in calls))
        await api.stop()
    else:
        await asyncio.gather(*(call.run() for call in calls))
    if progress:
        progress.cancel()
        await asyncio.gather(progress, return_exceptions=True)
    return [call.report for call in calls], pressed.is_set()


async def _answer(
    scenario: Scenario, options: Options, calls: list[OutboundCall], order: Callable[[str], None] | None
) -> None:
    over = asyncio.Event()
    early = options["callbacks"] == "early"
    manner: Manner = "in-order" if early else options["callbacks"]

    async def pick_up(placed: PlacedCall) -> None:
        log = _log(scenario, 1, options["quiet"])
        how = {"answer": options["answer"], "rings": options["rings"], "log": log}
        calls.append(OutboundCall(placed, replace(scenario, callbacks=manner), **how))
        await calls[-1].run()
        over.set()

    numbers = [PhoneNumber(scenario.from_number)]
    api = TwilioApi(scenario.account_sid, scenario.auth_token, numbers, pick_up, reply_last=early)
    print(f"TWILIO_API_URL={await api.start(options['api_port'])}", file=sys.stderr, flush=True)
    try:
        if order is not None:
            await asyncio.to_thread(order, api.url)
            await over.wait()
        else:
            await asyncio.Event().wait()
    finally:
        await api.stop()


def _log(scenario: Scenario, calls: int, mute: bool) -> Callable[[str], None]:
    prefix = f"{scenario.call_sid[:8]} " if calls > 1 else ""
    return (lambda line: None) if mute else (lambda line: print(f"{prefix}{line}", file=sys.stderr, flush=True))


async def _show(calls: list[SimulatedCall]) -> None:
    total = sum(call.scenario.expected_seconds for call in calls)
    form = "{desc}: {bar} {n:.0f}/{total:.0f} s"
    with tqdm(total=total, desc=f"{len(calls)} call(s)", bar_format=form, leave=False) as bar:
        while True:
            bar.n = min(total, sum(call.seconds for call in calls))
            bar.refresh()
            await asyncio.sleep(0.2)


def _lines(report: Report, calls: int) -> list[str]:
    """The summary of a call, its warnings, and its faults if the program's own last line will not name them all."""
    told = [] if report.ok or calls == 1 else report.errors[:1]
    return [
        report.summary(),
        *(f"  warning: {line}" for line in report.warnings),
        *(f"  failed: {line}" for line in told),
    ]


def _save(reports: list[Report], path: Path) -> None:
    """One file a call: call.wav, call-2.wav, …"""
    for number, report in enumerate(reports, 1):
        target = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            target.write_bytes(report.wav())
        except OSError as error:
            raise Failed(f"--save {target}: {error.strerror}") from error
