"""How a call goes on whose socket is closed: it is over, or its handler is connected to it again."""

import logging
from dataclasses import dataclass, field
from itertools import takewhile

from django.conf import settings

from calls import metrics, twiml
from calls.models import Call, Stream
from calls.models.streams import RECONNECTS
from calls.server.departures import Departure
from calls.server.tickets import ReturnTicket
from calls.webhooks.answers import Answer
from calls.webhooks.documents import connect, depart
from calls.webhooks.request import Webhook, number


logger = logging.getLogger(__name__)


# The words of DialCallStatus for somebody who was reached: https://www.twilio.com/docs/voice/twiml/dial#action.
REACHED = ("completed", "answered")


@dataclass(frozen=True)
class Past:
    """How a call has gone so far: its last conversation's end, if it has ended, and whom that has had dialled."""

    how: str | None = None
    departure: Departure | None = None
    #: Attempts in a row that broke at once.
    broken: int = 0
    #: How often the call was handed over to another handler before.
    handed: int = 0
    call: Call = field(default_factory=Call)


def how_to_go_on(webhook: Webhook, past: Past, name: str, resumed: int, ticket: ReturnTicket | None) -> Answer:
    """The answer. `ticket` is of a caller who comes back from a <Dial>, or had come back from one before."""
    if past.departure is not None and past.departure.is_asked_for:
        return depart(webhook, name, past.departure, resumed=resumed)
    if past.how == "finished":
        return Answer(twiml.hang_up(), "hung up: the conversation is over")
    if past.how == "failed":
        does = "went on with FAILED_HANDLER_TWIML" if settings.FAILED_HANDLER_TWIML else "apologised"
        return Answer(twiml.failed_handler(), f"{does}: the handler failed")
    name = name or settings.DEFAULT_STREAM_HANDLER
    if past.departure is not None and (ticket is None or ticket.key != past.departure.key):
        return depart(webhook, name, past.departure, resumed=resumed, handed=past.handed)
    if ticket is not None and (status := webhook.parameters.get("DialCallStatus")):
        duration = number(webhook.parameters.get("DialCallDuration")) or 0
        ticket = ticket.stamped(status, duration)
        return connect(webhook, name, resumed=resumed + 1, handed=past.handed, ticket=ticket)
    if past.broken > RECONNECTS:
        logger.error("reconnect_given_up call=%s after %d streams in a row", webhook.call_sid, past.broken)
        metrics.refuse(metrics.Refusal.BROKE_AGAIN)
        return Answer(twiml.apologise(), f"apologised: {past.broken} streams in a row broke at once")
    return connect(webhook, name, resumed=resumed + 1, handed=past.handed, ticket=ticket)


def after_last_dial(status: str) -> Answer:
    """Who was dialled when the handler had ended is done, or was not reached: that is the end of the call."""
    if status in REACHED:
        return Answer(twiml.hang_up(), "hung up: the call to the other number is over")
    return Answer(twiml.apologise(), f"apologised: the other number was not reached ({status[:20] or 'unknown'})")


def last_streams(call_sid: str, attempts: int, handed: int) -> Past:
    """What the database knows, after that many attempts to connect the call since it was handed over that often.

    An attempt whose handshake failed has left no stream.
    """
    # One that listens beside them has nothing to do with how the conversation went.
    streams = Stream.objects.filter(call__sid=call_sid, bidirectional=True).order_by("-started_at", "-pk")
    call = Call.objects.filter(sid=call_sid).only("handler", "caller_name", "forwarded_from").first() or Call()
    recent = list(streams[: RECONNECTS + 1])
    own = list(takewhile(lambda stream: not _was_handed_on(stream, handed), recent))
    there_are_more = len(own) == RECONNECTS + 1
    broken = max(attempts - (streams.count() if there_are_more else len(own)), 0)
    for at, stream in enumerate(own):
        departure = Departure.read(stream.dial)
        if at == 0 and departure is not None and departure.is_asked_for:
            return Past(departure=departure, call=call, handed=handed)
        # After the end of its stream a handler fails nobody.
        failed = stream.handler_failed and stream.end_reason not in ("handler", "stop", "disconnect")
        if at == 0 and (failed or stream.handler_finished_at):
            return Past("failed" if failed else "finished", call=call, handed=handed)
        if at == 0 and departure is not None:
            return Past(departure=departure, call=call, handed=handed)
        if not stream.broke_at_once:
            break
        broken += 1
    return Past(broken=broken, call=call, handed=handed)


def _was_handed_on(stream: Stream, handed: int) -> bool:
    """Whether it was left for the handler that the call has by now, or for one before that."""
    departure = Departure.read(stream.dial)
    return departure is not None and bool(departure.handler) and departure.handed < handed
