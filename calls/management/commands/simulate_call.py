"""`manage.py simulate_call`: Twilio's side of one call or of many, against a running server. No account is needed."""

import asyncio
import json
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from tqdm import tqdm

from calls import rest
from calls.management.serving import announced_at
from calls.media.audio import read_wav, tone
from calls.security import SIMULATED, simulators_mark
from simulator import OutboundCall, PhoneNumber, PlacedCall, Report, Scenario, SimulatedCall, TwilioApi
from simulator.outbound import ANSWERS, MANNERS
from simulator.scenario import new_sid


SPEECH = Path(__file__).resolve().parent.parent.parent / "sounds" / "caller.wav"
INTERRUPTED = 130


class Command(BaseCommand):
    help = "Plays Twilio's side of a phone call: signed webhooks, a real WebSocket, speech, digits, marks, hang-up."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        where = parser.add_argument_group("where")
        where.add_argument(
            "--server", type=_origin, metavar="URL", help="dialled (default: where `make run` serves, or port 8000)"
        )
        where.add_argument(
            "--public-url", metavar="URL", help="signed for (default: PUBLIC_URL, or what `make run` serves with)"
        )
        where.add_argument("--insecure", action="store_true", help="accept a self-signed certificate")
        where.add_argument("--handler", default="", help="the voice webhook is /incoming/<handler>")
        where.add_argument("--from", dest="from_number", default="+14155550100", metavar="NUMBER")
        where.add_argument("--to", dest="to_number", default="+14155550199", metavar="NUMBER")
        where.add_argument("--no-status-callback", action="store_true", help="as if the number had no StatusCallback")
        call = parser.add_argument_group("the call")
        call.add_argument("--calls", type=_positive, default=1, metavar="N", help="so many at once")
        call.add_argument(
            "--audio", type=_wav, metavar="FILE", help="what the caller says: 8 kHz mono WAV, PCM16 or µ-law"
        )
        call.add_argument("--callee-audio", type=_wav, default=b"", metavar="FILE", help="what the person dialled says")
        call.add_argument(
            "--dtmf", type=_digit, action="append", default=[], metavar="SECONDS:DIGIT", help="a key; may be repeated"
        )
        call.add_argument("--duration", type=_seconds, metavar="SECONDS", help="how long the caller stays on the line")
        call.add_argument("--hang-up-after", type=_seconds, metavar="SECONDS", help="hang up then, in mid-sentence too")
        call.add_argument("--silence-timeout", type=_seconds, default=10.0, metavar="SECONDS", help=_SILENCE)
        line = parser.add_argument_group("a bad line")
        line.add_argument("--drop", type=_share, default=0.0, metavar="SHARE", help="share of packets lost, e.g. 0.02")
        line.add_argument("--jitter", type=_seconds, default=0.0, metavar="SECONDS", help="packets come so much later")
        line.add_argument("--burst", type=_positive, default=1, metavar="N", help="packets arrive N at a time")
        line.add_argument("--cut-after", type=_seconds, metavar="SECONDS", help="the TCP connection dies then")
        line.add_argument("--seed", type=int, default=0, help="of drop and jitter")
        out = parser.add_argument_group("a call that the server places", "Serves Twilio's REST API on loopback.")
        out.add_argument("--outbound", action="store_true", help="place a call (--from, --to, --handler) and answer it")
        out.add_argument("--serve", action="store_true", help="only serve, until Ctrl-C, and answer whatever is placed")
        out.add_argument("--api-port", type=int, default=0, metavar="PORT", help=_PORT)
        out.add_argument("--answer", choices=ANSWERS, default="human", help="who answers (default %(default)s)")
        out.add_argument("--rings", type=_seconds, default=2.0, metavar="SECONDS", help="default %(default)s")
        out.add_argument("--callbacks", choices=[*MANNERS, "early"], default="in-order", help=_CALLBACKS)
        output = parser.add_argument_group("output")
        output.add_argument(
            "--save", type=Path, metavar="FILE", help="WAV: left the caller, right what the caller heard"
        )
        output.add_argument("--quiet", action="store_true", help="only say what went wrong")
        output.add_argument("--json", action="store_true", help="the reports as JSON on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        # `make run PORT=8001` signs for its own port, whatever .env says.
        running, signed_for = announced_at()
        options["server"] = options["server"] or running or "http://127.0.0.1:8000"
        if options["public_url"] is None:
            options["public_url"] = signed_for if options["server"] == running else settings.PUBLIC_URL
        scenario = _scenario(options)
        if options["outbound"] or options["serve"]:
            reports, interrupted = _placed_by_server(scenario, options)
        else:
            calls, interrupted = _place(_scenarios(scenario, options["calls"]), options["quiet"], options["api_port"])
            reports = [call.report for call in calls]
        if options["save"]:
            _save(reports, options["save"])
        if options["json"]:
            self.stdout.write(json.dumps([report.as_dict() for report in reports], indent=2))
        elif not options["quiet"]:
            self.stdout.write("\n".join(line for report in reports for line in _lines(report, len(reports))))
        self._judge([report for report in reports if not report.ok], len(reports))
        if interrupted:
            sys.exit(INTERRUPTED)

    def _judge(self, failed: list[Report], total: int) -> None:
        if failed and total == 1:
            raise CommandError(failed[0].reason)
        if failed:
            raise CommandError(f"{len(failed)} of {total} calls failed; {failed[0].call_sid}: {failed[0].reason}")


_SILENCE = "fail if the server says nothing at all for so long; 0 for handlers that only listen (default %(default)s)"


_PORT = "default: one that is free; for calls that come in: serve the API too, for a server whose TWILIO_API_URL it is"


_CALLBACKS = "how the status callbacks come; early: before the reply to the request (default %(default)s)"


def _scenario(options: dict[str, Any]) -> Scenario:
    if not settings.TWILIO_AUTH_TOKENS or not settings.TWILIO_ACCOUNT_SID:
        raise CommandError("TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN have to be set: the server's own, to sign with")
    if urlsplit(options["public_url"]).scheme not in ("http", "https"):
        raise CommandError("PUBLIC_URL has to be set, or --public-url given: the address to sign for")
    same = ("server", "insecure", "handler", "from_number", "to_number", "callee_audio", "duration", "hang_up_after")
    line = ("silence_timeout", "drop", "jitter", "burst", "cut_after", "seed")
    return Scenario(
        public_url=options["public_url"].rstrip("/"),
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKENS[0],
        audio=options["audio"] or _speech(),
        dtmf=tuple(options["dtmf"]),
        # So that nobody asks the real Twilio to end or transfer it.
        extra={SIMULATED: simulators_mark(settings.TWILIO_AUTH_TOKENS[0])},
        status_callback=not options["no_status_callback"],
        **{name: options[name] for name in same + line},
    )


def _scenarios(scenario: Scenario, calls: int) -> list[Scenario]:
    """Each with a CallSid of its own, and with the next number where numbers can be counted up."""
    return [
        replace(scenario, call_sid=new_sid("CA"), from_number=_next_number(scenario.from_number, n))
        for n in range(calls)
    ]


def _next_number(number: str, n: int) -> str:
    return f"+{int(number[1:]) + n}" if number.startswith("+") and number[1:].isdigit() else number


def _place(scenarios: list[Scenario], quiet: bool, api_port: int) -> tuple[list[SimulatedCall], bool]:
    """The calls, all over, and whether Ctrl-C ended them; a second Ctrl-C does not wait for the server."""
    try:
        return asyncio.run(_run(scenarios, quiet, api_port))
    except KeyboardInterrupt:
        raise CommandError("interrupted", returncode=INTERRUPTED) from None


async def _run(scenarios: list[Scenario], quiet: bool, api_port: int) -> tuple[list[SimulatedCall], bool]:
    bar = not quiet and sys.stderr.isatty()
    calls = [SimulatedCall(scenario, _log(scenario, len(scenarios), quiet or bar)) for scenario in scenarios]
    interrupted = _hang_up_at_ctrl_c(calls)
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
    return calls, bool(interrupted)


def _placed_by_server(scenario: Scenario, options: dict[str, Any]) -> tuple[list[Report], bool]:
    """The calls that came in through the REST API, all over, and whether Ctrl-C ended this."""
    calls: list[OutboundCall] = []
    try:
        asyncio.run(_serve(scenario, options, calls))
    except KeyboardInterrupt:
        return [call.report for call in calls], not options["serve"]
    except rest.RestError as error:
        raise CommandError(str(error)) from error
    return [call.report for call in calls], False


async def _serve(scenario: Scenario, options: dict[str, Any], calls: list[OutboundCall]) -> None:
    over = asyncio.Event()
    early = options["callbacks"] == "early"
    manner = "in-order" if early else options["callbacks"]

    async def answer(placed: PlacedCall) -> None:
        log = _log(scenario, 1, options["quiet"])
        how = {"answer": options["answer"], "callbacks": manner, "rings": options["rings"], "log": log}
        calls.append(OutboundCall(placed, scenario, **how))
        await calls[-1].run()
        over.set()

    numbers = [PhoneNumber(scenario.from_number)]
    api = TwilioApi(scenario.account_sid, scenario.auth_token, numbers, answer, reply_last=early)
    print(f"TWILIO_API_URL={await api.start(options['api_port'])}", file=sys.stderr, flush=True)
    try:
        if not options["serve"]:
            # For this process alone; the server needs it only to end calls.
            settings.TWILIO_API_URL = api.url
            await asyncio.to_thread(_place_by_rest, scenario)
            await over.wait()
        else:
            await asyncio.Event().wait()
    finally:
        await api.stop()


def _place_by_rest(scenario: Scenario) -> None:
    try:
        rest.place_call(scenario.to_number, scenario.from_number, scenario.handler)
    finally:
        connections.close_all()


def _log(scenario: Scenario, calls: int, mute: bool) -> Callable[[str], None]:
    prefix = f"{scenario.call_sid[:8]} " if calls > 1 else ""
    return (lambda line: None) if mute else (lambda line: print(f"{prefix}{line}", file=sys.stderr, flush=True))


def _hang_up_at_ctrl_c(calls: list[SimulatedCall]) -> list[int]:
    """A list that has something in it once Ctrl-C was pressed."""
    loop, pressed = asyncio.get_running_loop(), list[int]()

    def hang_up() -> None:
        pressed.append(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGINT)
        for call in calls:
            call.hang_up()

    with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
        loop.add_signal_handler(signal.SIGINT, hang_up)
    return pressed


async def _show(calls: list[SimulatedCall]) -> None:
    total = sum(call.scenario.expected_seconds for call in calls)
    form = "{desc}: {bar} {n:.0f}/{total:.0f} s"
    with tqdm(total=total, desc=f"{len(calls)} call(s)", bar_format=form, leave=False) as bar:
        while True:
            bar.n = min(total, sum(call.seconds for call in calls))
            bar.refresh()
            await asyncio.sleep(0.2)


def _speech() -> bytes:
    return read_wav(SPEECH.read_bytes()) if SPEECH.exists() else tone(440, 8000)


def _lines(report: Report, calls: int) -> list[str]:
    """The summary of a call, its warnings, and its faults if the command's own last line will not name them all."""
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
            raise CommandError(f"--save {target}: {error.strerror}") from error


def _wav(name: str) -> bytes:
    try:
        return read_wav(Path(name).read_bytes())
    except OSError as error:
        raise ArgumentTypeError(f"{name}: {error.strerror}") from error
    except ValueError as error:
        raise ArgumentTypeError(f"{name}: {error}") from error


def _digit(text: str) -> tuple[float, str]:
    seconds, _, digit = text.partition(":")
    if len(digit) != 1 or digit not in "0123456789*#ABCD":
        raise ArgumentTypeError(f"{text!r}: wanted is SECONDS:DIGIT, e.g. 3.0:1, with a digit of 0-9 * # A-D")
    return _seconds(seconds), digit


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ArgumentTypeError(f"{text} is no number of seconds")
    return seconds


def _share(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise ArgumentTypeError(f"{text} is no share; 0.02 loses two packets of a hundred")
    return float(text)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ArgumentTypeError(f"{text} is less than one")
    return int(text)


def _origin(text: str) -> str:
    if urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).netloc:
        raise ArgumentTypeError(f"{text!r}: wanted is an address like http://127.0.0.1:8000")
    return text.rstrip("/")
