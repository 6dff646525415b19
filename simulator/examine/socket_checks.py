"""Sockets played message by message: whom the server lets in, and how it takes what real calls bring."""

from simulator.examine.facts import Facts
from simulator.examine.line import Heard
from simulator.examine.probes import CROSSING
from simulator.examine.verdicts import (
    MESSAGES,
    SECURITY,
    Check,
    Judgement,
    check,
    failed,
    passed,
    quoted,
    untested,
    warned,
)


@check(
    "unsigned-socket",
    "A socket without a signature gets nothing",
    "unsigned",
    "ending",
    why="Anybody who finds the address can talk to your server, at your expense, without a call of Twilio's.",
    page=SECURITY,
)
def unsigned_socket(facts: Facts) -> Judgement:
    line = facts.line("unsigned")
    if line is None:
        return untested(facts.why_no("unsigned"))
    if _kept_out(facts, line):
        return passed(_how_kept_out(line))
    says = "Neither the handshake's X-Twilio-Signature nor the call in `start` is checked: a stranger is served."
    return failed(says, *_served(line, "without X-Twilio-Signature"))


@check(
    "forged-socket",
    "A socket that is signed with another token gets nothing",
    "unsigned",
    "forged",
    "ending",
    why="A signature that is not computed and compared protects nothing.",
    page=SECURITY,
)
def forged_socket(facts: Facts) -> Judgement:
    unsigned, line = facts.line("unsigned"), facts.line("forged")
    if line is None or unsigned is None:
        return untested(facts.why_no("forged"))
    if not _kept_out(facts, unsigned):
        return untested("a socket needs no signature at all, as `unsigned-socket` says")
    if _kept_out(facts, line):
        return passed(_how_kept_out(line))
    return failed("Any signature will do.", *_served(line, "signed with another account's token"))


@check(
    "unknown-call",
    "A stream has to be of a call that was answered",
    "unsigned",
    "forged",
    "unknown call",
    "ending",
    why="The signature of a handshake is the same for every call: who has seen one can open streams with it. Keep the "
    "CallSids that you answered, or give each document a token as <Parameter>.",
    page=f"{MESSAGES}#start-message",
)
def unknown_call(facts: Facts) -> Judgement:
    line = facts.line("unknown call")
    if line is None:
        return untested(facts.why_no("unknown call"))
    for name in ("unsigned", "forged"):
        if (stranger := facts.line(name)) and not _kept_out(facts, stranger):
            return untested(f"not even the signature is checked, as `{name}-socket` says")
    if line.refused:
        return untested(line.refused)
    if _kept_out(facts, line):
        return passed(_how_kept_out(line))
    return warned("A `start` with a CallSid that no webhook had is served.", *_served(line, "signed"))


@check(
    "before-start",
    "Nothing is sent before `start`",
    "ending",
    why="Only `start` has the streamSid that every message needs.",
    page=f"{MESSAGES}#start-message",
)
def before_start(facts: Facts) -> Judgement:
    line = facts.line("ending")
    if line is None or line.refused:
        return untested(line.refused if line else facts.why_no("ending"))
    early = line.between(0, line.at["start"])
    if early:
        return failed("Something was sent after `connected`, and before `start`.", *map(quoted, early[:2]))
    return passed("Nothing was.")


@check(
    "after-stop",
    "Nothing is sent after `stop`",
    "ending",
    why="Nobody hears it. A server that talks on has not noticed that its caller is gone, and pays on.",
    page=f"{MESSAGES}#stop-message",
)
def after_stop(facts: Facts) -> Judgement:
    line = facts.line("ending")
    if line is None or line.refused:
        return untested(line.refused if line else facts.why_no("ending"))
    if line.closed_at is not None and line.closed_at < line.at["stop"]:
        return untested("the server had closed the socket before")
    late = line.between(line.at["stop"] + CROSSING + 2 * facts.lateness)
    if late and not line.between(line.at["start"], line.at["stop"]):
        return untested("the server was slow to begin, and may not have read `stop` yet when it did")
    if late:
        says = f"{len(late)} message(s) came more than {CROSSING:g} s after `stop` (sent at {line.at['stop']:.2f} s)."
        return warned(says, *map(quoted, late[:2]))
    return passed("Nothing was.")


@check(
    "left-open",
    "The socket is closed when Twilio closes it",
    "ending",
    "reading",
    why="Sockets that stay open are the memory and the file descriptors that are missing after some days.",
    page=f"{MESSAGES}#stop-message",
)
def left_open(facts: Facts) -> Judgement:
    line = facts.line("ending")
    if line is None or line.refused:
        return untested(line.refused if line else facts.why_no("ending"))
    if facts.is_behind:
        return untested("the server does not read in time, as `reads` says")
    if not line.answered_close:
        says = "Twilio's close frame was not answered within 5 s after `stop`."
        return failed(says, f"{line.at['close']:.2f} s → close frame", "no close frame came back")
    return passed("It was closed.")


def _tolerated(id: str, title: str, name: str, what: str, *, why: str, page: str) -> Check:
    """A check that fails if the server breaks a call off at that, and breaks none off without it."""

    @check(id, title, name, "alone", why=why, page=page)
    def judge(facts: Facts) -> Judgement:
        line = facts.line(name)
        if line is None or line.refused:
            return untested(line.refused if line else facts.why_no(name))
        moment = line.at["surprise"]
        if line.closed_at is not None and line.closed_at < moment:
            return untested("the server had closed the socket before")
        if not line.is_broken:
            return passed("The call went on." if line.closed_at is None else "The server ended the call, in order.")
        if facts.breaks_calls_off:
            return untested("the server breaks other calls off as well, as `close-code` says")
        sent = next(quoted(f"{at:.2f} s → {text}") for at, text in line.sent if at >= moment)
        return failed(f"The call was broken off at {what}.", sent, line.ending)

    return judge


key = _tolerated(
    "dtmf",
    "A key that the caller presses does no harm",
    "key",
    "`dtmf`",
    why="Callers press keys, also where nobody asked them to.",
    page=f"{MESSAGES}#dtmf-message",
)
mark = _tolerated(
    "unknown-mark",
    "A mark that the server does not expect does no harm",
    "mark",
    "a mark with a name of its own",
    why="After `clear` marks come back that a server may have forgotten already.",
    page=f"{MESSAGES}#mark-message",
)
event = _tolerated(
    "unknown-event",
    "An event that does not exist yet does no harm",
    "unknown event",
    "an unknown event",
    why="Twilio has added events (dtmf is one), and will add more.",
    page=MESSAGES,
)
jump = _tolerated(
    "jumps",
    "Timestamps that jump do no harm",
    "jump",
    "a timestamp 3 s later than the last one",
    why="Packets are lost, and phones send nothing while it is quiet: timestamps jump then, sequence numbers do not.",
    page=f"{MESSAGES}#media-message",
)


def _kept_out(facts: Facts, line: Heard) -> bool:
    """Refused, or closed by the server without a word; but for what it says to everybody."""
    words = {text for _, text in line.received} - facts.early
    return bool(line.refused) or (line.closed_at is not None and not words)


def _how_kept_out(line: Heard) -> str:
    return f"{line.refused}." if line.refused else f"It was taken, and at `start` {line.ending}."


def _served(line: Heard, how: str) -> list[str]:
    start = next((quoted(f"{at:.2f} s → {text}") for at, text in line.sent if '"start"' in text), "")
    answers = [quoted(text) for text in line.between(0)[:1]]
    return [f"GET with Upgrade, {how} → 101", start, *(answers or ["the socket was still open 6 s later"])]


CHECKS = (
    unsigned_socket,
    forged_socket,
    unknown_call,
    before_start,
    after_stop,
    left_open,
    key,
    mark,
    event,
    jump,
)
