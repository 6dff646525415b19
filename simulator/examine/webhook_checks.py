"""The voice webhook and the callbacks: who is answered, and with what."""

from simulator.carrier import Answer
from simulator.documents import MAX_BYTES, XML_TYPES, TwimlError, parse_twiml
from simulator.examine.facts import Facts
from simulator.examine.verdicts import (
    DOCS,
    ERRORS,
    SECURITY,
    STREAM,
    Judgement,
    check,
    failed,
    passed,
    untested,
    warned,
)


NO_CHECKS = "the server looks at no signature at all, as `unsigned-webhook` says"


@check(
    "webhook",
    "The voice webhook answers Twilio with 200",
    "document",
    why="Without a document the caller hears “an application error has occurred”, and the call ends.",
    page=f"{ERRORS}/11200",
)
def webhook(facts: Facts) -> Judgement:
    exchange = facts.answers["twilio"]
    if exchange.answer is None:
        return failed("The webhook was not answered.", str(exchange))
    if exchange.status == 200:
        return passed("A signed request was answered with 200.")
    if 300 <= exchange.status < 400:
        return untested("it redirects, as `redirect` says")
    if exchange.status in (401, 403):
        hint = f"Is it signed for the right address, {facts.target.voice_url}, and with the server's own auth token?"
        return failed(f"A signed request was refused. {hint}", str(exchange))
    return failed(f"A signed request was answered with {exchange.status}.", str(exchange))


@check(
    "redirect",
    "The voice webhook does not redirect",
    "document",
    why="Twilio follows a redirect with a GET, and all that it has said about the call is lost: a missing slash at the "
    "end of the address does it.",
    page=f"{ERRORS}/11215",
)
def redirect(facts: Facts) -> Judgement:
    exchange = facts.answers["twilio"]
    if exchange.answer is None:
        return untested("the webhook was not answered")
    if 300 <= exchange.status < 400:
        return failed("The webhook redirects: give Twilio the address that it redirects to.", str(exchange))
    return passed("It answers by itself.")


@check(
    "content-type",
    "TwiML is sent as text/xml",
    "document",
    why="Twilio reads other types aloud or refuses them (12300).",
    page=f"{ERRORS}/12300",
)
def content_type(facts: Facts) -> Judgement:
    answer = _answer(facts)
    if answer is None:
        return untested("there is no document")
    kind = answer.content_type.partition(";")[0].strip().lower()
    if kind in XML_TYPES:
        return passed(f"It is {kind}, which Twilio takes for XML.")
    proof = str(facts.answers["twilio"])
    if kind == "text/plain":
        return warned("Content-Type is text/plain: Twilio reads aloud what it cannot run.", proof)
    return failed(f"Content-Type is {kind or 'missing'}, which is no TwiML to Twilio.", proof)


@check(
    "twiml-size",
    "The document is at most 64 kB",
    "document",
    why="A longer one is not read at all (11750), and the call ends.",
    page=f"{ERRORS}/11750",
)
def twiml_size(facts: Facts) -> Judgement:
    answer = _answer(facts)
    if answer is None:
        return untested("there is no document")
    size = len(answer.body)
    if size > MAX_BYTES:
        return failed(f"The document has {size:,} bytes.", str(facts.answers["twilio"]))
    return passed(f"It has {size:,} bytes.")


@check(
    "twiml",
    "The document is well-formed XML inside <Response>",
    "document",
    why="Twilio cannot run anything else (12100), and the call ends.",
    page=f"{ERRORS}/12100",
)
def twiml(facts: Facts) -> Judgement:
    answer = _answer(facts)
    if answer is None:
        return untested("there is no document")
    try:
        if len(answer.body) <= MAX_BYTES:  # a longer one is what `twiml-size` is about
            parse_twiml(answer.body, "text/xml")
    except TwimlError as error:
        return failed(f"It cannot be parsed: {error}.", str(facts.answers["twilio"]))
    return passed("It can be parsed.")


@check(
    "unsigned-webhook",
    "A webhook without a signature is refused",
    "document",
    "strangers",
    why="Whoever finds the address can place calls to it: they cost money, and tell what callers may hear.",
    page=SECURITY,
)
def unsigned_webhook(facts: Facts) -> Judgement:
    if not facts.answers["twilio"].is_document:
        return untested("not even a signed webhook gets a document")
    exchange = facts.answers["stranger"]
    if exchange.is_document:
        return failed("Anybody gets a document: the server does not look at X-Twilio-Signature.", str(exchange))
    return passed(f"It was refused with {exchange.status or 'no answer'}.")


@check(
    "forged-webhook",
    "A webhook that is signed with another token is refused",
    "document",
    "strangers",
    why="A signature that is not computed and compared protects nothing.",
    page=SECURITY,
)
def forged_webhook(facts: Facts) -> Judgement:
    if not facts.answers["twilio"].is_document:
        return untested("not even a signed webhook gets a document")
    if not facts.checks_signatures:
        return untested(NO_CHECKS)
    exchange = facts.answers["forger"]
    if exchange.is_document:
        return failed("Any signature will do: it is asked for and not checked.", str(exchange))
    return passed(f"It was refused with {exchange.status or 'no answer'}.")


@check(
    "get-webhook",
    "A GET is checked as a POST is",
    "document",
    "strangers",
    why="Whether Twilio uses GET is a setting of the number; a server that answers it unchecked is open to anybody.",
    page=SECURITY,
)
def get_webhook(facts: Facts) -> Judgement:
    if not facts.answers["twilio"].is_document:
        return untested("not even a signed webhook gets a document")
    if not facts.checks_signatures:
        return untested(NO_CHECKS)
    stranger, signed = facts.answers["get stranger"], facts.answers["get"]
    if stranger.is_document:
        return failed("A GET is answered without a signature, while a POST needs one.", str(stranger))
    if signed.status in (401, 403):
        says = "A signed GET is refused: its signature is over the address with its query, and no form."
        return warned(says, str(signed))
    if signed.is_document:
        return passed("It is answered with a signature only.")
    return passed(f"It is not taken ({signed.status}): set the number to POST.")


@check(
    "repeated-webhook",
    "A webhook that comes twice does no harm",
    "repeated",
    "alone",
    why="Twilio sends it again after a failed connection, with the same I-Twilio-Idempotency-Token.",
    page=f"{DOCS}/usage/webhooks/webhooks-connection-overrides",
)
def repeated_webhook(facts: Facts) -> Judgement:
    line, exchange = facts.line("repeated"), facts.answers.get("repeated")
    if line is None or line.refused:
        return untested(line.refused if line else facts.why_no("repeated"))
    closed = line.closed_at
    if closed is not None and closed < line.at.get("repeated", 0):
        return untested("the server had closed the socket before")
    if exchange is None or exchange.answer is None or exchange.status >= 400:
        return failed("The second one was answered with an error, which ends the call.", str(exchange))
    if line.is_broken and facts.breaks_calls_off:
        return untested("the server breaks other calls off as well, as `close-code` says")
    if line.is_broken:
        return failed(f"The call that ran was broken off: {line.ending}.", str(exchange))
    return passed(f"It was answered with {exchange.status}, and the call went on.")


@check(
    "callbacks",
    "Status callbacks are answered with 200 or 204",
    "alone",
    why="They say that a call is over or a stream has failed. What is lost leaves calls that never end in your data.",
    page=f"{STREAM}#statuscallback",
)
def callbacks(facts: Facts) -> Judgement:
    report = facts.talk.report if facts.talk else None
    wanted = {facts.target.status_callback, facts.noun.status_callback if facts.noun else ""} - {""}
    if report is None or not wanted:
        return untested("the document names no statusCallback, and --status-callback was not given")
    answered = [(url, status) for url, status in report.requests if url.partition("?")[0] in wanted or url in wanted]
    lines = [f"POST {url} → {status}" for url, status in answered if status not in (200, 204)]
    lines += [error for error in report.errors if error.startswith("status callback")]
    if lines:
        return failed("Callbacks are answered with errors.", *lines)
    return passed(f"{len(answered)} came, and all were answered.") if answered else untested("none came")


@check(
    "documents",
    "What follows the first document can be run as well",
    "alone",
    why="The `action` of <Connect> and each <Redirect> is a webhook like the first: an error there ends the call.",
    page=f"{DOCS}/voice/twiml/connect#action",
)
def documents(facts: Facts) -> Judgement:
    report = facts.talk.report if facts.talk else None
    if report is None or len(report.twiml) == 0:
        return untested("there is no document")
    broken = [error for error in report.errors if error.startswith("the webhook")]
    if broken:
        return failed("A later document could not be had.", *broken)
    if len(report.twiml) == 1:
        return untested("the call needed no second document")
    return passed(f"{len(report.twiml)} documents were run.")


def _answer(facts: Facts) -> Answer | None:
    """The document, or what was sent as one."""
    exchange = facts.answers["twilio"]
    return exchange.answer if exchange.answer and exchange.status == 200 else None


CHECKS = (
    webhook,
    redirect,
    content_type,
    twiml_size,
    twiml,
    unsigned_webhook,
    forged_webhook,
    get_webhook,
    repeated_webhook,
    callbacks,
    documents,
)
