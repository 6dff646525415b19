"""How a call goes on whose socket is closed: it is over, or its handler is connected to it again."""

import logging
from dataclasses import dataclass, field

from django.conf import settings

from calls import twiml
from calls.models import Call, Stream
from calls.models.streams import RECONNECTS
from calls.server.outings import Departure
from calls.server.tickets import ReturnTicket
from calls.webhooks.answers import Answer
from calls.webhooks.documents import connect, dial
from calls.webhooks.request import Webhook, number


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Past:
    """How a call has gone so far: its last conversation's end, if it has ended, and whom that has had dialled."""

    how: str | None = None
    departure: Departure | None = None
    #: Attempts in a row that broke at once.
    broken: int = 0
    call: Call = field(default_factory=Call)


def how_to_go_on(webhook: Webhook, past: Past, name: str, resumed: int, ticket: ReturnTicket | None) -> Answer:
    """The answer. `ticket` is of a caller who comes back from a <Dial>, or had come back from one before."""
    if past.how == "finished":
        return Answer(twiml.hang_up(), "hung up: the conversation is over")
    if past.how == "failed":
        does = "went on with FAILED_HANDLER_TWIML" if settings.FAILED_HANDLER_TWIML else "apologised"
        return Answer(twiml.failed_handler(), f"{does}: the handler failed")
    name = name or settings.DEFAULT_STREAM_HANDLER
    if past.departure is not None and (ticket is None or ticket.key != past.departure.ticket.key):
        return dial(webhook, name, past.departure, resumed=resumed)
    if ticket is not None and (status := webhook.parameters.get("DialCallStatus")):
        duration = number(webhook.parameters.get("DialCallDuration")) or 0
        return connect(webhook, name, resumed=resumed + 1, ticket=ticket.stamped(status, duration))
    if past.broken > RECONNECTS:
        logger.error("reconnect_given_up call=%s after %d streams in a row", webhook.call_sid, past.broken)
        return Answer(twiml.apologise(), f"apologised: {past.broken} streams in a row broke at once")
    return connect(webhook, name, resumed=resumed + 1, ticket=ticket)


def last_streams(call_sid: str, attempts: int) -> Past:
    """What the database knows, after that many attempts to connect it.

    An attempt whose handshake failed has left no stream.
    """
    # One that listens beside them has nothing to do with how the conversation went.
    streams = Stream.objects.filter(call__sid=call_sid, bidirectional=True).order_by("-started_at", "-pk")
    call = Call.objects.filter(sid=call_sid).only("handler", "caller_name", "forwarded_from").first() or Call()
    broken = max(attempts - streams.count(), 0)
    for at, stream in enumerate(streams[: RECONNECTS + 1]):
        # After the end of its stream a handler fails nobody.
        failed = stream.handler_failed and stream.end_reason not in ("handler", "stop", "disconnect")
        if at == 0 and (failed or stream.handler_finished_at):
            return Past("failed" if failed else "finished", call=call)
        if at == 0 and stream.dial:
            return Past(departure=Departure.read(stream.dial), call=call)
        if not stream.broke_at_once:
            break
        broken += 1
    return Past(broken=broken, call=call)
