"""A handler while it runs: on one stream as a rule, on one after the other if it has its caller dial somebody."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from django.utils import timezone

from calls import about, tracing
from calls.recorder import recorder
from calls.server.live_stream import LiveStream, handled
from calls.server.mistakes import advice, sentence
from calls.server.outgoing import StreamEnded
from calls.server.preparations import Prepare, preparations
from calls.server.stalls import place, raised_at, standing
from calls.server.switchboard import switchboard


logger = logging.getLogger(__name__)

# Seconds that a handler has to finish once its stream is over.
HANDLER_GRACE = 5
# Seconds within which no handler has heard enough: one that returns by then, and has said nothing, did not mean to.
AT_ONCE = 1.0


class Talker:
    """Runs it, and ends the stream that it has by then."""

    def __init__(self, live: LiveStream, talk: Callable[[], Awaitable[None]], prepare: Prepare | None = None) -> None:
        """`talk` is the handler, with its stream; `prepare` is what it declares to come before."""
        self._live = live
        self._talk = talk
        self._prepare = prepare
        self._task: asyncio.Task[None] | None = None
        self._cutting: asyncio.Task[None] | None = None
        #: Whether it failed when its stream was over already.
        self.has_failed_late = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._handle())

    def go_on(self, live: LiveStream) -> None:
        """Its caller is back, on this stream."""
        if self._live.lifetime.is_recorded:
            recorder.submit(self._live.tape.cut_all())
        self._live = live
        self.has_failed_late = False

    async def _handle(self) -> None:
        """Runs the handler, and ends the stream when it is done.

        Nothing of ours lies between this and the handler: whatever did would be woken with every frame.
        """
        handled.set(self._live)
        with tracing.span("handler", handler=self._live.token.handler):
            async with self._seen_to_end():
                async with self._prepared():
                    began = time.monotonic()
                    await self._talk()
                # One that only listens is recorded to its end, unless the handler has said that it heard enough.
                if self._live.bidirectional or self._live.hung_up:
                    await self._hang_up(time.monotonic() - began)
        self._note_gone()

    @asynccontextmanager
    async def _prepared(self) -> AsyncIterator[None]:
        if self._prepare is None:
            yield
            return
        async with preparations.held(self._live, self._prepare) as self._live.prepared:
            yield

    @asynccontextmanager
    async def _seen_to_end(self) -> AsyncIterator[None]:
        try:
            yield
            tracing.current().note(outcome="done")
        except StreamEnded as error:
            self._note_ended(error)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and self._live.lifetime.is_ending:
                tracing.current().note(outcome="cut")
                # It was we who cancelled it. Before that, it waited for a task of its own that it had cancelled.
                raise
            if isinstance(error, ExceptionGroup) and error.split(StreamEnded)[1] is None:
                # A handler with a TaskGroup whose caller has hung up.
                self._note_ended(error)
            else:
                self._note_failed(error)
                # Whoever talks to the caller by now does not lose them for it.
                await self._live.hold.until_free()
                self._end_failed()

    async def _hang_up(self, seconds: float) -> None:
        live = self._live
        meant = live.hung_up
        await live.hang_up()
        if not meant and seconds < AT_ONCE and live.hung_up and not live.hearing.heard:
            self._note_returned_at_once(seconds)
        live.lifetime.end("handler")

    def _note_returned_at_once(self, seconds: float) -> None:
        """One that decides to say nothing hangs up; one that only returns has mostly forgotten something."""
        live = self._live
        logger.warning(
            "handler_returned_at_once handler=%s call=%s: it ran for %.2f s, and the caller has heard nothing; "
            "a handler talks for as long as it runs, so await what it is to wait for",
            *(live.token.handler, live.call_sid, seconds),
        )
        live.tape.event("handler-returned-at-once", timezone.now(), seconds=round(seconds, 2))

    def _note_ended(self, error: Exception) -> None:
        """The handler sent something on a stream that is over: what it had still to do is skipped."""
        live = self._live
        if live.hung_up:
            # A handler whose caller has left cannot know it; one that has hung up can.
            where = raised_at(error)
            logger.warning("sent_after_hang_up call=%s at %s: the rest is skipped", live.call_sid, where)
            live.tape.event("sent-after-hang-up", timezone.now(), line=where)
        live.lifetime.end("disconnect" if live.socket.is_closed else "handler")
        tracing.current().note(outcome="sent something when its stream was over")

    def _note_failed(self, error: BaseException) -> None:
        live = self._live
        hint = advice(error)
        said = f": {hint}" if hint else ""
        logger.error("handler_failed handler=%s call=%s%s", live.token.handler, live.call_sid, said, exc_info=error)
        tracing.current().note(outcome="failed")
        tracing.current().fail(error)
        known = {"error": sentence(error), "line": raised_at(error), "advice": hint}
        live.tape.event("handler-failed", timezone.now(), **{name: text for name, text in known.items() if text})

    def _end_failed(self) -> None:
        live = self._live
        if live.lifetime.is_ending:
            self.has_failed_late = True
            return
        live.tape.change(handler_failed=True)
        if live.bidirectional:
            switchboard.note_finished(live.call_sid, "failed")
            live.lifetime.end("error")

    def _note_gone(self) -> None:
        """It did not wait for a caller who may come back: /stream-ended is to say goodbye to them."""
        live = self._live
        if live.lifetime.reason == "dial" and live.outing is not None and not live.outing.is_lost:
            live.outing.give_up()
            failed = {"handler_failed": True} if self.has_failed_late else {}
            live.tape.change(handler_finished_at=timezone.now(), **failed)
            if live.lifetime.is_recorded:
                recorder.submit(live.tape.cut_all())

    # --- its end ------------------------------------------------------------------------------------------------------

    async def let_finish(self) -> None:
        """Gives the handler of a stream that is over the time to clean up, and says so if that was not enough."""
        assert self._task is not None, "it has been started"
        await asyncio.wait({self._task}, timeout=HANDLER_GRACE)
        if not self._task.done():
            where = place(standing(self._task.get_coro()))
            logger.warning(
                "handler_cut call=%s: still at %s %s s after the stream had ended",
                self._live.call_sid,
                where,
                HANDLER_GRACE,
            )
            self._live.tape.event("handler-cut", timezone.now(), line=where, seconds=HANDLER_GRACE)

    def cut_later(self) -> None:
        """The caller whom it waits for will not come back: the same, beside whatever else happens."""
        self._cutting = asyncio.create_task(self._cut_later())

    async def _cut_later(self) -> None:
        about.note(self._live.call_sid, self._live.sid)
        await self.let_finish()
        self.cancel()
        recorder.submit(self._live.tape.cut_all())

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
