"""The options of a simulated call, for every program that offers them, and the scenario that they make.

What cannot be meant is an ArgumentTypeError, which says what is wanted instead.
"""

import os
from argparse import ArgumentParser, ArgumentTypeError, _ArgumentGroup
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulator.audio import read_wav
from simulator.deliveries import MANNERS
from simulator.dialled import STATUSES, Dialled
from simulator.outbound import ANSWERS
from simulator.scenario import Scenario
from simulator.wellformed import NO_ACCOUNT, is_address, is_sid


Options = Mapping[str, Any]

# Options that are fields of the scenario.
_FIELDS = (
    *("server", "insecure", "from_number", "to_number", "callee_audio", "duration", "hang_up_after"),
    *("silence_timeout", "drop", "jitter", "burst", "cut_after", "seed"),
)
_SILENCE = "fail if the server says nothing at all for so long; 0 for handlers that only listen (default %(default)s)"
_CALLBACKS = "how the status callbacks come; early: before the reply to the request (default %(default)s)"
_DIALLED = (
    f"what becomes of a number that is dialled ({', '.join(STATUSES)}), and after how long; may be repeated, "
    "one for each that is dialled"
)


def add_voice(group: _ArgumentGroup) -> None:
    """The number's addresses."""
    group.add_argument(
        "--voice-url", type=address, required=True, metavar="URL", help="of the number: signed for, and dialled"
    )
    group.add_argument(
        "--server", type=origin, metavar="URL", help="dialled instead of each host that an address names"
    )
    group.add_argument("--status-callback", type=address, metavar="URL", help="of the number (default: none)")


def add_account(parser: ArgumentParser) -> None:
    account = parser.add_argument_group("the account")
    sid, token = os.environ.get("TWILIO_ACCOUNT_SID") or NO_ACCOUNT, os.environ.get("TWILIO_AUTH_TOKEN", "")
    account.add_argument(
        "--account-sid", type=_account_sid, default=sid, metavar="SID", help="default: TWILIO_ACCOUNT_SID, or all zeros"
    )
    account.add_argument(
        "--auth-token", default=token, metavar="TOKEN", help="signs every request; default: TWILIO_AUTH_TOKEN"
    )


def token_of(parser: ArgumentParser, tokens: str) -> str:
    """The one that signs: the first, where a server has several. Without one the program ends."""
    if not (token := tokens.partition(",")[0].strip()):
        parser.error("there is no token to sign with: set TWILIO_AUTH_TOKEN, or give --auth-token; the server's own")
    return token


def add_numbers(group: _ArgumentGroup) -> None:
    group.add_argument("--insecure", action="store_true", help="accept a self-signed certificate")
    group.add_argument(
        "--from", dest="from_number", default="+14155550100", metavar="NUMBER", help="who calls (%(default)s)"
    )
    group.add_argument(
        "--to", dest="to_number", default="+14155550199", metavar="NUMBER", help="who is called (%(default)s)"
    )


def add_call(parser: ArgumentParser) -> None:
    """What the caller does, and over which line."""
    call = parser.add_argument_group("the call")
    call.add_argument("--calls", type=positive, default=1, metavar="N", help="how many at once")
    says = call.add_mutually_exclusive_group()
    says.add_argument("--audio", type=wav, metavar="FILE", help="what the caller says: 8 kHz mono WAV, PCM16 or µ-law")
    says.add_argument("--say", dest="audio", type=_said, metavar="TEXT", help="or a sentence, spoken by espeak-ng")
    call.add_argument(
        "--call-sid", type=_call_sid, metavar="CA…", help="of the call, the first one if they are several; random"
    )
    call.add_argument("--callee-audio", type=wav, default=b"", metavar="FILE", help="what the person dialled says")
    call.add_argument("--dial", type=_dialled, action="append", default=[], metavar="OUTCOME[:SECONDS]", help=_DIALLED)
    call.add_argument(
        "--dtmf", type=_digit, action="append", default=[], metavar="SECONDS:DIGIT", help="a key; may be repeated"
    )
    call.add_argument("--duration", type=_seconds, metavar="SECONDS", help="how long the caller stays on the line")
    call.add_argument("--hang-up-after", type=_seconds, metavar="SECONDS", help="hang up then, in mid-sentence too")
    call.add_argument("--silence-timeout", type=_seconds, default=10.0, metavar="SECONDS", help=_SILENCE)
    line = parser.add_argument_group("a bad line")
    line.add_argument("--drop", type=_share, default=0.0, metavar="SHARE", help="share of packets lost, e.g. 0.02")
    line.add_argument(
        "--jitter", type=_seconds, default=0.0, metavar="SECONDS", help="packets are up to this much late"
    )
    line.add_argument("--burst", type=positive, default=1, metavar="N", help="packets arrive N at a time")
    line.add_argument("--cut-after", type=_seconds, metavar="SECONDS", help="the TCP connection dies then")
    line.add_argument("--seed", type=int, default=0, help="of drop and jitter")


def add_api(group: _ArgumentGroup, help: str) -> None:
    group.add_argument("--api-port", type=int, default=0, metavar="PORT", help=help)


def add_answer(group: _ArgumentGroup) -> None:
    """How a call is answered that the server places."""
    group.add_argument("--answer", choices=ANSWERS, default="human", help="who answers (default %(default)s)")
    group.add_argument("--rings", type=_seconds, default=2.0, metavar="SECONDS", help="default %(default)s")
    group.add_argument("--callbacks", choices=[*MANNERS, "early"], default="in-order", help=_CALLBACKS)


def add_output(parser: ArgumentParser) -> None:
    output = parser.add_argument_group("output")
    output.add_argument("--save", type=Path, metavar="FILE", help="WAV: left the caller, right what the caller heard")
    output.add_argument("--quiet", action="store_true", help="only say what went wrong")
    output.add_argument("--json", action="store_true", help="the reports as JSON on standard output")


def scenario_of(options: Options, **where: Any) -> Scenario:
    """One call as the options have it; what only the program knows (addresses, account, token) it says itself."""
    fields = {name: options[name] for name in _FIELDS}
    if options["call_sid"]:
        fields["call_sid"] = options["call_sid"]
    return Scenario(
        **{**fields, "server": options["server"] or "", "dtmf": tuple(options["dtmf"]), "dial": tuple(options["dial"])},
        **where,
    )


def address(text: str) -> str:
    """An http(s) address with whatever path it has."""
    return _checked(text, "https://voice.example.org/voice")


def origin(text: str) -> str:
    return _checked(text, "http://127.0.0.1:8000").rstrip("/")


def _checked(text: str, example: str) -> str:
    if not is_address(text):
        raise ArgumentTypeError(f"{text!r}: write an address like {example}")
    return text


def _account_sid(text: str) -> str:
    if not is_sid("AC", text):
        raise ArgumentTypeError(f"{text!r}: write AC and 32 hexadecimal digits")
    return text


def wav(name: str) -> bytes:
    try:
        return read_wav(Path(name).read_bytes())
    except OSError as error:
        raise ArgumentTypeError(f"{name}: {error.strerror}") from error
    except ValueError as error:
        raise ArgumentTypeError(f"{name}: {error}") from error


def _call_sid(text: str) -> str:
    if not is_sid("CA", text):
        raise ArgumentTypeError(f"{text!r}: write CA and 32 hexadecimal digits")
    return text


def _said(text: str) -> bytes:
    from simulator.spoken import spoken  # numpy, which few calls need, takes 0.1 s to load

    try:
        return spoken(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _digit(text: str) -> tuple[float, str]:
    seconds, _, digit = text.partition(":")
    if len(digit) != 1 or digit not in "0123456789*#ABCD":
        raise ArgumentTypeError(f"{text!r}: write it as SECONDS:DIGIT, e.g. 3.0:1, with a digit of 0-9 * # A-D")
    return _seconds(seconds), digit


def _dialled(text: str) -> Dialled:
    status, colon, seconds = text.partition(":")
    if status not in STATUSES:
        raise ArgumentTypeError(f"{text!r}: write it as OUTCOME:SECONDS, e.g. busy or completed:5")
    return Dialled(status, _seconds(seconds) if colon else None)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ArgumentTypeError(f"{text} is not a share; 0.02 loses two packets of a hundred")
    return share


def positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a whole number") from None
    if number < 1:
        raise ArgumentTypeError(f"{text} is less than one")
    return number
