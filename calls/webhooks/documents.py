"""The TwiML of a handler for one call, with a fresh token; an apology where there is none to be had."""

import logging

from django.core.handlers.asgi import ASGIRequest

from calls import addresses, handlers, twiml
from calls.security import StreamToken
from calls.server.outings import Departure
from calls.server.preparations import ExpectedCall, preparations
from calls.server.stalls import sentence_with_line
from calls.server.switchboard import switchboard
from calls.server.tickets import ReturnTicket
from calls.webhooks.answers import Answer
from calls.webhooks.request import Webhook


logger = logging.getLogger(__name__)

# Seconds for which a call waits that a draining worker was asked about: by then the proxy's check of our readiness,
# once a second, has failed, and sends the stream to another one.
DRAINING_PAUSE = 1


def connect(webhook: Webhook, name: str, *, resumed: int, ticket: ReturnTicket | None = None) -> Answer:
    """The handler's TwiML with a fresh token; an apology if there is no such handler or its own `twiml` fails.

    `ticket` is of a caller for whom a handler of that name waits.
    """
    try:
        handler = handlers.find(name)
    except Exception as error:
        logger.exception("handler_unusable handler=%r call=%s", name, webhook.call_sid)
        why = sentence_with_line(error)
        return Answer(twiml.apologise(), f"apologised: the handler {name[:40]!r} cannot be used ({why})")
    if handler is None:
        logger.error("handler_unknown name=%r call=%s; known: %s", name, webhook.call_sid, ", ".join(handlers.names()))
        return Answer(twiml.apologise(), f"apologised: there is no handler {name[:40]!r}")
    try:
        noun = _noun(webhook, name, resumed, ticket)
        document = handler.twiml(noun)
    except Exception as error:
        logger.exception("twiml_failed handler=%r call=%s", name, webhook.call_sid)
        why = sentence_with_line(error)
        return Answer(twiml.apologise(), f"apologised: the document of {name[:40]!r} could not be made ({why})")
    if handler.options.prepare and ticket is None and "<Stream" in document and _stays(webhook):
        preparations.begin(name, handler.options.prepare, _expected(webhook, noun))
    return Answer(document, f"connected to {name}" + (" again" if resumed else ""))


def _stays(webhook: Webhook) -> bool:
    """Whether the stream may come here: not if we drain, nor below WSGI, where the loop ends with the request."""
    return isinstance(webhook.request, ASGIRequest) and not switchboard.draining


def _expected(webhook: Webhook, noun: twiml.StreamNoun) -> ExpectedCall:
    parameters = webhook.parameters
    return ExpectedCall(
        call_sid=webhook.call_sid,
        account_sid=parameters.get("AccountSid", "")[:34],
        from_number=parameters.get("From", ""),
        to_number=parameters.get("To", ""),
        direction=parameters.get("Direction", "inbound")[:24],
        parameters=dict(noun.custom),
        resumed=noun.resumed,
    )


def dial(webhook: Webhook, name: str, departure: Departure, *, resumed: int) -> Answer:
    """Connects the caller to the number that their handler dials; /stream-ended is asked what comes then."""
    order = departure.order
    where = {"handler": name, "resumed": resumed, **({"ref": ref} if (ref := webhook.parameters.get("ref")) else {})}
    action = addresses.absolute(addresses.STREAM_ENDED, **where, **{twiml.OUTING: departure.ticket.sign()})
    document = twiml.dial(order.number, timeout=order.timeout, caller_id=order.caller_id, action=action)
    return Answer(document, "dialled another number, as the handler asked")


def _noun(webhook: Webhook, name: str, resumed: int, ticket: ReturnTicket | None) -> twiml.StreamNoun:
    parameters = webhook.parameters

    def sign(bidirectional: bool) -> str:
        return StreamToken(
            call_sid=webhook.call_sid,
            handler=name,
            account_sid=parameters.get("AccountSid", "")[:34],
            from_number=parameters.get("From", ""),
            to_number=parameters.get("To", ""),
            direction=parameters.get("Direction", "inbound")[:24],
            bidirectional=bidirectional,
            resumed=resumed,
        ).sign()

    return twiml.StreamNoun(
        sign=sign,
        name=name,
        parameters=parameters,
        resumed=resumed,
        custom=webhook.custom,
        outing="" if ticket is None else ticket.sign(),
        # Twilio asks nobody again that has answered 503, and any other worker can take the stream: its token says all.
        pause=DRAINING_PAUSE if switchboard.draining else 0,
    )
