"""The TwiML of a handler for one call, with a fresh token; an apology where there is none to be had."""

import logging

from django.core.handlers.asgi import ASGIRequest

from calls import addresses, handlers, metrics, twiml
from calls.security import StreamToken
from calls.server.departures import Departure, Order
from calls.server.preparations import ExpectedCall, preparations
from calls.server.stalls import sentence_with_line
from calls.server.switchboard import switchboard
from calls.server.tickets import ReturnTicket
from calls.webhooks.answers import Answer
from calls.webhooks.request import Webhook


logger = logging.getLogger(__name__)

# What of an action's address says that the call is over when whoever is dialled hangs up.
THEN, HANG_UP = "then", "hang-up"
# Seconds for which a call waits that a draining worker was asked about: by then the proxy's check of our readiness,
# once a second, has failed, and sends the stream to another one.
DRAINING_PAUSE = 1


def connect(
    webhook: Webhook,
    name: str,
    *,
    resumed: int,
    handed: int = 0,
    ticket: ReturnTicket | None = None,
    why: str = "",
) -> Answer:
    """The handler's TwiML with a fresh token; an apology if there is no such handler or its own `twiml` fails.

    `resumed` is how often this handler was connected again, `handed` how often the call was handed over before that.
    `ticket` is of a caller for whom a handler of that name waits; `why` goes on from "connected to …".
    """
    try:
        handler = handlers.find(name)
    except Exception as error:
        logger.exception("handler_unusable handler=%r call=%s", name, webhook.call_sid)
        metrics.refuse(metrics.Refusal.UNUSABLE_HANDLER)
        why = sentence_with_line(error)
        return Answer(twiml.apologise(), f"apologised: the handler {name[:40]!r} cannot be used ({why})")
    if handler is None:
        logger.error("handler_unknown name=%r call=%s; known: %s", name, webhook.call_sid, ", ".join(handlers.names()))
        metrics.refuse(metrics.Refusal.NO_HANDLER)
        return Answer(twiml.apologise(), f"apologised: there is no handler {name[:40]!r}")
    try:
        noun = _noun(webhook, name, resumed, handed, ticket)
        document = handler.twiml(noun)
    except Exception as error:
        logger.exception("twiml_failed handler=%r call=%s", name, webhook.call_sid)
        metrics.refuse(metrics.Refusal.NO_DOCUMENT)
        why = sentence_with_line(error)
        return Answer(twiml.apologise(), f"apologised: the document of {name[:40]!r} could not be made ({why})")
    if handler.options.prepare and ticket is None and "<Stream" in document and _stays(webhook):
        preparations.begin(name, handler.options.prepare, _expected(webhook, noun))
    return Answer(document, f"connected to {name}" + (" again" if resumed else "") + why)


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


def depart(webhook: Webhook, name: str, departure: Departure, *, resumed: int, handed: int = 0) -> Answer:
    """What was committed before the stream ended, of a call whose handler was that one."""
    order, ticket = departure.order, departure.ticket
    if order is not None and ticket is not None:
        more = {twiml.OUTING: ticket.sign(), **({"handed": handed} if handed else {})}
        return _dial(webhook, order, "dialled another number, as the handler asked", name, resumed, **more)
    if order is not None:
        more = {THEN: HANG_UP}
        return _dial(webhook, order, f"dialled another number, as {_who(departure)} asked", name, resumed, **more)
    if departure.handler:
        why = f", as {_who(departure)} asked"
        return connect(webhook, departure.handler, resumed=0, handed=departure.handed + 1, why=why)
    return Answer(twiml.hang_up(), f"hung up, as {_who(departure)} asked")


def _who(departure: Departure) -> str:
    return departure.by or "code"


def _dial(webhook: Webhook, order: Order, words: str, name: str, resumed: int, **more: object) -> Answer:
    """Connects the caller to a number; /stream-ended is asked what comes then."""
    ref = {"ref": ref} if (ref := webhook.parameters.get("ref")) else {}
    action = addresses.absolute(addresses.STREAM_ENDED, handler=name, resumed=resumed, **ref, **more)
    document = twiml.dial(order.number, timeout=order.timeout, caller_id=order.caller_id, action=action)
    return Answer(document, words)


def _noun(webhook: Webhook, name: str, resumed: int, handed: int, ticket: ReturnTicket | None) -> twiml.StreamNoun:
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
            handed=handed,
        ).sign()

    return twiml.StreamNoun(
        sign=sign,
        name=name,
        parameters=parameters,
        resumed=resumed,
        handed=handed,
        custom=webhook.custom,
        outing="" if ticket is None else ticket.sign(),
        # Twilio asks nobody again that has answered 503, and any other worker can take the stream: its token says all.
        pause=DRAINING_PAUSE if switchboard.draining else 0,
    )
