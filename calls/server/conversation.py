"""A handler and its live stream: how they run together, and how they end, in what order.

That the handler has finished is committed before the socket closes, so that /stream-ended knows a finished conversation
from a broken one. Whatever happens, the last rows are handed over.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from django.utils import timezone

from calls import tracing
from calls.media.protocol import State
from calls.media.rows import AnyRow
from calls.models import Stream
from calls.recorder import recorder
from calls.server.departures import Departure
from calls.server.hints import hints
from calls.server.listening import listening
from calls.server.live_stream import LiveStream
from calls.server.outings import Handling, outings
from calls.server.socket import CLOSE_PATIENCE
from calls.server.switchboard import switchboard


logger = logging.getLogger(__name__)

# What each of Stream.EndReason means, for who reads the log.
_WORDS = {
    "stop": "Twilio stopped it: the caller hung up, or the call was ended or sent on from outside",
    "disconnect": "its socket broke, and Twilio had not stopped it; Twilio asks how the call goes on",
    "handler": "the handler was done",
    "error": "the handler failed",
    "shutdown": "this worker ends, and the call goes on at another one",
    "dial": "the caller is connected to somebody else",
}
# Seconds for which an end waits to be committed before the socket is closed.
COMMIT_PATIENCE = 2
# Seconds for which a stream's end waits for Twilio's API.
REST_PATIENCE = 6


class Conversation:
    """From the handler's first line to the last commit."""

    def __init__(self, live: LiveStream, talker: Handling, begin: Callable[[], None]) -> None:
        """`begin` starts the handler, or lets one go on that has waited for this stream."""
        self._live = live
        self._talker = talker
        self._begin = begin
        #: Whether the handler waits for its caller elsewhere, and is none of ours any more.
        self._is_left = False
        self._began = time.monotonic()

    async def run(self, reader: asyncio.Task[None]) -> None:
        """`reader` takes what comes from the socket, and ends when the other side has closed it."""
        live = self._live
        recorder.submit([live.opening(recorder.owner)])
        switchboard.add(live)
        logger.info("stream_opened call=%s stream=%s handler=%s", live.call_sid, live.sid, live.token.handler)
        live.socket.listen(live.receive, live.path)
        self._begin()
        try:
            await self._end(await live.lifetime.until_ending(), reader)
        finally:
            # Also when the server cancels us: what is on tape is handed over, whatever else happens.
            live.lifetime.end("shutdown")
            self._end_handler()
            try:
                self._finish(Stream.EndReason.DIAL if self._is_left else Stream.EndReason.SHUTDOWN)
            finally:
                # A drain waits for it.
                switchboard.remove(live)
                live.words.let_go(self._keep_late)
                live.lifetime.let_go()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _end(self, reason: str, reader: asyncio.Task[None]) -> None:
        """Ends the handler, then the socket, then the recording; that the handler finished is committed first."""
        live = self._live
        if reason == "disconnect":
            # A send that failed knows it before what had arrived is read, `stop` perhaps.
            await asyncio.wait({reader}, timeout=CLOSE_PATIENCE)
            reason = "stop" if live.protocol.state is State.STOPPED else reason
        if reason in ("stop", "disconnect"):
            live.note_end_of_line()
            live.protocol.stop()
        if live.departure is not None and reason in ("handler", "error", "dial"):
            # What somebody has asked for comes before what the handler has done meanwhile.
            reason = live.departure.reason
        if reason in ("handler", "error"):
            await self._commit_handlers_end(reason, reader)
        if reason == "dial" and not await (self._leave() if live.departure is None else self._depart(live.departure)):
            reason = "stop"
        await self._close(4403 if reason == "refused" else 1000)
        await asyncio.wait({reader}, timeout=CLOSE_PATIENCE)
        if not (self._is_left or reason in ("shutdown", "refused")):
            await self._talker.let_finish()
        self._end_handler()
        if reason == "refused":
            # Another process records it.
            live.lifetime.note_recorded()
            return
        self._finish(Stream.EndReason(reason))
        await commit([])
        if reason in ("shutdown", "disconnect") and not live.bidirectional:
            await self._listen_again(reason)

    async def _leave(self) -> bool:
        """The handler waits for its caller from here on, and whom to dial is committed. False if they have hung up."""
        outing = self._live.outing
        assert outing is not None, "who has no outing does not leave for one"
        outing.leave(self._talker)
        outings.add(outing)
        self._is_left = True
        if await self._commit_departure(outing.departure):
            return True
        self._is_left = False
        outing.abandon()
        return False

    async def _depart(self, departure: Departure) -> bool:
        """The call goes on without the handler, also if that was about to dial itself. False if they have hung up."""
        if self._live.outing is not None:
            self._live.outing.abandon()
        return await self._commit_departure(departure)

    async def _commit_departure(self, departure: Departure) -> bool:
        """False if nobody is dialled, and no other handler takes over, since the caller has hung up."""
        live, order = self._live, departure.order
        if order is not None:
            live.tape.event("dialled", timezone.now(), number=order.number, caller_id=order.caller_id)
        live.tape.change(dial=departure.stored())
        await commit(live.cut(time.monotonic()))
        if live.protocol.state is not State.STOPPED:
            return True
        live.tape.change(dial={})
        return False

    def _end_handler(self) -> None:
        if not self._is_left:
            self._talker.cancel()

    async def _commit_handlers_end(self, reason: str, reader: asyncio.Task[None]) -> None:
        live = self._live
        if live.bidirectional:
            switchboard.note_finished(live.call_sid, "failed" if reason == "error" else "finished")
        live.tape.change(handler_finished_at=timezone.now())
        await commit(live.cut(time.monotonic()))
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

    def _finish(self, reason: Stream.EndReason) -> None:
        """Hands the last rows to the recorder, once."""
        live = self._live
        if live.lifetime.is_recorded:
            return
        live.note_end_of_line()
        hints.add(live.call_sid)
        # A handler that fails after the end has not failed its caller, and /stream-ended need not know at once.
        late = {"handler_failed": True} if self._talker.has_failed_late else {}
        rows = live.last_rows(end_reason=reason.value, **late)
        live.lifetime.note_recorded()
        recorder.submit(rows)
        self._log_end(reason)

    def _log_end(self, reason: Stream.EndReason) -> None:
        live = self._live
        what = live.departure.what if live.departure is not None else _WORDS.get(reason.value, reason.label)
        logger.info(
            "stream_closed call=%s stream=%s reason=%s code=%s after=%.1f handler=%s: %s",
            *(live.call_sid, live.sid, reason.value, live.socket.close_code or "none", time.monotonic() - self._began),
            *(live.token.handler, ascii(what)[1:-1]),
        )
        tracing.current().note(outcome=reason.value, why=what)
        if reason in (Stream.EndReason.ERROR, Stream.EndReason.DISCONNECT):
            tracing.current().fail(what)

    def _keep_late(self, rows: list[AnyRow]) -> None:
        """What a transcriber still knew to say when the stream was over."""
        recorder.submit(rows)
        hints.add(self._live.call_sid)


async def commit(rows: Sequence[AnyRow]) -> None:
    """Hands rows over and waits until they are in the database, at most 2 s."""
    committed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_commit() -> None:
        loop.call_soon_threadsafe(committed.set)

    recorder.submit(rows, on_commit)
    with suppress(TimeoutError):
        async with asyncio.timeout(COMMIT_PATIENCE):
            await committed.wait()
