"""How a call goes on whose socket is closed: it is over, or its handler is connected to it again."""

import logging

from django.conf import settings

from calls import twiml
from calls.models import Call, Stream
from calls.models.streams import RECONNECTS
from calls.webhooks.answers import Answer
from calls.webhooks.documents import connect
from calls.webhooks.request import Webhook


logger = logging.getLogger(__name__)


def how_to_go_on(webhook: Webhook, how: str | None, name: str, resumed: int, broken: int) -> Answer:
    """The answer, from how its last conversation ended, if it did, and how many attempts in a row broke at once."""
    if how == "finished":
        return Answer(twiml.hang_up(), "hung up: the conversation is over")
    if how == "failed":
        does = "went on with FAILED_HANDLER_TWIML" if settings.FAILED_HANDLER_TWIML else "apologised"
        return Answer(twiml.failed_handler(), f"{does}: the handler failed")
    if broken > RECONNECTS:
        logger.error("reconnect_given_up call=%s after %d streams in a row", webhook.call_sid, broken)
        return Answer(twiml.apologise(), f"apologised: {broken} streams in a row broke at once")
    return connect(webhook, name or settings.DEFAULT_STREAM_HANDLER, resumed=resumed + 1)


def last_streams(call_sid: str, attempts: int) -> tuple[str | None, Call, int]:
    """How the call's last stream ended, the call, and how many attempts in a row broke at once.

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
            return ("failed" if failed else "finished"), call, 0
        if not stream.broke_at_once:
            break
        broken += 1
    return None, call, broken
