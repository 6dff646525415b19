"""`python -m simulator call --voice-url URL`: Twilio's side of a phone call, to any server that takes Media Streams."""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from pathlib import Path
from urllib.parse import urlsplit

from simulator import options
from simulator.audio import tone
from simulator.command import INTERRUPTED, Failed, conclude, place
from simulator.report import Report
from simulator.scenario import Scenario
from simulator.scenarios import write_scenario


DESCRIPTION = """\
Calls a server as Twilio does: asks the voice URL for TwiML, with a signature;
follows it; opens the WebSocket of each <Stream> and speaks into it, 50 frames a
second; plays what comes back, returns marks, presses keys, and hangs up. No
Twilio account is needed: the server only has to have the same auth token.
"""
EPILOG = """\
examples:
  export TWILIO_AUTH_TOKEN=...   # the server's own
  %(prog)s --voice-url http://127.0.0.1:5000/voice
  %(prog)s --voice-url http://127.0.0.1:5000/voice --audio me.wav --dtmf 6.5:# --save heard.wav
  %(prog)s --voice-url https://abc.example.org/voice --server http://127.0.0.1:5000 --calls 10
  %(prog)s --voice-url http://127.0.0.1:5000/voice --audio me.wav --record again.yaml

exit status:
  0 if every call went well, 1 if one failed (the last line says why), 2 if an
  option is wrong, 130 after Ctrl-C
"""


def add_to(commands: "_SubParsersAction[ArgumentParser]") -> None:
    """The command `call`, among the program's."""
    call = commands.add_parser(
        "call",
        help="call a number: its voice URL is asked for TwiML",
        usage="%(prog)s --voice-url URL [option ...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    _add_where(call)
    options.add_call(call)
    options.add_output(call)
    call.add_argument(
        "--record", type=Path, metavar="FILE.yaml", help="write a scenario of the call, with WAV files beside it"
    )
    call.set_defaults(run=run, parser=call)


def run(chosen: Namespace) -> int:
    """Plays the calls; the program's exit status."""
    parser: ArgumentParser = chosen.parser
    token = options.token_of(parser, chosen.auth_token)
    try:
        scenario = _scenario(vars(chosen), token)
        reports, interrupted = place(scenario, vars(chosen))
        if chosen.record:
            _record(reports[0], scenario, chosen.record)
        conclude(reports, vars(chosen), print)
    except Failed as failure:
        print(f"{parser.prog}: {failure}", file=sys.stderr)
        return failure.status
    return INTERRUPTED if interrupted else 0


def _record(report: Report, scenario: Scenario, path: Path) -> None:
    try:
        write_scenario(report, scenario, path)
    except ValueError as error:
        raise Failed(f"--record {path}: {error}; {report.reason}".rstrip("; ")) from error
    except OSError as error:
        raise Failed(f"--record {path}: {error.strerror}") from error


def _scenario(chosen: options.Options, token: str) -> Scenario:
    voice = urlsplit(chosen["voice_url"])
    return options.scenario_of(
        chosen,
        public_url=f"{voice.scheme}://{voice.netloc}",
        url=chosen["voice_url"],
        account_sid=chosen["account_sid"],
        auth_token=token,
        audio=chosen["audio"] or tone(440, 8),
        status_callback=bool(chosen["status_callback"]),
        status_url=chosen["status_callback"] or "",
    )


def _add_where(call: ArgumentParser) -> None:
    where = call.add_argument_group("where")
    options.add_voice(where)
    options.add_numbers(where)
    options.add_api(where, "serve Twilio's REST API there meanwhile, for a server that asks it to change calls")
    options.add_account(call)
