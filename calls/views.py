"""What Twilio requests over HTTP. Nothing unsigned is answered: no TwiML, no row, no query.

Every view works while the database is away: what it has to store goes there if it answers within 2 s, and is written
behind by the recorder if not. The same rows are never stored twice.
"""

import asyncio
import datetime as dt
import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import wraps
from typing import Any, TypeVar, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseForbidden
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from calls import handlers, twiml
from calls.media.protocol import is_call_sid
from calls.media.rows import AnyRow, CallRow, EventRow
from calls.models import Call, Stream
from calls.recorder import recorder
from calls.recorder.writer import Writer
from calls.security import SIMULATED, CallRef, StreamToken, could_be_signed, is_signed_webhook, is_simulators
from calls.server.hints import hints
from calls.server.switchboard import switchboard
from calls.webhooks.answers import BAD_DOCUMENT, Answer, event, failed_action, without_ref


logger = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds that a request waits for the database. Twilio gives us 15 in all.
DATABASE_PATIENCE = 2.0
# How often in a row a broken stream is connected again, and below how many seconds a stream counts as broken at once.
RECONNECTS = 5
SHORT_STREAM = 10
# Seconds for which a call waits that a draining worker was asked about: by then the proxy's check of our readiness,
# once a second, has failed, and sends the stream to another one.
DRAINING_PAUSE = 1
# What a handler is told as <Parameter>s, being too long for its token, and how much of it: 500 characters are allowed.
TOLD = ("CallerName", "ForwardedFrom", "AnsweredBy")
CUT = 400
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
UNSIGNED = "The X-Twilio-Signature is missing or wrong.\n"
# Never stored: long opaque tokens, and what has a column of its own.
SECRET_PARAMETERS = {"CallToken", "StirPassportToken", "ref"}
COLUMNS = {
    "AccountSid": "account_sid",
    "From": "from_number",
    "To": "to_number",
    "Direction": "direction",
    "CallStatus": "status",
    "CallerName": "caller_name",
    "ForwardedFrom": "forwarded_from",
    "AnsweredBy": "answered_by",
}

# Not the request's own thread: a database that hangs would hold up the answer behind it.
_database = ThreadPoolExecutor(8, thread_name_prefix="webhook")


def _number(text: str | None) -> int | None:
    """A counter of Twilio's, as large as a column takes; None for anything else."""
    return min(int(text), 2**31 - 1) if text and re.fullmatch("[0-9]{1,18}", text) else None


@dataclass(frozen=True)
class Signed:
    """A request that Twilio signed, with a usable CallSid."""

    request: HttpRequest
    parameters: dict[str, str]

    @property
    def call_sid(self) -> str:
        return self.parameters["CallSid"]

    @property
    def is_answered(self) -> bool:
        """Whether somebody has picked up, and the call is not over."""
        return self.parameters.get("CallStatus") == Call.Status.IN_PROGRESS

    @property
    def call(self) -> CallRow:
        """What this request says of the call."""
        facts: dict[str, Any] = {
            field: value for name, field in COLUMNS.items() if (value := self.parameters.get(name))
        }
        if (duration := _number(self.parameters.get("CallDuration"))) is not None:
            facts["duration"] = duration
        return CallRow(self.call_sid, facts, self.ref.call if self.ref else None, timezone.now())

    @property
    def ref(self) -> CallRef | None:
        """Which row of ours this call is, if we placed it."""
        return CallRef.read(self.parameters.get("ref"))

    @property
    def custom(self) -> dict[str, str]:
        """What the handler is told beside the numbers: what a call that we placed was given, and who answered it."""
        said = {name: value[:CUT] for name in TOLD if (value := self.parameters.get(name))}
        given = self.ref.parameters if self.ref else {}
        return {**said, **given, **{name: said[name] for name in ("AnsweredBy",) if name in said}}

    def reminded(self, **known: str) -> "Signed":
        """With what the call's first request said: whether later ones repeat it is not documented."""
        missing = {name: value for name, value in known.items() if value and not self.parameters.get(name)}
        return replace(self, parameters={**self.parameters, **missing})

    @property
    def delivery(self) -> str:
        """The same for each delivery of one request: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides."""
        if token := self.request.headers.get("I-Twilio-Idempotency-Token", "")[:64]:
            return token
        names = ("CallStatus", "ErrorCode", "handler", "resumed", "DialCallSid")
        key = ":".join([self.request.path[:60], *(self.parameters.get(name, "")[:40] for name in names)])
        # Two ends of streams may fail in the same way: their addresses differ.
        url = self.parameters.get("ErrorUrl", "").encode(errors="replace")
        return f"{key}:{hashlib.sha256(url).hexdigest()[:16]}" if url else key

    @property
    def other_parameters(self) -> dict[str, str]:
        left_out = {"CallSid", *COLUMNS, SIMULATED}
        others = {name: value for name, value in self.data.items() if name not in left_out}
        # Only our simulator can say so: with a TwiML application, callers choose parameters themselves.
        return {**others, **({SIMULATED: "yes"} if is_simulators(self.parameters.get(SIMULATED, "")) else {})}

    @property
    def data(self) -> dict[str, str]:
        """Everything that is worth keeping of a callback."""
        return {
            name: without_ref(value)
            for name, value in self.parameters.items()
            if value and name not in SECRET_PARAMETERS
        }


SignedView = Callable[..., Awaitable[HttpResponse]]
View = Callable[..., HttpResponseBase]


def signed(view: SignedView) -> View:
    """Lets only Twilio's requests through: 403 without a good signature, 400 without a usable CallSid.

    A form has to be parsed before its signature can be checked, on the event loop: what Twilio cannot have sent is
    refused before, and calls.process.bodies lets nothing large come here. 64 KB with a false signature still hold the
    loop for 5 ms.
    """

    @wraps(view)
    async def checked(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        path = _path_on_the_wire(request)
        if not could_be_signed(path, request.headers):
            return HttpResponseForbidden(UNSIGNED, content_type="text/plain")
        body = _signed_body(request)
        if not is_signed_webhook(path, body, request.headers):
            return HttpResponseForbidden(UNSIGNED, content_type="text/plain")
        parameters = _parameters(request, body)
        if not is_call_sid(parameters.get("CallSid")):
            reason = "CallSid is missing, or is not CA and 32 hexadecimal digits.\n"
            return HttpResponseBadRequest(reason, content_type="text/plain")
        return await view(Signed(request, parameters), **kwargs)

    return cast(View, csrf_exempt(require_http_methods(["GET", "POST"])(checked)))


def _path_on_the_wire(request: HttpRequest) -> str:
    """Path and query as Twilio sent and signed them, escapes included."""
    raw = request.scope.get("raw_path") if isinstance(request, ASGIRequest) else None
    path = raw.decode("latin-1").partition("?")[0] if raw else request.get_full_path().partition("?")[0]
    query = request.META.get("QUERY_STRING", "")
    return f"{path}?{query}" if query else path


def _signed_body(request: HttpRequest) -> Any:
    """What is signed beside the URL: the form's fields, nothing for GET, or a JSON body by its hash.

    Twilio sends nothing else. multipart/form-data, which Django would take apart too, costs many times as much.
    """
    if request.method != "POST" or request.content_type not in (FORM, JSON):
        return {}
    return request.body if request.content_type == JSON else request.POST


def _parameters(request: HttpRequest, body: Any) -> dict[str, str]:
    if isinstance(body, bytes):
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return {}
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
    return {**request.GET.dict(), **(body.dict() if body else {})}


# --- the database, or the recorder -----------------------------------------------------------------------------------


async def _ask(request: HttpRequest, question: Callable[[], T]) -> T:
    """Runs a query of a request, within 2 s. DatabaseError or TimeoutError if there is no answer."""
    if recorder.away_since is not None:
        raise TimeoutError("the database is away")
    if not isinstance(request, ASGIRequest):
        return await sync_to_async(question)()

    def ask() -> T:
        try:
            return question()
        finally:
            close_old_connections()

    async with asyncio.timeout(DATABASE_PATIENCE):
        return await asyncio.get_running_loop().run_in_executor(_database, ask)


async def _keep(request: HttpRequest, *rows: AnyRow) -> None:
    """Stores rows now if the database is there, and through the recorder as soon as it is if not."""
    try:
        await _ask(request, lambda: Writer("default").write(rows))
        hints.add(_sid(rows))
    except (DatabaseError, InterfaceError, TimeoutError) as error:
        logger.warning("call_deferred call=%s: %s", _sid(rows), ascii(str(error))[:200])
        recorder.submit(rows)


def _sid(rows: tuple[AnyRow, ...]) -> str:
    return next((row.sid for row in rows if isinstance(row, CallRow)), "")


def _twiml(document: str) -> HttpResponse:
    return HttpResponse(document, content_type="text/xml; charset=utf-8")


# --- the views -------------------------------------------------------------------------------------------------------


@signed
async def incoming(signed: Signed, handler: str = "") -> HttpResponse:
    """The voice webhook, and its fallback: notes the call, and connects it to its handler."""
    name = handler or settings.DEFAULT_STREAM_HANDLER
    if code := signed.parameters.get("ErrorCode"):
        logger.warning(
            "voice_fallback call=%s code=%s url=%s",
            signed.call_sid,
            ascii(code[:20])[1:-1],
            ascii(signed.parameters.get("ErrorUrl", "").partition("?")[0][:200])[1:-1],
        )
        if BAD_DOCUMENT.fullmatch(code):
            answer = Answer(twiml.apologise(), f"apologised: Twilio could not use our last document ({code})")
            return await _answer(signed, "incoming", answer)
        if (action := failed_action(signed.parameters)) is not None:
            # The call has been talking to us: it goes on where its stream broke, rather than begin anew.
            return await _go_on(signed, action.get("handler") or name, _number(action.get("resumed")) or 0)
    # Of a process that drains it does not matter: another one takes the stream.
    if switchboard.is_full and not switchboard.draining:
        logger.error("call_rejected reason=full call=%s streams=%d", signed.call_sid, len(switchboard.live))
        if signed.is_answered:
            # Twilio, or whom we called, has picked up: <Reject> comes too late, and the call is not busy
            # (https://www.twilio.com/docs/voice/twiml/reject).
            answer = Answer(twiml.apologise(), "apologised: as many calls are running as this server takes")
            return await _answer(signed, "incoming", answer, {"handler": name, "has_warning": True}, reason="full")
        facts = {"handler": name, "status": Call.Status.BUSY, "has_warning": True}
        return await _answer(signed, "refused", Answer(twiml.busy(), "refused: full"), facts, reason="full")
    # Only this request's: those of callbacks are kept with their events, and come in any order.
    facts = {"parameters": signed.other_parameters, "handler": name}
    return await _answer(signed, "incoming", _document(signed, name, resumed=0), facts)


async def _answer(
    signed: Signed,
    kind: str,
    answer: Answer,
    facts: dict[str, Any] | None = None,
    *,
    is_away: bool = False,
    **more: str,
) -> HttpResponse:
    """Answers a voice request, and keeps what was asked and answered; `is_away`: the database has not answered once."""
    call = signed.call
    call.facts |= {"dialing": answer.lives_on, **(facts or {})}
    row = event(
        kind,
        signed.call_sid,
        signed.parameters,
        answer,
        at=timezone.now(),
        delivery=signed.delivery,
        **more,
    )
    if is_away:
        recorder.submit([call, row])
    else:
        await _keep(signed.request, call, row)
    return _twiml(answer.document)


def _document(signed: Signed, name: str, *, resumed: int) -> Answer:
    """The handler's TwiML with a fresh token; an apology if there is no such handler or its own `twiml` fails."""
    try:
        handler = handlers.find(name)
        if handler is None:
            logger.error(
                "handler_unknown name=%r call=%s; known: %s", name, signed.call_sid, ", ".join(handlers.names())
            )
            return Answer(twiml.apologise(), f"apologised: there is no handler {name[:40]!r}")
        document = handler.twiml(_noun(signed, name, resumed))
    except Exception as error:
        logger.exception("twiml_failed handler=%r call=%s", name, signed.call_sid)
        reason = f"{type(error).__name__}: {error}"[:300]
        return Answer(twiml.apologise(), f"apologised: the document of {name[:40]!r} could not be made ({reason})")
    return Answer(document, f"connected to {name}" + (" again" if resumed else ""))


def _noun(signed: Signed, name: str, resumed: int) -> twiml.StreamNoun:
    parameters = signed.parameters

    def sign(bidirectional: bool) -> str:
        return StreamToken(
            call_sid=signed.call_sid,
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
        custom=signed.custom,
        # Twilio asks nobody again that has answered 503, and any other worker can take the stream: its token says all.
        pause=DRAINING_PAUSE if switchboard.draining else 0,
    )


@signed
async def call_status(signed: Signed) -> HttpResponse:
    """A call status callback: one event, and perhaps a status that moves up."""
    parameters = signed.parameters
    number = parameters.get("SequenceNumber", "")
    status = parameters.get("CallStatus", "")
    key = ":".join((parameters.get("CallbackSource", "call"), number or parameters.get("Timestamp", ""), status))
    event = EventRow(
        call=signed.call_sid,
        stream=None,
        source="call-status",
        kind=status or "unknown",
        key=f"call-status:{key}",
        occurred_at=_moment(parameters.get("Timestamp", "")),
        data=signed.data,
        sequence_number=_number(number),
    )
    await _keep(signed.request, signed.call, event)
    return HttpResponse(status=204)


@signed
async def stream_status(signed: Signed) -> HttpResponse:
    """A stream status callback. It has no order but its Timestamp, and may come before or after the socket."""
    parameters = signed.parameters
    kind, stream = parameters.get("StreamEvent", "unknown"), parameters.get("StreamSid", "")
    stream = stream if re.fullmatch("MZ[0-9a-fA-F]{32}", stream) else ""
    event = EventRow(
        call=signed.call_sid,
        stream=stream or None,
        source="stream-status",
        kind=kind,
        key=f"stream-status:{stream}:{kind}",
        occurred_at=_moment(parameters.get("Timestamp", "")),
        data=signed.data,
    )
    facts = {"account_sid": parameters["AccountSid"]} if parameters.get("AccountSid") else {}
    await _keep(signed.request, CallRow(signed.call_sid, facts, at=timezone.now()), event)
    return HttpResponse(status=204)


def _moment(text: str) -> dt.datetime:
    """A Timestamp: RFC 2822 on calls, ISO 8601 with nanoseconds on streams; now if it is neither."""
    for parse in (dt.datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
            # Year 1 or 9999 in another zone is no time in ours.
            return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return timezone.now()


@signed
async def stream_ended(signed: Signed) -> HttpResponse:
    """The `action` of <Connect>: its socket is closed. Hangs up if the conversation is over, else connects again."""
    resumed = _number(signed.parameters.get("resumed")) or 0
    return await _go_on(signed, signed.parameters.get("handler", ""), resumed)


async def _go_on(signed: Signed, name: str, resumed: int) -> HttpResponse:
    """How a call goes on whose socket, the one that was connected again `resumed` times, is closed."""
    if Call.Status.is_terminal(signed.parameters.get("CallStatus", "")):
        return await _answer(signed, "stream-ended", Answer(twiml.hang_up(), "hung up: the call is over"))
    how, broken, is_away = switchboard.finished.get(signed.call_sid), resumed + 1, False
    if how is None:
        try:
            asked = signed
            how, call, broken = await _ask(signed.request, lambda: _last_streams(asked.call_sid, resumed + 1))
            name = name or call.handler
            signed = signed.reminded(CallerName=call.caller_name, ForwardedFrom=call.forwarded_from)
        except (DatabaseError, InterfaceError, TimeoutError) as error:
            logger.warning("stream_ended without a database call=%s: %s", signed.call_sid, ascii(str(error))[:200])
            is_away = True
    answer = _next(signed, how, name, resumed, broken)
    return await _answer(signed, "stream-ended", answer, is_away=is_away)


def _next(signed: Signed, how: str | None, name: str, resumed: int, broken: int) -> Answer:
    if how == "finished":
        return Answer(twiml.hang_up(), "hung up: the conversation is over")
    if how == "failed":
        does = "went on with FAILED_HANDLER_TWIML" if settings.FAILED_HANDLER_TWIML else "apologised"
        return Answer(twiml.failed_handler(), f"{does}: the handler failed")
    if broken > RECONNECTS:
        logger.error("reconnect_given_up call=%s after %d streams in a row", signed.call_sid, broken)
        return Answer(twiml.apologise(), f"apologised: {broken} streams in a row broke at once")
    return _document(signed, name or settings.DEFAULT_STREAM_HANDLER, resumed=resumed + 1)


def _last_streams(call_sid: str, attempts: int) -> tuple[str | None, Call, int]:
    """How the call's last stream ended, the call, and how many attempts in a row broke at once.

    An attempt whose handshake failed has left no stream.
    """
    # One that listens beside them has nothing to do with how the conversation went.
    streams = Stream.objects.filter(call__sid=call_sid, bidirectional=True).order_by("-started_at", "-pk")
    call = Call.objects.filter(sid=call_sid).only("handler", "caller_name", "forwarded_from").first() or Call()
    broken = max(attempts - streams.count(), 0)
    for at, stream in enumerate(streams[: RECONNECTS + 1]):
        # Behind the end of its stream a handler fails nobody.
        failed = stream.handler_failed and stream.end_reason not in ("handler", "stop", "disconnect")
        if at == 0 and (failed or stream.handler_finished_at):
            return ("failed" if failed else "finished"), call, 0
        lived = ((stream.ended_at or timezone.now()) - stream.started_at).total_seconds()
        if lived >= SHORT_STREAM:
            break
        broken += 1
    return None, call, broken
