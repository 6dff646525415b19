"""Calls a handler in memory: `call = await HandlerPhone().call(my_handler, says="Hello.", keys="1")`.

Everything but the server and the database is real: the voice webhook with its signature and its TwiML, the token, the
consumer, the stream, the conversation. Time jumps, so that a minute takes a fraction of a second and comes out the same
each time. Knows no pytest: the fixtures are in calls.testing.
"""

from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, wraps
from traceback import format_exception
from typing import Any
from urllib.parse import unquote, urlsplit
from warnings import catch_warnings, simplefilter

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections

from calls import handlers
from calls.addresses import INCOMING
from calls.handlers import NotAHandler, Talk
from calls.media.rows import AnyRow, DataRow, EventRow
from calls.recorder import recorder
from calls.recorder.ledger import Ledger
from calls.routing import websocket
from calls.security import CallRef
from calls.speech.detector import detector
from calls.streams import StreamEnded
from simulator.asgi import Asgi
from simulator.outbound import Answer
from simulator.phone import Account, Phone
from simulator.phone_call import PhoneCall
from simulator.saying import Keys, Says, script


# What a call's timeline has of mistakes that cost the caller nothing, and in words.
_MISTAKES = {
    "await-forgotten": "an `await` is missing",
    "handler-cut": "the handler was still at work 5 s after the stream had ended, and was cut",
    "handler-returned-at-once": "the handler returned at once, and the caller has heard nothing",
    "prepare-failed": "what the handler prepares failed",
    "sent-after-hang-up": "the handler sent something after it had hung up",
    "source-failed": "what was to be played failed",
}


@dataclass(repr=False, eq=False)
class HandlerCall(PhoneCall):
    """A call of a handler, with what that has written down and how it failed."""

    #: Every row that the call has become, audio and all, in the order in which they were made.
    rows: Sequence[AnyRow] = ()
    #: What the handler has raised, if it did; its caller hanging up is no error.
    handler_error: BaseException | None = None
    #: The same with its traceback, from the handler's own first line on.
    handler_trace: str = ""

    @classmethod
    def of(cls, call: PhoneCall, role: "_Role", rows: Sequence[AnyRow]) -> "HandlerCall":
        """A call that a phone has played, of this handler, with what it has become."""
        played = (call.report, call.scenario, call.failures, call.log, call.held_by)
        return cls(*played, rows=rows, handler_error=role.error, handler_trace=role.trace)

    @cached_property
    def data(self) -> dict[str, Any]:
        """What the handler has `set` on the call."""
        return {name: value for row in self.rows if isinstance(row, DataRow) for name, value in row.values.items()}

    @cached_property
    def notes(self) -> list[str]:
        """Its notes, in their order."""
        return [data["text"] for kind, data in self.timeline if kind == "note"]

    @cached_property
    def timeline(self) -> list[tuple[str, dict[str, Any]]]:
        """The events of the call's page: (kind, data)."""
        return [(row.kind, row.data) for row in self.rows if isinstance(row, EventRow)]

    @cached_property
    def errors(self) -> list[str]:
        if self.handler_error is not None:
            return [f"the handler raised:\n{self.handler_trace}", *super().errors]
        # One that has taken the call over was not given to this phone.
        others = [f"a handler failed: {data.get('error')}" for kind, data in self.timeline if kind == _FAILED]
        return [*super().errors, *others]

    @property
    def mistakes(self) -> list[str]:
        """What the handler does that has cost this caller nothing, and is not meant: see the call's page."""
        return [
            " ".join(filter(None, [f"{_MISTAKES[kind]}:", data.get("error") or data.get("what"), data.get("line")]))
            for kind, data in self.timeline
            if kind in _MISTAKES
        ]

    def story(self) -> str:
        return "\n".join([super().story(), *(f"mistake: {mistake}" for mistake in self.mistakes)])


_FAILED = "handler-failed"


class HandlerPhone(Phone):
    """A phone for the handlers of this project. `close` it in the end."""

    def __init__(self) -> None:
        self._served = Served()
        super().__init__(self._served, own_account())

    async def call(
        self,
        handler: Talk | str = "",
        *,
        says: Says = b"",
        keys: Keys = "",
        seconds: float | None = None,
        parameters: dict[str, str] | None = None,
        records: bool = False,
        real_time: bool = False,
        **facts: Any,
    ) -> HandlerCall:
        """Calls a handler (a coroutine, declared by `@handler` or not, or its name) and returns when the call is over.

        `says`, `keys` and `seconds` are as those of any Phone. `parameters` are those that a call is placed with.
        With `records` its rows are in the database, for which a test needs `transactional_db`; without it is not
        touched. What the handler raises is `handler_error` of what this returns.
        """
        facts = {"script": script(says, keys, seconds), "duration": seconds, "status_callback": True, **facts}
        with _named(handler) as role, _ledger(records=records) as ledger:
            scenario = self._scenario(_voice_url(role.name, parameters), facts)
            return await self._kept(self._place(scenario, real_time=real_time), role, ledger)

    async def answer(
        self,
        answer: Answer = "human",
        *,
        handler: Talk | None = None,
        says: Says = b"",
        keys: Keys = "",
        seconds: float | None = None,
        records: bool = True,
        real_time: bool = False,
        **facts: Any,
    ) -> HandlerCall:
        """Answers the oldest call that waits at `twilio_api`, placed by `place_call`, and plays it.

        `handler` is what talks then; without it, whatever goes by the name with which the call was placed.
        """
        placed = self._waiting()
        name = unquote(urlsplit(placed.get("Url")).path.removeprefix(f"/{INCOMING}").lstrip("/"))
        facts = {"script": script(says, keys, seconds), "duration": seconds, **facts}
        with _named(handler or name, name) as role, _ledger(records=records) as ledger:
            scenario = self._scenario("", {**facts, "call_sid": placed.sid})
            return await self._kept(self._pick_up(placed, scenario, answer, real_time=real_time), role, ledger)

    async def _kept(self, played: Awaitable[PhoneCall], role: "_Role", ledger: Ledger) -> HandlerCall:
        with detector.without_thread():
            call = await played
        await ledger.written()
        self.calls.append(told := HandlerCall.of(call, role, ledger.rows(call.sid)))
        return told

    def _carrier(self) -> Asgi:
        return Asgi(self._served, lifespan=False)


def own_account() -> Account:
    """That of the settings. ImproperlyConfigured if they have none: nothing could be signed."""
    if not (settings.TWILIO_AUTH_TOKENS and settings.PUBLIC_URL):
        raise ImproperlyConfigured(
            "TWILIO_AUTH_TOKEN and PUBLIC_URL are not set; a call in memory needs no account, and any will do"
        )
    return Account(
        sid=settings.TWILIO_ACCOUNT_SID, auth_token=settings.TWILIO_AUTH_TOKENS[0], public_url=settings.PUBLIC_URL
    )


class Served:
    """The ASGI application that a server serves, without what belongs to its process: signals, threads, chores."""

    @cached_property
    def _requests(self) -> ASGIHandler:
        with catch_warnings():
            # WhiteNoise finds no collected files, which no call needs.
            simplefilter("ignore", UserWarning)
            return ASGIHandler()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await (websocket if scope["type"] == "websocket" else self._requests)(scope, receive, send)


def _voice_url(name: str, parameters: dict[str, str] | None) -> str:
    path = f"/{INCOMING}" + (f"/{name}" if name else "")
    return path + (f"?ref={CallRef(0, parameters).sign()}" if parameters else "")


# --- the handler ------------------------------------------------------------------------------------------------------


@dataclass
class _Role:
    """A handler under the name by which it is called, and what it has raised."""

    name: str
    error: BaseException | None = None
    trace: str = ""

    def note(self, error: BaseException) -> None:
        """Its first frame is that of whoever called the handler."""
        trace = error.__traceback__ and error.__traceback__.tb_next
        self.error, self.trace = error, "".join(format_exception(type(error), error, trace)).rstrip()


@contextmanager
def _named(handler: Talk | str, called: str = "") -> Iterator[_Role]:
    """Within, the voice webhook finds this handler, by that name if one is given, and what it raises is kept."""
    if isinstance(handler, str):
        found = handlers.find(handler)
        if found is None:
            raise NotAHandler(f"there is no handler {handler!r}; there are {', '.join(handlers.names())}")
        handler, name = found.talk, found.name
    else:
        if objection := handlers.objection_to(handler):
            raise NotAHandler(f"{handler!r} is not a handler: {objection}")
        name = getattr(handler, "__name__", "handler")
    role = _Role(called or _free(name))
    handlers.REHEARSED[role.name] = _watched(handler, role)
    try:
        yield role
    finally:
        del handlers.REHEARSED[role.name]


def _free(name: str) -> str:
    """Several calls at once may be of handlers of one name."""
    number = 1
    while (free := name if number == 1 else f"{name}-{number}") in handlers.REHEARSED:
        number += 1
    return free


def _watched(talk: Talk, role: _Role) -> Talk:
    """The same handler, with what it declares."""

    @wraps(talk)
    async def watched(stream: Any) -> None:
        try:
            await talk(stream)
        except StreamEnded:
            raise
        except (Exception, SystemExit) as error:
            if not (isinstance(error, ExceptionGroup) and error.split(StreamEnded)[1] is None):
                role.note(error)
            raise

    return watched


# --- the rows ---------------------------------------------------------------------------------------------------------


@contextmanager
def _ledger(*, records: bool) -> Iterator[Ledger]:
    """Within, rows go there: to nobody else, and to the database with `records`."""
    ledger = recorder.stand_in
    if ledger is None:
        ledger = recorder.stand_in = Ledger(has_database=records)
        # As Django's own test client: a request's end must not close the connection that its test is on.
        for signal in (request_started, request_finished):
            signal.disconnect(close_old_connections)
    if not isinstance(ledger, Ledger) or ledger.has_database != records:
        raise RuntimeError("of calls at once either all are placed with records=True, or none")
    ledger.calls += 1
    try:
        yield ledger
    finally:
        ledger.calls -= 1
        if not ledger.calls:
            for signal in (request_started, request_finished):
                signal.connect(close_old_connections)
            recorder.stand_in = None
            ledger.close()
