"""How the server behaves in a call, and in two at once."""

import re
from collections.abc import Iterator
from itertools import permutations

from simulator.audio import FRAME_SAMPLES
from simulator.examine.facts import Facts, broke_rules
from simulator.examine.line import HEARTBEAT, ORDERLY
from simulator.examine.talks import QUEUED, REACTION, Talk
from simulator.examine.traces import quote
from simulator.examine.verdicts import (
    DOCS,
    ERRORS,
    MESSAGES,
    Judgement,
    check,
    failed,
    passed,
    quoted,
    untested,
    warned,
)


# Seconds that a second call may be answered later than one alone.
LATER = 2.0
# Seconds that the examination may be late itself before it accuses nobody of being late.
LATE = 1.0
NO_STREAM = "no stream was opened"
GONE = "the server is gone: it answered the call before, and now nobody does at its address"
BUSY = "this machine was too busy to tell: the examination itself was late"


@check(
    "opens",
    "The document's stream can be opened",
    "alone",
    why="The caller hears what follows the stream, or nothing.",
    page=f"{ERRORS}/31920",
)
def opens(facts: Facts) -> Judgement:
    report = facts.talk.report if facts.talk else None
    if facts.noun is None or report is None:
        return untested("there is no document that opens a stream")
    if report.streams:
        return passed(f"{facts.noun.url} took the socket.")
    return failed("The socket was not opened.", *(report.errors or report.warnings))


@check(
    "interruption",
    "The server stops talking when the caller does",
    "alone",
    "reading",
    why="What lies in Twilio's buffer is played to its end, however long ago the server has stopped: send `clear` too.",
    page=f"{MESSAGES}#send-a-clear-message",
)
def interruption(facts: Facts) -> Judgement:
    talk = facts.talk
    if talk is None or talk.stream is None:
        return untested(NO_STREAM)
    moment = talk.interruption
    if moment is None:
        most = f"at most {talk.most_queued:.1f} s" if talk.most_queued else "none"
        return untested(f"it takes {QUEUED:g} s of audio still to be played while the caller speaks; there was {most}")
    if moment.cleared_after is not None:
        return passed(f"It sent `clear` {moment.cleared_after:.1f} s after the caller had begun to speak.")
    if talk.stream.closed_by == "server":
        return untested("the server closed the socket meanwhile")
    if facts.lateness > LATE:
        return untested(BUSY)
    if facts.is_behind:
        return untested("the server does not read in time, as `reads` says")
    says = f"The caller spoke at {moment.at:.1f} s, with {moment.queued:.1f} s of audio still to be played, and no"
    meant = "unless the caller is meant to hear it all, as with a notice or music"
    says += f" `clear` came within {REACTION:g} s: they talk over each other, {meant}."
    return warned(says, *_around(talk, moment.at))


@check(
    "after-clear",
    "Marks that come back by `clear` are not waited for",
    "alone",
    "together",
    why="`clear` brings every mark back at once. A server that waits for one more is silent for the rest of the call.",
    page=f"{MESSAGES}#send-a-clear-message",
)
def after_clear(facts: Facts) -> Judgement:
    talk = facts.talk
    moment = talk.interruption if talk else None
    if talk is None or moment is None or moment.cleared_after is None:
        return untested("the server sent no `clear`")
    if not moment.returned:
        return untested("no mark was waiting when it sent `clear`")
    if moment.spoke_after:
        return passed(f"{len(moment.returned)} came back, and the server went on.")
    if talk.stream is None or talk.stream.closed_by == "server":
        return passed("They came back, and the server ended the stream.")
    if not (talk.was_answered or any(other.was_answered for other in facts.pair or ())):
        return untested("the server answers no speech in other calls either")
    names = ", ".join(moment.returned[:3])
    says = f"After its `clear` brought back {names}, the server has said nothing more, though the caller spoke again."
    return warned(says, *_last_words(talk))


@check(
    "close-code",
    "Sockets are closed in an orderly way",
    "alone",
    "together",
    why="Another end is an error in Twilio's debugger (31921, 31903), and for the caller the line is dead.",
    page=f"{ERRORS}/31921",
)
def close_code(facts: Facts) -> Judgement:
    closed = [stream for stream in facts.streams if stream.closed_by == "server" and not broke_rules(stream)]
    if not facts.streams:
        return untested(NO_STREAM)
    for stream in closed:
        if stream.closed_code == 1006:
            return failed("The connection broke off (31903).", f"{stream.seconds:.2f} s: no close frame")
        if stream.closed_code not in ORDERLY:
            code = stream.closed_code
            return failed(f"The server closed it with {code} (31921).", f"{stream.seconds:.2f} s ← close frame {code}")
    return passed(f"The server closed {len(closed)}, in order." if closed else "The caller always hung up first.")


@check(
    "reads",
    "The server reads all the time",
    "alone",
    "together",
    "reading",
    why="When it does not, Twilio throws the caller's words away (31930).",
    page=f"{ERRORS}/31930",
)
def reads(facts: Facts) -> Judgement:
    if not facts.streams:
        return untested(NO_STREAM)
    full = [warning for stream in facts.streams for warning in stream.warnings if "31930" in warning]
    if full:
        return failed("The server has stopped reading.", *full[:2])
    line = facts.line("reading")
    if line is None or line.refused:
        return untested(line.refused if line else facts.why_no("reading"))
    if line.is_deaf and facts.lateness > LATE:
        return untested(BUSY)
    if line.is_deaf:
        says = f"A WebSocket ping was not answered for {HEARTBEAT / 2:g} s: what the caller says waits unread."
        return warned(says, f"{line.closed_at:.2f} s: no pong, after {len(line.sent)} messages")
    return passed("It has taken everything, and answered pings.")


@check(
    "second-call",
    "A second caller is answered while a first one is",
    "alone",
    "together",
    why="With one process and one thread, the second caller hears nothing until the first one has hung up.",
    page=f"{DOCS}/voice/media-streams",
)
def second_call(facts: Facts) -> Judgement:
    alone, pair = facts.talk, facts.pair
    if alone is None or pair is None or alone.stream is None:
        return untested("not even one call was answered")
    for number, talk in enumerate(pair, 1):
        if talk.stream is None:
            errors = talk.report.errors if talk.report else []
            if any(error.startswith("no server at ") for error in errors):
                return untested(GONE)
            return failed(f"Call {number} of two at once opened no stream.", *errors)
    if not alone.received:
        return untested("the server says nothing in a call alone either")
    if silent := [number for number, talk in enumerate(pair, 1) if not talk.received]:
        return failed(f"Call {silent[0]} of two at once heard nothing, and one alone does.")
    return passed("Both were.")


@check(
    "blocking",
    "A call does not wait for another one",
    "alone",
    "together",
    why="Something that blocks (time.sleep, a request without await) stops the audio of every call of that process.",
    page="https://docs.python.org/3/library/asyncio-dev.html#running-blocking-code",
)
def blocking(facts: Facts) -> Judgement:
    alone, pair = facts.talk, facts.pair
    if alone is None or pair is None or alone.first_word is None:
        return untested("the server says nothing by itself in a call alone")
    words = [talk.first_word for talk in pair]
    if all(talk.stream is None for talk in pair):
        return untested("two calls at once were not answered")
    late = max(word - alone.first_word for word in words if word is not None) if any(words) else 0.0
    if late - facts.lateness > LATER:
        alone_for, two = f"{alone.first_word:.1f} s", " and ".join(f"{word or 0:.1f} s" for word in words)
        return warned(f"Alone a caller waits {alone_for} for the first word, and two at once wait {two}.")
    if late > LATER:
        return untested(BUSY)
    return passed(f"With two at once the first word comes {max(late, 0):.1f} s later.")


@check(
    "mixed-up",
    "Two calls are kept apart",
    "together",
    why="A caller who hears what is said to somebody else is the worst that can happen.",
    page=f"{MESSAGES}#start-message",
)
def mixed_up(facts: Facts) -> Judgement:
    if facts.pair is None or any(talk.stream is None for talk in facts.pair):
        return untested("two calls at once were not answered")
    proof = [line for mine, other in permutations(facts.pair, 2) for line in _strays(facts, mine, other)]
    if proof:
        return failed("One call has something of the other one.", *proof[:3])
    return passed("Neither has anything of the other one.")


def _strays(facts: Facts, mine: Talk, other: Talk) -> Iterator[str]:
    """What belongs to the other call, in this one."""
    if mine.stream is None or other.stream is None or mine.report is None or other.report is None:
        return
    for mistake in mine.stream.mistakes:
        if other.stream.sid in mistake:
            yield mistake
    for text in mine.report.twiml:
        for sid in set(re.findall("CA[0-9a-f]{32}", text)) - {mine.report.call_sid}:
            yield f"the document of {mine.report.call_sid} names {sid}: {quoted(text)}"
    if (word := _liveliest(other.said)) and word in facts.trace(mine.stream).heard:
        yield f"{mine.report.call_sid} was played what {other.report.call_sid} has said"


def _liveliest(said: bytes) -> bytes:
    """80 ms of it that nobody says by chance; b"" if it has none."""
    pieces = [said[at : at + 4 * FRAME_SAMPLES] for at in range(0, len(said), FRAME_SAMPLES)]
    best = max(pieces, key=lambda piece: len(set(piece)), default=b"")
    return best if len(set(best)) > 40 else b""


def _around(talk: Talk, at: float) -> Iterator[str]:
    """What the caller said then, and the server before and after."""
    trace = talk.stream.trace if talk.stream else []
    before = [traced for traced in trace if not traced.sent and traced.at < at]
    said = [traced for traced in trace if traced.sent and traced.at >= at and _is_heard(traced.text)]
    after = [traced for traced in trace if not traced.sent and at <= traced.at < at + REACTION]
    yield from map(quote, [*before[-1:], *said[:1], *after[:1]])
    if not after:
        yield f"{at + REACTION:.2f} s: nothing came back"


def _is_heard(text: str) -> bool:
    """Whether it is audio that does not begin with silence (0xFF): a sentence is quiet before its first word."""
    return '"payload":"' in text and '"payload":"////' not in text


def _last_words(talk: Talk) -> list[str]:
    """The last messages of the server, to quote."""
    return [quote(traced) for traced in talk.received[-2:]]


CHECKS = (opens, interruption, after_clear, close_code, reads, second_call, blocking, mixed_up)
