"""What Twilio requests over HTTP. Nothing unsigned is answered: no TwiML, no row, no query.

Every view works while the database is away: what it has to store goes there if it answers within 2 s, and is written
later by the recorder if not. The same rows are never stored twice.
"""

import logging
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone

from calls import metrics, tracing, twiml
from calls.media.rows import CallRow, EventRow
from calls.media.sids import is_stream_sid
from calls.models import Call
from calls.recorder import recorder
from calls.server.outings import outings
from calls.server.preparations import preparations
from calls.server.switchboard import switchboard
from calls.server.tickets import ReturnTicket
from calls.webhooks.answers import BAD_DOCUMENT, Answer, event, failed_action
from calls.webhooks.documents import HANG_UP, THEN, connect
from calls.webhooks.keeping import AWAY, ask, keep
from calls.webhooks.reconnecting import Past, after_last_dial, how_to_go_on, last_streams
from calls.webhooks.request import Webhook, number
from calls.webhooks.signature import from_twilio


logger = logging.getLogger(__name__)


@from_twilio
async def incoming(webhook: Webhook, handler: str = "") -> HttpResponse:
    """The voice webhook, and its fallback: notes the call, and connects it to its handler."""
    name = handler or settings.DEFAULT_STREAM_HANDLER
    if (code := webhook.parameters.get("ErrorCode")) and (response := await _after_failure(webhook, name, code)):
        return response
    # Of a process that drains it does not matter: another one takes the stream.
    if switchboard.is_full and not switchboard.draining:
        return await _turn_away(webhook, name)
    # Only this request's: those of callbacks are kept with their events, and come in any order.
    facts = {"parameters": webhook.other_parameters, "handler": name}
    return await _answer(webhook, "incoming", connect(webhook, name, resumed=0), facts)


async def _after_failure(webhook: Webhook, name: str, code: str) -> HttpResponse | None:
    """What the fallback is asked for: Twilio got no answer that it could use. None if the call is to begin again."""
    logger.warning(
        "voice_fallback call=%s code=%s url=%s",
        webhook.call_sid,
        ascii(code[:20])[1:-1],
        ascii(webhook.parameters.get("ErrorUrl", "").partition("?")[0][:200])[1:-1],
    )
    if BAD_DOCUMENT.fullmatch(code):
        answer = Answer(twiml.apologise(), f"apologised: Twilio could not use our last document ({code})")
        return await _answer(webhook, "incoming", answer)
    if (action := failed_action(webhook.parameters)) is not None:
        # The call has been talking to us: it goes on where its stream broke, rather than start over.
        return await _go_on(webhook, {"handler": name, **action})
    return None


async def _turn_away(webhook: Webhook, name: str) -> HttpResponse:
    """As many calls are running as this process takes."""
    logger.error("call_rejected reason=full call=%s streams=%d", webhook.call_sid, len(switchboard.live))
    metrics.refuse(metrics.Refusal.FULL)
    if webhook.is_answered:
        # Twilio, or whom we called, has picked up: <Reject> comes too late, and the call is not busy
        # (https://www.twilio.com/docs/voice/twiml/reject).
        answer = Answer(twiml.apologise(), "apologised: as many calls are running as this server takes")
        return await _answer(webhook, "incoming", answer, {"handler": name, "has_warning": True}, reason="full")
    facts = {"handler": name, "status": Call.Status.BUSY, "has_warning": True}
    return await _answer(webhook, "refused", Answer(twiml.busy(), "refused: full"), facts, reason="full")


async def _answer(
    webhook: Webhook,
    kind: str,
    answer: Answer,
    facts: dict[str, Any] | None = None,
    *,
    is_away: bool = False,
    **more: str,
) -> HttpResponse:
    """Answers a voice request, and keeps what was asked and answered; `is_away`: the database has not answered once."""
    status, words = _said(webhook.parameters.get("CallStatus", "")), _said(answer.words)
    logger.info("webhook_answered call=%s kind=%s status=%s: %s", webhook.call_sid, kind, status, words)
    tracing.current().note(outcome=answer.words)
    call = webhook.call
    call.facts |= {"dialing": answer.lives_on, **(facts or {})}
    row = event(
        kind,
        webhook.call_sid,
        webhook.parameters,
        answer,
        at=timezone.now(),
        delivery=webhook.delivery,
        **more,
    )
    if is_away:
        recorder.submit([call, row])
    else:
        await keep(webhook.request, call, row)
    return HttpResponse(answer.document, content_type="text/xml; charset=utf-8")


@from_twilio
async def call_status(webhook: Webhook) -> HttpResponse:
    """A call status callback: one event, and perhaps a status that moves up."""
    parameters = webhook.parameters
    sequence = parameters.get("SequenceNumber", "")
    status = parameters.get("CallStatus", "")
    if Call.Status.is_terminal(status):
        preparations.drop(webhook.call_sid)
    key = ":".join((parameters.get("CallbackSource", "call"), sequence or parameters.get("Timestamp", ""), status))
    row = EventRow(
        call=webhook.call_sid,
        stream=None,
        source="call-status",
        kind=status or "unknown",
        key=f"call-status:{key}",
        occurred_at=webhook.occurred_at,
        data=webhook.data,
        sequence_number=number(sequence),
    )
    await keep(webhook.request, webhook.call, row)
    if Call.Status.is_terminal(status):
        outings.lose(webhook.call_sid)
    return HttpResponse(status=204)


@from_twilio
async def stream_status(webhook: Webhook) -> HttpResponse:
    """A stream status callback. It has no order but its Timestamp, and may come before or after the socket."""
    parameters = webhook.parameters
    kind, stream = parameters.get("StreamEvent", "unknown"), parameters.get("StreamSid", "")
    stream = stream if is_stream_sid(stream) else ""
    if kind == "stream-error":
        why = _said(parameters.get("StreamError", ""))
        logger.warning("stream_error call=%s stream=%s: Twilio says: %s", webhook.call_sid, stream or "unknown", why)
    row = EventRow(
        call=webhook.call_sid,
        stream=stream or None,
        source="stream-status",
        kind=kind,
        key=f"stream-status:{stream}:{kind}",
        occurred_at=webhook.occurred_at,
        data=webhook.data,
    )
    facts = {"account_sid": parameters["AccountSid"]} if parameters.get("AccountSid") else {}
    await keep(webhook.request, CallRow(webhook.call_sid, facts, at=timezone.now()), row)
    return HttpResponse(status=204)


@from_twilio
async def stream_ended(webhook: Webhook) -> HttpResponse:
    """The `action` of <Connect>: its socket is closed. Hangs up if the conversation is over, else connects again."""
    return await _go_on(webhook, webhook.parameters)


async def _go_on(webhook: Webhook, action: Mapping[str, str]) -> HttpResponse:
    """How a call goes on whose socket is closed, or its <Dial>.

    `action` is what the asked address says: the handler, how often it was connected again and the call handed over
    before, the ticket with which its caller was sent to another number, and whether that was for good.
    """
    name, resumed, handed = action.get("handler", ""), _count(action, "resumed"), _count(action, "handed")
    if Call.Status.is_terminal(webhook.parameters.get("CallStatus", "")):
        preparations.drop(webhook.call_sid)
        outings.lose(webhook.call_sid)
        return await _answer(webhook, "stream-ended", Answer(twiml.hang_up(), "hung up: the call is over"))
    if action.get(THEN) == HANG_UP:
        return await _answer(webhook, "stream-ended", after_last_dial(webhook.parameters.get("DialCallStatus", "")))
    past, is_away = _remembered(webhook.call_sid, resumed, handed), False
    if past.how is None and past.departure is None:
        try:
            asked = webhook
            past = await ask(webhook.request, lambda: last_streams(asked.call_sid, resumed + 1, handed))
            name = name or past.call.handler
            webhook = webhook.reminded(CallerName=past.call.caller_name, ForwardedFrom=past.call.forwarded_from)
        except AWAY as error:
            logger.warning("stream_ended_without_database call=%s: %s", webhook.call_sid, ascii(str(error))[:200])
            is_away = True
    answer = how_to_go_on(webhook, past, name, resumed, ReturnTicket.read(action.get(twiml.OUTING), webhook.call_sid))
    return await _answer(webhook, "stream-ended", answer, is_away=is_away)


def _said(text: str) -> str:
    """As a line of the log may have it."""
    return ascii(text[:300])[1:-1]


def _count(action: Mapping[str, str], name: str) -> int:
    return number(action.get(name)) or 0


def _remembered(call_sid: str, resumed: int, handed: int) -> Past:
    """What this process knows of a call that it has served last."""
    asked, outing = switchboard.departures.get(call_sid), outings.of_call(call_sid)
    # The call may have gone on at another process since.
    departure = asked if asked is not None and asked.handed == handed else outing.departure if outing else None
    return Past(switchboard.finished.get(call_sid), departure, resumed + 1, handed)
