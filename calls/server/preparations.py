"""What a handler prepares for a call whose stream is still to come: `@handler(prepare=…)`.

Started at the voice webhook, beside its answer; what it returns waits for the stream. A stream that comes to another
process than its webhook did, or is started again without one, is prepared for at its `start`. What was prepared for a
call belongs to it alone, and is closed with its handler, or when no stream comes.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any

import msgspec
from django.conf import settings
from django.utils import timezone

from calls import about
from calls.server.live_stream import LiveStream, handled
from calls.server.mistakes import sentence
from calls.server.stalls import Stall, place, raised_at, standing


logger = logging.getLogger(__name__)

# Seconds that preparing may take, counted from the webhook.
PATIENCE = 2.0
# Seconds for which what was prepared waits for its stream.
STREAM_PATIENCE = 60.0
# Seconds that closing it may take.
CLOSE_PATIENCE = 5.0


class ExpectedCall(msgspec.Struct, frozen=True):
    """A call whose stream is still to come, as `prepare` sees it; its fields are those of MediaStream."""

    call_sid: str
    account_sid: str
    from_number: str
    to_number: str
    direction: str
    #: The <Parameter>s of the stream, without our token.
    parameters: dict[str, str]
    #: 0, or how often this call has been connected again.
    resumed: int

    @property
    def caller_name(self) -> str:
        return self.parameters.get("CallerName", "")

    @property
    def forwarded_from(self) -> str:
        return self.parameters.get("ForwardedFrom", "")


Prepare = Callable[[ExpectedCall], Awaitable[Any]]


class Preparation:
    """One handler's for one call, from its first line until what it returned is closed."""

    def __init__(self, handler: str, prepare: Prepare, call: ExpectedCall, live: LiveStream | None = None) -> None:
        """Begins at once. `live` is its stream, if that is there already."""
        #: Whom it is for: a webhook that is delivered twice asks for the same, and code that was reloaded does not.
        self.key = (handler, prepare, call.resumed)
        #: Why there is nothing, and the line where it stood; known once there is a result.
        self.failure, self.line = "", ""
        self._handler, self._prepare, self._call = handler, prepare, call
        self._is_wanted = True
        #: The longest time for which it held up the event loop, told where the stream is.
        self.stall: Stall | None = None
        # Not the context of a request, whose thread for the database ends with its answer.
        context = Context()
        context.run(handled.set, live)
        context.run(about.note, call.call_sid, live.sid if live else "")
        loop = asyncio.get_running_loop()
        self._work = loop.create_task(self._run(), context=context)
        self._result = loop.create_task(self._watch(), context=context)

    async def result(self) -> Any:
        """What it returned; None after 2 s, or if it raised. Cancelling whoever waits here does not cancel it."""
        return await asyncio.shield(self._result)

    def note_stall(self, stall: Stall) -> None:
        if self.stall is None or self.stall.seconds < stall.seconds:
            self.stall = stall

    async def close(self) -> None:
        """Closes what it returned, by `aclose()`, else by `close()`; what has neither needs no end."""
        self._is_wanted = False
        # One that was given up is ending; a second time would cut that short.
        if not self.failure:
            self._work.cancel()
        await asyncio.wait({self._work}, timeout=CLOSE_PATIENCE)
        if not self._work.done() or _error(self._work):
            return
        value = self._work.result()
        if closing := getattr(value, "aclose", None) or getattr(value, "close", None):
            await self._close(closing)

    async def _close(self, closing: Callable[[], Any]) -> None:
        try:
            with about.about(self._call.call_sid, about.sids()[1]):
                async with asyncio.timeout(CLOSE_PATIENCE):
                    if inspect.isawaitable(closed := closing()):
                        await closed
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            logger.warning("prepared_unclosed handler=%s call=%s: %s", self._handler, self._call.call_sid, why)

    async def _run(self) -> Any:
        try:
            return await self._prepare(self._call)
        except SystemExit as error:
            # It would end the process, and with it every call.
            raise RuntimeError(f"SystemExit: {error}") from error

    async def _watch(self) -> Any:
        await asyncio.wait({self._work}, timeout=PATIENCE)
        if not self._work.done():
            self._give_up()
        elif error := _error(self._work):
            self._note_failed(error)
        else:
            return self._work.result()
        return None

    def _give_up(self) -> None:
        self.failure = f"it was not done after {PATIENCE:g} s"
        self.line = place(standing(self._work.get_coro()))
        logger.warning(
            "prepare_slow handler=%s call=%s: not done after %g s, at %s; the handler goes on without it",
            *(self._handler, self._call.call_sid, PATIENCE, self.line),
        )
        self._work.cancel()

    def _note_failed(self, error: BaseException) -> None:
        self.failure = sentence(error)
        self.line = raised_at(error)
        # One that is not wanted any more was cancelled by us.
        if self._is_wanted:
            logger.error("prepare_failed handler=%s call=%s", self._handler, self._call.call_sid, exc_info=error)


def _error(work: asyncio.Task[Any]) -> BaseException | None:
    """Of a task that is done."""
    return asyncio.CancelledError("it was cancelled") if work.cancelled() else work.exception()


class Preparations:
    """Those of this process that wait for their streams, and those that are being closed."""

    def __init__(self) -> None:
        self._pending: dict[str, tuple[Preparation, asyncio.TimerHandle]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        #: When it was last said that there are too many.
        self._said = float("-inf")

    def __len__(self) -> int:
        return len(self._pending)

    def begin(self, handler: str, prepare: Prepare, call: ExpectedCall) -> None:
        """At the webhook: prepares for a stream that is expected here, in the running loop."""
        found = self._pending.get(call.call_sid)
        if found and found[0].key == (handler, prepare, call.resumed):
            return
        self.drop(call.call_sid)
        # As many as there may be streams: whoever comes then is prepared for when the stream is there.
        if len(self._pending) >= settings.MAX_STREAMS:
            self._tell_of_too_many()
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(STREAM_PATIENCE, self.drop, call.call_sid, context=Context())
        self._pending[call.call_sid] = (Preparation(handler, prepare, call), timer)

    def drop(self, call_sid: str) -> None:
        """No stream of this call is expected here any more."""
        if found := self._pending.pop(call_sid, None):
            preparation, timer = found
            timer.cancel()
            self._close(preparation)

    def note_stall(self, stall: Stall) -> None:
        """The event loop stood still; perhaps it was what is prepared here that did it."""
        if found := self._pending.get(stall.call_sid):
            found[0].note_stall(stall)

    @asynccontextmanager
    async def held(self, live: LiveStream, prepare: Prepare) -> AsyncIterator[Any]:
        """Within, a stream has what was prepared for it, or None; it is closed afterwards, beside whatever comes."""
        preparation = self._take(live, prepare)
        try:
            prepared = await preparation.result()
            if preparation.failure:
                facts = {"error": preparation.failure, "line": preparation.line}
                live.tape.event("prepare-failed", timezone.now(), **facts)
            if preparation.stall:
                live.note_stall(preparation.stall)
            yield prepared
        finally:
            self._close(preparation)

    def _take(self, live: LiveStream, prepare: Prepare) -> Preparation:
        """What was begun at the webhook, or what has to be begun now."""
        token = live.token
        found = self._pending.get(live.call_sid)
        if found and found[0].key == (token.handler, prepare, token.resumed):
            preparation, timer = self._pending.pop(live.call_sid)
            timer.cancel()
            return preparation
        return Preparation(token.handler, prepare, _expected(live), live)

    def _close(self, preparation: Preparation) -> None:
        """Beside everything else; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(preparation.close(), context=Context())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """At the end of the process: closes whatever waits, within 5 s."""
        for call_sid in list(self._pending):
            self.drop(call_sid)
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_PATIENCE)

    def _tell_of_too_many(self) -> None:
        now = time.monotonic()
        if now - self._said > STREAM_PATIENCE:
            self._said = now
            logger.warning("prepare_put_off: %d calls wait for their streams; others are prepared for later", len(self))


def _expected(live: LiveStream) -> ExpectedCall:
    token = live.token
    return ExpectedCall(
        call_sid=token.call_sid,
        account_sid=live.start.account_sid or token.account_sid,
        from_number=token.from_number,
        to_number=token.to_number,
        direction=token.direction,
        parameters=dict(live.parameters),
        resumed=token.resumed,
    )


#: The one of this process.
preparations = Preparations()
