"""A handler and its live stream: how they run together, and how they end, in what order.

That the handler has finished is committed before the socket closes, so that /stream-ended knows a finished conversation
from a broken one. Whatever happens, the last rows are handed over.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from django.utils import timezone

from calls.media.protocol import State
from calls.media.rows import AnyRow
from calls.models import Stream
from calls.recorder import recorder
from calls.server.hints import hints
from calls.server.listening import listening
from calls.server.live_stream import LiveStream, handled
from calls.server.mistakes import advice, sentence
from calls.server.outgoing import StreamEnded
from calls.server.preparations import Prepare, preparations
from calls.server.socket import CLOSE_PATIENCE
from calls.server.stalls import place, raised_at, standing
from calls.server.switchboard import switchboard


logger = logging.getLogger(__name__)

# Seconds that a handler has to finish once its stream is over.
HANDLER_GRACE = 5
# Seconds within which no handler has heard enough: one that returns by then, and has said nothing, did not mean to.
AT_ONCE = 1.0
# Seconds for which an end waits to be committed before the socket is closed.
COMMIT_PATIENCE = 2
# Seconds for which a stream's end waits for Twilio's API.
REST_PATIENCE = 6


class Conversation:
    """From the handler's first line to the last commit."""

    def __init__(self, live: LiveStream, talk: Callable[[], Awaitable[None]], prepare: Prepare | None = None) -> None:
        """`talk` is the handler, with its stream; `prepare` is what it declares to come before."""
        self._live = live
        self._talk = talk
        self._prepare = prepare
        self._has_failed_late = False

    async def run(self, reader: asyncio.Task[None]) -> None:
        """`reader` takes what comes from the socket, and ends when the other side has closed it."""
        live = self._live
        recorder.submit([live.opening(recorder.owner)])
        switchboard.add(live)
        live.socket.listen(live.receive)
        talker = asyncio.create_task(self._handle())
        try:
            await self._end(await live.lifetime.until_ending(), reader, talker)
        finally:
            # Also when the server cancels us: what is on tape is handed over, whatever else happens.
            live.lifetime.end("shutdown")
            talker.cancel()
            try:
                self._finish(Stream.EndReason.SHUTDOWN)
            finally:
                # A drain waits for it.
                switchboard.remove(live)
                live.words.let_go(self._keep_late)
                live.lifetime.let_go()

    # --- the handler --------------------------------------------------------------------------------------------------

    async def _handle(self) -> None:
        """Runs the handler, and ends the stream when it is done."""
        live = self._live
        handled.set(live)
        try:
            seconds = await self._talk_prepared()
            # One that only listens is recorded to its end, unless the handler has said that it heard enough.
            if live.bidirectional or live.hung_up:
                meant = live.hung_up
                await live.hang_up()
                if not meant and seconds < AT_ONCE and live.hung_up and not live.hearing.heard:
                    self._note_returned_at_once(seconds)
                live.lifetime.end("handler")
        except StreamEnded as error:
            self._note_ended(error)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and live.lifetime.is_ending:
                # It was we who cancelled it. Before that, it waited for a task of its own that it had cancelled.
                raise
            if isinstance(error, ExceptionGroup) and error.split(StreamEnded)[1] is None:
                # A handler with a TaskGroup whose caller has hung up.
                self._note_ended(error)
            else:
                self._note_failed(error)

    async def _talk_prepared(self) -> float:
        """For how many seconds the handler ran."""
        if self._prepare is None:
            return await self._seconds_of_talk()
        async with preparations.held(self._live, self._prepare) as self._live.prepared:
            return await self._seconds_of_talk()

    async def _seconds_of_talk(self) -> float:
        began = time.monotonic()
        await self._talk()
        return time.monotonic() - began

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

    def _note_failed(self, error: BaseException) -> None:
        live = self._live
        hint = advice(error)
        said = f": {hint}" if hint else ""
        logger.error("handler_failed handler=%s call=%s%s", live.token.handler, live.call_sid, said, exc_info=error)
        known = {"error": sentence(error), "line": raised_at(error), "advice": hint}
        live.tape.event("handler-failed", timezone.now(), **{name: text for name, text in known.items() if text})
        if live.lifetime.is_ending:
            self._has_failed_late = True
            return
        live.tape.change(handler_failed=True)
        if live.bidirectional:
            switchboard.note_finished(live.call_sid, "failed")
            live.lifetime.end("error")

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _end(self, reason: str, reader: asyncio.Task[None], talker: asyncio.Task[None]) -> None:
        """Ends the handler, then the socket, then the recording; that the handler finished is committed first."""
        live = self._live
        if reason == "disconnect":
            # A send that failed knows it before what had arrived is read, `stop` perhaps.
            await asyncio.wait({reader}, timeout=CLOSE_PATIENCE)
            reason = "stop" if live.protocol.state is State.STOPPED else reason
        if reason in ("stop", "disconnect"):
            live.note_end_of_line()
            live.protocol.stop()
        if reason in ("handler", "error"):
            await self._commit_handlers_end(reason, reader)
        await self._close(4403 if reason == "refused" else 1000)
        await asyncio.wait({reader}, timeout=CLOSE_PATIENCE)
        if reason not in ("shutdown", "refused"):
            await self._let_finish(talker)
        talker.cancel()
        if reason == "refused":
            # Another process records it.
            live.lifetime.note_recorded()
            return
        self._finish(Stream.EndReason(reason))
        await self._commit([])
        if reason in ("shutdown", "disconnect") and not live.bidirectional:
            await self._listen_again(reason)

    async def _commit_handlers_end(self, reason: str, reader: asyncio.Task[None]) -> None:
        live = self._live
        if live.bidirectional:
            switchboard.note_finished(live.call_sid, "failed" if reason == "error" else "finished")
        live.tape.change(handler_finished_at=timezone.now())
        await self._commit(live.cut(time.monotonic()))
        if not live.bidirectional:
            await self._stop_by_rest(reader)

    async def _close(self, code: int) -> None:
        if not self._live.socket.is_closed:
            self._live.note_end_of_line()
            await self._live.socket.close(code)

    async def _stop_by_rest(self, reader: asyncio.Task[None]) -> None:
        """A <Start> stream is stopped through Twilio's API, and Twilio closes it; if it does not, we do."""
        asked = asyncio.wrap_future(listening.stop(self._live.call_sid, self._live.sid))
        await asyncio.wait({asked}, timeout=REST_PATIENCE)
        if asked.done() and asked.result():
            await asyncio.wait({reader}, timeout=REST_PATIENCE)

    async def _listen_again(self, reason: str) -> None:
        """The call goes on beside us. A process that drains waits until another stream is asked for, and not longer."""
        asked = asyncio.wrap_future(listening.again(self._live.sid))
        if reason == "shutdown":
            await asyncio.wait({asked}, timeout=REST_PATIENCE)

    async def _let_finish(self, talker: asyncio.Task[None]) -> None:
        """Gives the handler of a stream that is over the time to clean up, and says so if that was not enough."""
        await asyncio.wait({talker}, timeout=HANDLER_GRACE)
        if not talker.done():
            where = place(standing(talker.get_coro()))
            logger.warning(
                "handler_cut call=%s: still at %s %s s after the stream had ended",
                self._live.call_sid,
                where,
                HANDLER_GRACE,
            )
            self._live.tape.event("handler-cut", timezone.now(), line=where, seconds=HANDLER_GRACE)

    def _finish(self, reason: Stream.EndReason) -> None:
        """Hands the last rows to the recorder, once."""
        live = self._live
        if live.lifetime.is_recorded:
            return
        live.note_end_of_line()
        hints.add(live.call_sid)
        # A handler that fails after the end has not failed its caller, and /stream-ended need not know at once.
        late = {"handler_failed": True} if self._has_failed_late else {}
        rows = live.last_rows(end_reason=reason.value, **late)
        live.lifetime.note_recorded()
        recorder.submit(rows)

    def _keep_late(self, rows: list[AnyRow]) -> None:
        """What a transcriber still knew to say when the stream was over."""
        recorder.submit(rows)
        hints.add(self._live.call_sid)

    async def _commit(self, rows: Sequence[AnyRow]) -> None:
        """Hands rows over and waits until they are in the database, at most 2 s."""
        committed = asyncio.Event()
        loop = self._live.loop

        def on_commit() -> None:
            loop.call_soon_threadsafe(committed.set)

        recorder.submit(rows, on_commit)
        with suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_PATIENCE):
                await committed.wait()
