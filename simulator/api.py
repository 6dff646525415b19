"""Twilio's REST API on loopback: calls and phone numbers, https://www.twilio.com/docs/voice/api/call-resource.

`TWILIO_API_URL` aims the twilio library at it. It checks what Twilio checks, keeps what it was sent, and answers with
Twilio's JSON; who answers the phone is `on_call`'s business.
"""

import asyncio
import json
import re
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from simulator.call import SimulatedCall
from simulator.documents import requested_stream
from simulator.report import Report
from simulator.scenario import new_sid
from simulator.stream import Stream


EVENTS = ("initiated", "ringing", "answered", "completed")
TERMINAL = ("completed", "busy", "no-answer", "failed", "canceled")
# How long nobody knows what a call cost, and what a minute costs: of a call that is placed, and of one that comes in.
SETTLING = timedelta(seconds=30)
RATES = (Decimal("0.0140"), Decimal("0.0085"))
NUMBER = re.compile(r"\+[1-9]\d{6,14}|(sip|client):.+")

Form = dict[str, list[str]]
Found = tuple[int, dict[str, Any]]
Handle = Callable[[web.Request, Form], Awaitable[Found]]
# What may happen to a request that Twilio has already carried out.
Mishap = Literal["silence", "break", "garbage"]


class ApiError(Exception):
    """An answer with a code of https://www.twilio.com/docs/api/errors."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass
class PlacedCall:
    """A call of the account's; `form` is what it was created with, every field a list."""

    account_sid: str
    form: Form
    sid: str = field(default_factory=lambda: new_sid("CA"))
    status: str = "queued"
    duration: str | None = None
    answered_by: str | None = None
    ended: datetime | None = None
    #: What was charged, if it is known already; otherwise it is for a while after the end that nobody knows.
    price: str | None = None
    updates: list[Form] = field(default_factory=list)
    #: Set once the account has been told something of this call, or there is nothing to tell.
    told: asyncio.Event = field(default_factory=asyncio.Event)
    #: Called with the form of an update that this call has to obey.
    obey: Callable[[Form], None] = lambda form: None
    direction: str = "outbound-api"
    #: The call itself, if there is one: whoever asks for streams of it needs that.
    line: SimulatedCall | None = None

    def get(self, name: str, default: str = "") -> str:
        return self.form.get(name, [default])[0]

    @property
    def events(self) -> list[str]:
        """What the account asked to be told; one value with spaces, which belongs in TwiML, asks for nothing."""
        return [event for event in self.form.get("StatusCallbackEvent", ["completed"]) if event in EVENTS]

    def end(self) -> None:
        self.ended = datetime.now(UTC).replace(microsecond=0)

    @property
    def charged(self) -> str | None:
        """ "Populated after the call is completed. May not be immediately available": minutes that were begun."""
        settled = self.status == "completed" and self.ended and datetime.now(UTC) - self.ended >= SETTLING
        if self.price is not None or not settled:
            return self.price
        minutes = max(1, -(-int(self.duration or 0) // 60))
        return f"-{RATES[self.direction == 'inbound'] * minutes:.5f}"

    def as_json(self) -> dict[str, Any]:
        uri = f"/2010-04-01/Accounts/{self.account_sid}/Calls/{self.sid}"
        return {
            "sid": self.sid,
            "account_sid": self.account_sid,
            "parent_call_sid": None,
            "to": self.get("To"),
            "from": self.get("From"),
            "status": "ringing" if self.status == "initiated" else self.status,
            "start_time": None,
            "end_time": format_datetime(self.ended) if self.ended else None,
            "duration": self.duration,
            "price": self.charged,
            "price_unit": "USD",
            "direction": self.direction,
            "answered_by": self.answered_by,
            "api_version": "2010-04-01",
            "queue_time": "0",
            "date_created": None,
            "date_updated": None,
            "uri": f"{uri}.json",
            "subresource_uris": {"streams": f"{uri}/Streams.json"},
        }


@dataclass
class PhoneNumber:
    """One of the account's numbers, with Twilio's names for its fields."""

    phone_number: str
    sid: str = field(default_factory=lambda: new_sid("PN"))
    friendly_name: str = ""
    voice_url: str = ""
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    voice_fallback_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"
    voice_application_sid: str = ""
    trunk_sid: str | None = None


class TwilioApi:
    """The account and its REST API. Give it numbers, and look at `calls` and `requests` afterwards."""

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        numbers: list[PhoneNumber] | None = None,
        on_call: Callable[[PlacedCall], Awaitable[None]] | None = None,
        verified: set[str] | None = None,
        reply_last: bool = False,
    ) -> None:
        self.account_sid = account_sid
        self.numbers = numbers or []
        self.calls: dict[str, PlacedCall] = {}
        self.requests: list[tuple[str, str, Form]] = []
        #: Errors for the next requests, one each: ApiError(429, 20429, "Too Many Requests").
        self.refusals: list[ApiError] = []
        #: What happens to the answers of the next requests that are carried out, one each.
        self.mishaps: list[Mishap] = []
        #: Whom a trial account may call; None: it is not a trial account.
        self.verified = verified
        self.url = ""
        self._on_call = on_call
        self._reply_last = reply_last  # the first status callback comes before the reply to the request
        self._authorizations = {_basic(account_sid, auth_token)}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[Exception] = []

    async def start(self, port: int = 0) -> str:
        """Serves on loopback, and returns the address for TWILIO_API_URL."""
        app = web.Application()
        for method, path, handle in (
            ("POST", "/Calls.json", self._create),
            ("GET", "/Calls/{sid}.json", self._fetch),
            ("POST", "/Calls/{sid}.json", self._update),
            ("POST", "/Calls/{sid}/Streams.json", self._start_stream),
            ("POST", "/Calls/{sid}/Streams/{stream}.json", self._stop_stream),
            ("GET", "/IncomingPhoneNumbers.json", self._list),
            ("POST", "/IncomingPhoneNumbers/{sid}.json", self._configure),
            ("*", "/{rest:.*}", self._nothing),
        ):
            app.router.add_route(method, f"/2010-04-01/Accounts/{{account}}{path}", self._answering(handle))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self._stopping = asyncio.Event()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self.url

    async def play(self, call: SimulatedCall) -> Report:
        """Plays a call that came in by itself, with this API to change it and to stream it."""
        scenario = call.scenario
        form = {"To": [scenario.to_number], "From": [scenario.from_number]}
        placed = PlacedCall(self.account_sid, form, scenario.call_sid, "in-progress")
        placed.direction, placed.line, placed.obey = scenario.direction, call, call.obey
        self.calls[placed.sid] = placed
        report = await call.run()
        placed.status = "completed"
        placed.end()
        return report

    async def stop(self) -> None:
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()
        if self._failures:
            raise self._failures[0]

    @contextmanager
    def running(self) -> Iterator["TwilioApi"]:
        """Serves from a thread of its own, for callers that have no event loop."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="twilio-api", daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(self.start(), loop).result(10)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self.stop(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()

    def add_key(self, key: str, secret: str) -> None:
        """An API key of the account's (SK…): good for these resources as the account's own token is."""
        self._authorizations.add(_basic(key, secret))

    # --- Requests

    def _answering(self, handle: Handle) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            fields = await request.post() if request.method == "POST" else request.query
            form: Form = {name: [str(value) for value in fields.getall(name)] for name in fields}
            self.requests.append((request.method, request.path, form))
            try:
                self._admit(request)
                status, found = await handle(request, form)
            except ApiError as error:
                return _error(error)
            return await self._reply(request, status, found)

        return answer

    def _admit(self, request: web.Request) -> None:
        if request.headers.get("Authorization") not in self._authorizations:
            raise ApiError(401, 20003, "Authenticate")
        if request.match_info.get("account") != self.account_sid:
            raise _unknown(request)
        if self.refusals:
            raise self.refusals.pop(0)

    async def _reply(self, request: web.Request, status: int, answer: dict[str, Any]) -> web.StreamResponse:
        match self.mishaps.pop(0) if self.mishaps else "":
            case "silence":
                await self._stopping.wait()
            case "break":
                assert request.transport is not None
                request.transport.abort()
            case "garbage":
                return web.Response(text="<html>It works!</html>", content_type="text/html")
        return web.json_response(answer, status=status)

    # --- Calls

    async def _create(self, request: web.Request, form: Form) -> Found:
        call = PlacedCall(self.account_sid, form)
        self._check(call)
        self.calls[call.sid] = call
        if self._on_call is not None:
            task = asyncio.ensure_future(self._on_call(call))
            self._tasks.add(task)
            task.add_done_callback(self._over)
            task.add_done_callback(lambda _: call.told.set())
            if self._reply_last:
                await call.told.wait()
        # As it was when the request came, whatever has happened since.
        return 201, PlacedCall(call.account_sid, call.form, call.sid).as_json()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(failure := task.exception(), Exception):
            self._failures.append(failure)

    def _check(self, call: PlacedCall) -> None:
        to, sender = call.get("To"), call.get("From")
        if not to:
            raise ApiError(400, 21201, "No 'To' number is specified")
        if not sender:
            raise ApiError(400, 21213, "No 'From' number is specified")
        if not NUMBER.fullmatch(to):
            raise ApiError(400, 21211, f"The 'To' number {to} is not a valid phone number.")
        if not NUMBER.fullmatch(sender):
            raise ApiError(400, 21212, f"The 'From' number {sender} is not a valid phone number.")
        if sender not in {number.phone_number for number in self.numbers}:
            raise ApiError(400, 21210, f"The source phone number provided, {sender}, is not yet verified.")
        if self.verified is not None and to not in self.verified:
            raise ApiError(400, 21219, f"The number {to} is unverified. Trial accounts may only make calls to ...")
        if not _is_url(call.get("Url")):
            raise ApiError(400, 21205, f"Url is not a valid URL: {call.get('Url')}")
        if not _is_url(call.get("StatusCallback", "https://example.org")):
            raise ApiError(400, 21609, f"StatusCallback is invalid: {call.get('StatusCallback')}")
        if unknown := [event for event in call.form.get("StatusCallbackEvent", []) if event not in EVENTS + _LOST]:
            raise ApiError(400, 21626, f"Call status callback events are invalid: {', '.join(unknown)}")

    async def _fetch(self, request: web.Request, form: Form) -> Found:
        return 200, self._call(request).as_json()

    async def _update(self, request: web.Request, form: Form) -> Found:
        call = self._call(request)
        twiml = form.get("Twiml", [""])[0]
        if len(twiml) > 4000:
            raise ApiError(400, 32018, "Twiml parameter exceeds the maximum length of 4000 characters")
        if call.status in TERMINAL:
            raise ApiError(400, 21220, "Call is not in-progress. Cannot redirect.")
        if call.status != "in-progress" and (twiml or "Url" in form):
            raise ApiError(400, 21220, "Call is not in-progress. Cannot redirect.")
        call.updates.append(form)
        wanted = form.get("Status", [""])[0]
        if wanted == "completed" or (wanted == "canceled" and call.status != "in-progress"):
            call.status = "completed" if call.status == "in-progress" else "canceled"
        if wanted != "canceled" or call.status == "canceled":
            call.obey(form)
        return 200, call.as_json()

    # --- Streams: https://www.twilio.com/docs/voice/api/stream-resource

    async def _start_stream(self, request: web.Request, form: Form) -> Found:
        line = self._line(request)
        try:
            stream = line.start_stream(requested_stream(form))
        except ValueError as error:
            raise ApiError(400, 20001, str(error)) from None
        return 201, self._stream_json(request, stream, "in-progress")

    async def _stop_stream(self, request: web.Request, form: Form) -> Found:
        stream = self._line(request).stop_stream(request.match_info["stream"])
        if stream is None:
            raise _unknown(request)
        if form.get("Status") != ["stopped"]:
            raise ApiError(400, 20001, "Status must be 'stopped'")
        return 200, self._stream_json(request, stream, "stopped")

    def _line(self, request: web.Request) -> SimulatedCall:
        call = self._call(request)
        if call.status != "in-progress" or call.line is None:
            raise ApiError(400, 21220, "Call is not in-progress. Cannot redirect.")
        return call.line

    def _stream_json(self, request: web.Request, stream: Stream, status: str) -> dict[str, Any]:
        sid, call_sid = stream.report.sid, request.match_info["sid"]
        return {
            "sid": sid,
            "account_sid": self.account_sid,
            "call_sid": call_sid,
            "name": stream.name,
            "status": status,
            "date_updated": format_datetime(datetime.now(UTC)),
            "uri": f"/2010-04-01/Accounts/{self.account_sid}/Calls/{call_sid}/Streams/{sid}.json",
        }

    async def _nothing(self, request: web.Request, form: Form) -> Found:
        raise _unknown(request)

    def _call(self, request: web.Request) -> PlacedCall:
        try:
            return self.calls[request.match_info["sid"]]
        except KeyError:
            raise _unknown(request) from None

    # --- Phone numbers

    async def _list(self, request: web.Request, form: Form) -> Found:
        """Parts of numbers and `*` are found too; pages of PageSize."""
        query = {name: values[0] for name, values in form.items()}
        size, page = int(query.get("PageSize", 50)), int(query.get("Page", 0))
        pattern = f"*{query.get('PhoneNumber', '')}*"
        found = [vars(number) for number in self.numbers if fnmatchcase(number.phone_number, pattern)]
        further = urlencode(query | {"Page": page + 1})
        return 200, {
            "incoming_phone_numbers": found[page * size : (page + 1) * size],
            "page": page,
            "page_size": size,
            "next_page_uri": f"{request.path}?{further}" if len(found) > (page + 1) * size else None,
            "uri": request.path,
        }

    async def _configure(self, request: web.Request, form: Form) -> Found:
        for number in self.numbers:
            if number.sid == request.match_info["sid"]:
                _configure(number, form)
                return 200, dict(vars(number))
        raise _unknown(request)


# Twilio takes this without an error, and then tells nothing.
_LOST = (" ".join(EVENTS),)


def _configure(number: PhoneNumber, form: Form) -> None:
    for name, (value, *_) in form.items():
        if name.endswith("Url") and value and not _is_url(value):
            raise ApiError(400, 21402, f"{name} is not valid: {value}")
        at = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        if hasattr(number, at) and at not in ("sid", "phone_number"):
            setattr(number, at, value)


def _basic(name: str, secret: str) -> str:
    return f"Basic {b64encode(f'{name}:{secret}'.encode()).decode()}"


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _unknown(request: web.Request) -> ApiError:
    return ApiError(404, 20404, f"The requested resource {request.path} was not found")


def _error(error: ApiError) -> web.Response:
    body = {"code": error.code, "message": error.message, "status": error.status}
    body["more_info"] = f"https://www.twilio.com/docs/errors/{error.code}"
    return web.Response(text=json.dumps(body), status=error.status, content_type="application/json")
