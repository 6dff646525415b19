"""What the server sends on a stream, message by message."""

from simulator import messages
from simulator.examine.facts import Facts
from simulator.examine.traces import quote
from simulator.examine.verdicts import (
    DOCS,
    ERRORS,
    SENDING,
    Check,
    Judgement,
    check,
    failed,
    passed,
    untested,
)
from simulator.report import StreamReport


SILENT = "the server sent nothing on any stream"


def _rejected(id: str, title: str, says: str, *phrases: str, why: str, page: str) -> Check:
    """A check that fails if a message is rejected for that: with a code and words of simulator.messages.

    One that comes before `start` is `before-start`'s business.
    """

    @check(id, title, "alone", "together", "ending", why=why, page=page)
    def judge(facts: Facts) -> Judgement:
        if not facts.has_spoken:
            return untested(SILENT)
        for stream in _judged(facts, id):
            for traced, mistake in facts.trace(stream).rejections:
                if traced.text not in facts.early and all(phrase in mistake for phrase in phrases):
                    return failed(says, mistake, quote(traced))
        return passed("No message was rejected for it.")

    return judge


def _judged(facts: Facts, id: str) -> list[StreamReport]:
    """A stream's SID in another one is `mixed-up`, where there are two."""
    return facts.first_streams if id == "stream-sid" else facts.streams


binary_frames = _rejected(
    "binary-frames",
    "Only text frames are sent",
    "Twilio throws binary frames away (31950): the caller hears nothing of them.",
    messages.MALFORMED,
    "binary",
    why="Twilio takes JSON in text frames; audio goes into them as base64.",
    page=f"{ERRORS}/31950",
)


@check(
    "websocket",
    "The WebSocket protocol is kept",
    "alone",
    "together",
    why="A frame that RFC 6455 forbids ends the stream (31924).",
    page=f"{ERRORS}/31924",
)
def websocket(facts: Facts) -> Judgement:
    if not facts.streams:
        return untested("no stream was opened")
    mistakes = [mistake for stream in facts.streams for mistake in stream.mistakes]
    broken = [m for m in mistakes if m.startswith(messages.PROTOCOL_ERROR) and "<Start>" not in m]
    return failed("Twilio ends the stream at this (31924).", *broken[:1]) if broken else passed("It is.")


@check(
    "start-speaks",
    "Nothing is sent on a <Start> stream",
    "alone",
    why="The caller never hears it: <Start> only listens. <Connect> is for streams that talk back.",
    page=f"{DOCS}/voice/media-streams#unidirectional-media-streams",
)
def start_speaks(facts: Facts) -> Judgement:
    names = [verb.name for verb in facts.document or []]
    if "Start" not in names:
        return untested("the document has no <Start>")
    if names[-1] == "Start":
        return untested("the call ends at once, as `start-alone` says")
    for stream in facts.first_streams:
        if mistakes := [mistake for mistake in stream.mistakes if "<Start>" in mistake]:
            says = f"{len(mistakes)} message(s) were sent, and Twilio ends the stream at the first (31924)."
            return failed(says, *[quote(traced) for traced in facts.trace(stream).received[:1]])
    return passed("Nothing was sent.")


valid_json = _rejected(
    "json",
    "Every message is JSON",
    "A message that is no JSON is ignored (31951).",
    messages.INVALID,
    "not JSON",
    why="What Twilio cannot read, the caller does not hear.",
    page=f"{ERRORS}/31951",
)
events = _rejected(
    "events",
    "Only media, mark and clear are sent",
    "A message of another event is ignored (31951).",
    messages.INVALID,
    "no event of Twilio's",
    why="There is no message to hang up or to stop a stream with: close the socket, or use the REST API.",
    page=SENDING,
)
missing_fields = _rejected(
    "missing-fields",
    "Every message has its streamSid and its body",
    "A message without a field that it needs is ignored (31951).",
    messages.INVALID,
    " without ",
    why="Twilio ignores it: audio is not heard, marks do not come back, the caller is not heard out.",
    page=SENDING,
)
extra_fields = _rejected(
    "extra-fields",
    "No message has fields of its own",
    "A message with an extra field is ignored (31951).",
    messages.INVALID,
    "with extra field",
    why="`track`, `timestamp` and `sequenceNumber` are Twilio's to send: “extra field” is a listed cause of 31951.",
    page=f"{ERRORS}/31951",
)
structure = _rejected(
    "structure",
    "Fields are strings where Twilio wants strings",
    "A message whose body is of another kind is ignored (31951).",
    messages.INVALID,
    "has to be",
    why="Twilio ignores it.",
    page=f"{ERRORS}/31951",
)
bodies = _rejected(
    "bodies",
    "The body of a message is an object",
    "A message whose body is no object is ignored (31951).",
    messages.INVALID,
    "is no object",
    why="Twilio ignores it.",
    page=f"{ERRORS}/31951",
)
stream_sid = _rejected(
    "stream-sid",
    "The streamSid is that of the stream",
    "A message with another stream's SID is ignored (31951).",
    messages.INVALID,
    "for streamSid",
    why="It is in `start`, and each stream has its own; the CallSid is something else.",
    page=SENDING,
)
base64 = _rejected(
    "base64",
    "Payloads are base64",
    "A payload that is not base64 is ignored (31951).",
    messages.INVALID,
    "not base64",
    why="A data URL, hexadecimal digits or line breaks are not heard.",
    page=SENDING,
)


CHECKS = (
    binary_frames,
    websocket,
    start_speaks,
    valid_json,
    events,
    missing_fields,
    extra_fields,
    structure,
    bodies,
    stream_sid,
    base64,
)
