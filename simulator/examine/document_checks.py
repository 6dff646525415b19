"""What the first document says, as far as Twilio minds."""

from urllib.parse import urljoin, urlsplit

from simulator.documents import TwimlError, Verb, read_stream
from simulator.examine.facts import Facts
from simulator.examine.verdicts import DOCS, ERRORS, STREAM, TWIML, Judgement, check, failed, passed, untested, warned


# https://www.twilio.com/docs/voice/twiml and the pages below it.
VERBS = {
    *("Connect", "Dial", "Echo", "Enqueue", "Gather", "Hangup", "Leave", "Pause", "Pay", "Play", "Prompt", "Queue"),
    *("Record", "Redirect", "Refer", "Reject", "Say", "Sms", "Start", "Stop"),
}
# Seconds of <Pause> after a stream that nobody takes for a breath.
DEAD_LINE = 3.0
NO_DOCUMENT = "there is no document that can be read"
NO_STREAM = "the document opens no stream"


@check(
    "verbs",
    "Every verb is one of Twilio's",
    "document",
    why="Twilio stops at a verb that it does not know (12200). Names are case-sensitive.",
    page=TWIML,
)
def verbs(facts: Facts) -> Judgement:
    if facts.document is None:
        return untested(NO_DOCUMENT)
    unknown = [verb for verb in facts.document if verb.name not in VERBS]
    if unknown:
        return failed(f"There is no verb {', '.join(f'<{verb.name}>' for verb in unknown)}.", _body(facts))
    return passed(", ".join(map(str, facts.document)) or "An empty <Response>.")


@check(
    "stream-url",
    "The Stream's url is wss:// and has no query",
    "document",
    why="Twilio dials wss:// only (31922), and strips the query before it dials: what was in it never arrives.",
    page=f"{STREAM}#url",
)
def stream_url(facts: Facts) -> Judgement:
    verb = _stream(facts)
    if verb is None:
        return untested(NO_STREAM if facts.document is not None else NO_DOCUMENT)
    given, base = (verb.noun("Stream") or verb).get("url"), facts.target.voice_url
    scheme, host, _, query, _ = urlsplit(given if "//" in given else urljoin(base, given))
    if not given or not host:
        return failed("The Stream has no address that could be dialled (31923).", _body(facts))
    secure = scheme in ("wss", "https") or (scheme == "http" and "//" not in given)
    if not secure and scheme != "ws":
        return failed(f"Twilio dials wss:// only, not {scheme}:// (31922).", _body(facts))
    if not secure and facts.target.is_public:
        return failed("Twilio dials wss:// only, not ws:// (31922).", _body(facts))
    if query:
        says = f"?{query} never arrives: give it as <Parameter>, or as part of the path."
        return warned(says, _body(facts))
    if not secure:
        return untested("the server was examined without TLS, where ws:// is right; behind TLS it has to be wss://")
    return passed(f"It is {given}.")


@check(
    "track",
    "The Stream's track is one that it can have",
    "document",
    why="With another track the stream never begins (31941). <Connect> has the caller's alone.",
    page=f"{ERRORS}/31941",
)
def track(facts: Facts) -> Judgement:
    return _refused_for(facts, "31941", "The track is one that it can have.")


@check(
    "parameters",
    "Each <Parameter> has a name, and less than 500 characters",
    "document",
    why="Longer ones do not arrive, and with them what the socket has to know of the call.",
    page=f"{STREAM}#parameter",
)
def parameters(facts: Facts) -> Judgement:
    count = len(facts.noun.parameters) if facts.noun else 0
    return _refused_for(facts, "<Parameter", f"There are {count}.")


@check(
    "stream",
    "The <Stream> is otherwise as Twilio wants it",
    "document",
    why="A stream that cannot be opened leaves the caller with what follows it, or alone.",
    page=STREAM,
)
def stream(facts: Facts) -> Judgement:
    elsewhere = ("31941", "<Parameter", "31922", "31923")
    return _refused_for(facts, "", "It can be opened.", elsewhere)


@check(
    "start-alone",
    "A <Start> has something after it",
    "document",
    why="<Start> does not wait for its stream: with nothing after it the call ends at once. <Connect> waits.",
    page=f"{DOCS}/voice/twiml/start",
)
def start_alone(facts: Facts) -> Judgement:
    if facts.document is None:
        return untested(NO_DOCUMENT)
    names = [verb.name for verb in facts.document]
    if "Start" not in names:
        return untested("the document has no <Start>")
    if names[-1] == "Start":
        return failed("The call ends as soon as the stream has begun.", _body(facts))
    return passed(f"{facts.document[-1]} follows.")


@check(
    "trailing-pause",
    "No dead line follows the stream",
    "document",
    why="A <Pause> copied from a <Start> recipe keeps the caller on a silent line when the socket is closed.",
    page=f"{DOCS}/voice/twiml/connect",
)
def trailing_pause(facts: Facts) -> Judgement:
    if facts.document is None:
        return untested(NO_DOCUMENT)
    names = [verb.name for verb in facts.document]
    if "Connect" not in names:
        return untested("the document has no <Connect>")
    after = facts.document[names.index("Connect") + 1 :]
    seconds = sum(_seconds(verb) for verb in after if verb.name == "Pause")
    if seconds > DEAD_LINE:
        return warned(f"When the socket is closed, the caller hears nothing for {seconds:g} s.", _body(facts))
    return passed("None does.")


def _seconds(pause: Verb) -> float:
    try:
        return float(pause.get("length", "1"))
    except ValueError:
        return 0.0


def _stream(facts: Facts) -> Verb | None:
    """The first verb with a stream."""
    found = (v for v in facts.document or [] if v.name in ("Connect", "Start") and v.noun("Stream"))
    return next(found, None)


def _refused_for(facts: Facts, why: str, otherwise: str, but: tuple[str, ...] = ()) -> Judgement:
    """Fails if the stream is refused for that, and for nothing that other checks say."""
    verb = _stream(facts)
    if verb is None:
        return untested(NO_STREAM if facts.document is not None else NO_DOCUMENT)
    try:
        read_stream(verb, facts.target.voice_url)
    except TwimlError as error:
        if why in str(error) and not any(other in str(error) for other in but):
            return failed(f"{error}.", _body(facts))
    return passed(otherwise)


def _body(facts: Facts) -> str:
    return str(facts.answers["twilio"])


CHECKS = (verbs, stream_url, track, parameters, stream, start_alone, trailing_pause)
