"""`python -m simulator examine --voice-url URL`: where a server breaks the protocol, or would hurt a caller."""

import asyncio
import json
import sys
import time
from argparse import Action, ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simulator import options
from simulator.examine import CHECKS, Examination, Result, Target, Verdict
from simulator.examine.voices import sentences
from simulator.examine.written import listing, report


FAILED, INTERRUPTED = 1, 130
DESCRIPTION = """\
Examines a server that takes Media Streams. It places about a dozen calls in
less than a minute, some of them as Twilio never would: unsigned, out of order,
two at once. Then it says what is wrong, with the bytes that prove it and the
page of the documentation. No Twilio account is needed: the server only has to
have the same auth token.
"""
EPILOG = """\
examples:
  export TWILIO_AUTH_TOKEN=...   # the server's own
  %(prog)s --voice-url http://127.0.0.1:5000/voice
  %(prog)s --voice-url https://abc.example.org/voice --server http://127.0.0.1:5000
  %(prog)s --voice-url http://127.0.0.1:5000/voice --only interruption mulaw

verdicts:
  fail        it breaks what Twilio documents, or hurts a caller or your account
  warn        it works, and mostly somebody regrets it
  pass        it is right
  not tested  the server gave no occasion to; the reason is said

exit status:
  0 if no check failed, 1 if one did or the report could not be saved, 2 if an
  option is wrong, 130 after Ctrl-C
"""


class _List(Action):
    """Lists the checks, and ends the program."""

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        print(listing(CHECKS))
        parser.exit()


def add_to(commands: "_SubParsersAction[ArgumentParser]") -> None:
    """The command `examine`, among the program's."""
    examine = commands.add_parser(
        "examine",
        help="say where a server breaks the protocol, or would hurt a caller",
        usage="%(prog)s --voice-url URL [option ...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    where = examine.add_argument_group("where")
    options.add_voice(where)
    options.add_numbers(where)
    options.add_account(examine)
    _add_checks(examine)
    examine.set_defaults(run=run, parser=examine)


def _add_checks(examine: ArgumentParser) -> None:
    checks = examine.add_argument_group("checks")
    ids = [check.id for check in CHECKS]
    checks.add_argument(
        "--only", nargs="+", choices=ids, default=ids, metavar="ID", help="these checks, and what they need"
    )
    checks.add_argument("--list", action=_List, nargs=0, help="list the checks")
    checks.add_argument("--audio", type=options.wav, metavar="FILE", help="what callers say: 8 kHz mono WAV")
    checks.add_argument("--json", type=Path, metavar="FILE", help="the report as JSON, to a file")
    checks.add_argument("--quiet", action="store_true", help="do not say what is being done")


def run(chosen: Namespace) -> int:
    """Examines, and writes; the program's exit status."""
    target = _target(chosen, options.token_of(chosen.parser, chosen.auth_token))
    checks = [check for check in CHECKS if check.id in chosen.only]
    began = time.monotonic()
    try:
        results = asyncio.run(Examination(target, checks, _log(chosen.quiet)).run())
    except KeyboardInterrupt:
        print(f"{chosen.parser.prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    print(report(results, chosen.voice_url, time.monotonic() - began, sys.stdout.isatty()))
    saved = chosen.json is None or _save(results, chosen)
    return 0 if saved and all(result.verdict is not Verdict.FAIL for result in results) else FAILED


def _target(chosen: Namespace, token: str) -> Target:
    return Target(
        voice_url=chosen.voice_url,
        auth_token=token,
        account_sid=chosen.account_sid,
        server=chosen.server or "",
        insecure=chosen.insecure,
        status_callback=chosen.status_callback or "",
        from_number=chosen.from_number,
        to_number=chosen.to_number,
        sentences=sentences(chosen.audio),
    )


def _log(quiet: bool) -> Callable[[str], None]:
    if quiet:
        return lambda line: None
    return lambda line: print(f"… {line}", file=sys.stderr, flush=True)


def _save(results: Sequence[Result], chosen: Namespace) -> bool:
    """False, and a line that says why, if the file cannot be written."""
    content = {"voice_url": chosen.voice_url, "results": [result.as_dict() for result in results]}
    try:
        chosen.json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        print(f"{chosen.parser.prog}: --json {chosen.json}: {error.strerror}", file=sys.stderr)
        return False
    return True
