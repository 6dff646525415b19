"""The media socket: a Channels consumer with its own receive loop, between the socket, the protocol, the recorder and
a handler. The only place with tasks, clocks and thread hops.

Channels' own `dispatch` hops to the one database thread for every message, so a slow query anywhere would delay every
call's audio. Here a message goes straight from the socket to the protocol, and nothing on that way waits.
"""

import asyncio
import datetime as dt
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from channels.consumer import AsyncConsumer
from django.utils import timezone

from calls import handlers
from calls.media.playback import StreamClock
from calls.media.protocol import (
    Connected,
    Dtmf,
    Mark,
    Media,
    MediaBody,
    ProtocolError,
    Start,
    StartBody,
    State,
    Stop,
    StreamProtocol,
)
from calls.media.rows import StreamRow
from calls.media.tape import Tape
from calls.models import Stream
from calls.recorder import recorder
from calls.security import StreamToken, is_signed_handshake
from calls.server.hints import hints
from calls.server.listening import listening
from calls.server.stalls import Stall, place
from calls.server.switchboard import switchboard
from calls.sockets.frames import EXTENSION, ShortWay
from calls.streams import MediaStream, StreamEnded, handled
from calls.twiml import START_SUFFIX


logger = logging.getLogger(__name__)

# Seconds within which `start` must come.
START_TIMEOUT = 10
# Sockets that may wait for their `start` at once. No cap by address: Twilio's streams share few of them.
MAX_STARTING = 200
# Seconds that a handler has to finish once its stream is over.
HANDLER_GRACE = 5
# Seconds for which an end waits to be committed before the socket is closed.
COMMIT_PATIENCE = 2
# Seconds for which a stream's end waits for Twilio's API.
REST_PATIENCE = 6
# Seconds for which we wait for the other side to close too.
CLOSE_PATIENCE = 1
# Seconds that the loop has to stand still for a call to say so whose own handler did not do it.
NOTICED = 0.5
# Messages of one socket that are handled before the others get their turn.
FAIR_SHARE = 64

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Refused(Exception):
    """This socket is not a stream of ours; `code` and `reason` close it (daphne takes 1000 and 3000-4999 only)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class MediaStreamConsumer(AsyncConsumer):
    """One media stream, from the handshake to the last row."""

    # No channel layer: a dead Redis must not end a call.
    channel_layer_alias = ""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send_frame = send
        self.loop = asyncio.get_running_loop()
        self.protocol = StreamProtocol()
        self.over: asyncio.Future[str] = self.loop.create_future()
        self.gone = asyncio.Event()
        self.is_closed = False
        self.ended_at: dt.datetime | None = None
        self.close_code: int | None = None
        self.short_way: ShortWay | None = scope.get("extensions", {}).get(EXTENSION)
        self.stream: MediaStream | None = None
        message = await receive()
        if message["type"] != "websocket.connect":
            return
        if (refusal := self._handshake_refusal()) is not None:
            logger.warning("handshake_refused reason=%s", refusal)
            await send({"type": "websocket.close", "code": 4403, "reason": refusal})
            return
        await send({"type": "websocket.accept"})
        await self._serve()

    def _handshake_refusal(self) -> str | None:
        """Why this handshake is refused, before anything is accepted and without a query."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.scope["headers"]}
        if "origin" in headers:
            return "an Origin header: a browser, not Twilio"
        if switchboard.draining:
            return "draining"
        if len(switchboard.starting) >= MAX_STARTING or switchboard.is_full:
            return "full"
        query = self.scope.get("query_string", b"").decode("latin-1")
        if not is_signed_handshake(self.scope["path"] + (f"?{query}" if query else ""), headers):
            return "signature"
        return None

    async def _serve(self) -> None:
        try:
            start = await self._start_in_time()
            if start is None:
                return
            token = self._check(start)
        except TimeoutError:
            await self._close(4408, "draining" if switchboard.draining else f"no start within {START_TIMEOUT} s")
            return
        except Refused as refused:
            logger.warning("stream_rejected reason=%s", refused.reason)
            await self._close(refused.code, refused.reason)
            return
        await self._run(token, start)

    async def _start_in_time(self) -> StartBody | None:
        limit = asyncio.timeout(START_TIMEOUT)
        switchboard.starting.add(limit)
        try:
            async with limit:
                return await self._await_start()
        finally:
            switchboard.starting.discard(limit)

    async def _await_start(self) -> StartBody | None:
        """Reads until `start`; None if the socket closes before."""
        while True:
            frame = await self.receive()
            if frame["type"] != "websocket.receive":
                return None
            text = frame.get("text")
            if text is None:
                self._refuse_binary(frame)
                continue
            try:
                message = self.protocol.receive(text)
            except ProtocolError as error:
                self._log_rejected(error)
                continue
            if isinstance(message, Start):
                return message.start
            if not isinstance(message, Connected) and self.protocol.unknown == 1:
                logger.info("unknown_event before start")

    def _check(self, start: StartBody) -> StreamToken:
        """The token that binds this stream to its call. Refused if it is not ours, of another call, or used."""
        token = StreamToken.read(start.custom_parameters.get("token"))
        if token is None:
            raise Refused(4403, "no good token")
        if token.call_sid != start.call_sid:
            raise Refused(4403, "the token is of another call")
        if not switchboard.nonces.is_first(token.nonce):
            raise Refused(4403, "the token was used before")
        if switchboard.draining:
            raise Refused(4503, "draining")
        if self.protocol.stream_sid in switchboard.live:
            raise Refused(4409, "this stream is already here")
        if switchboard.is_full:
            raise Refused(4503, "full")
        if handlers.find(token.handler) is None:
            raise Refused(4404, "no such handler")
        return token

    # --- a stream ----------------------------------------------------------------------------------------------------

    async def _run(self, token: StreamToken, start: StartBody) -> None:
        self._open(token, start)
        assert self.stream is not None
        switchboard.add(self)
        if self.short_way is not None:
            self.short_way.listen(self._take)
        reader = asyncio.create_task(self._read())
        talker = asyncio.create_task(self._talk(token.handler))
        try:
            reason = await asyncio.shield(self.over)
            await self._end(reason, reader, talker)
        finally:
            # Also when the server cancels us: what is on tape is handed over, whatever else happens.
            self.is_over("shutdown")
            reader.cancel()
            talker.cancel()
            try:
                self._finish(Stream.EndReason.SHUTDOWN)
            finally:
                # A drain waits for it.
                switchboard.remove(self)
                self.gone.set()

    def _open(self, token: StreamToken, start: StartBody) -> None:
        self.clock = StreamClock(time.monotonic())
        self.protocol.bidirectional = token.bidirectional
        self.tape = Tape(self.protocol.stream_sid, token.call_sid, start.tracks, bidirectional=token.bidirectional)
        handler = handlers.find(token.handler)
        assert handler is not None, "checked at start"
        if not handler.records:
            self.tape.pause()
        self.stream = MediaStream(
            token, start, self.protocol, self.tape, self._send_text, self.clock, self._send_now, self._hung_up
        )
        self.lost = 0
        self.unknown_marks = 0
        self.worst_stall = 0.0
        self.finished = False
        self.has_failed_late = False
        facts = {
            "account_sid": start.account_sid or token.account_sid,
            "from_number": token.from_number,
            "to_number": token.to_number,
            "direction": token.direction,
            "handler": token.handler,
        }
        recorder.open(
            self.tape,
            StreamRow(
                sid=self.protocol.stream_sid,
                call_sid=token.call_sid,
                call=facts,
                nonce=token.nonce,
                owner=recorder.owner,
                # What <Stream name=…> was, which Twilio repeats in callbacks only.
                name=token.handler if token.bidirectional else f"{token.handler}{START_SUFFIX}",
                tracks=list(start.tracks),
                custom_parameters=dict(self.stream.parameters),
                media_format=start.media_format,
                started_at=timezone.now(),
                bidirectional=token.bidirectional,
            ),
        )

    def elapsed(self, at: float) -> int:
        """Samples since `start` by the wall clock, at that monotonic time."""
        return self.clock.elapsed(at)

    async def _read(self) -> None:
        """The receive loop. Nothing in it waits but `receive` itself."""
        receive = self.receive
        handled = 0
        while True:
            frame = await receive()
            if frame["type"] != "websocket.receive":
                self.close_code = frame.get("code")
                self.is_closed = True
                self._hears_no_more()
                self.is_over("disconnect")
                return
            text = frame.get("text")
            if text is None:
                self._refuse_binary(frame)
            else:
                self._take(text)
            handled += 1
            if handled % FAIR_SHARE == 0:
                # daphne's queue never makes us wait, and a flood would keep the loop for itself.
                await asyncio.sleep(0)

    def _take(self, text: str) -> None:
        """A text of the socket, from the receive loop or straight from the server. Never waits, never raises."""
        try:
            message = self.protocol.receive(text)
            if type(message) is Media:
                self._media(message.media)
            else:
                self._other(message)
        except ProtocolError as error:
            self._log_rejected(error)

    def _refuse_binary(self, frame: dict[str, Any]) -> None:
        """Twilio sends no binary frames (its own answer to one is error 31950)."""
        error = ProtocolError("binary", f"a binary frame of {len(frame.get('bytes') or b'')} bytes")
        self.protocol.reject(error)
        self._log_rejected(error)

    def _media(self, media: MediaBody) -> None:
        at = time.monotonic()
        clock = self.clock
        lost = self.protocol.sequence_gaps != self.lost
        try:
            end = self.tape.media(media.track, media.timestamp, media.payload, clock.elapsed(at), lost=lost)
        except ProtocolError as error:
            self.protocol.reject(error)
            raise
        if lost:
            self.lost = self.protocol.sequence_gaps
        if media.track == "inbound":
            clock.arrived(end, at)
        self.stream.push_media(media)  # type: ignore[union-attr]

    def _other(self, message: object) -> None:
        assert self.stream is not None
        match message:
            case Dtmf():
                self.stream.push_dtmf(message.dtmf)
            case Mark():
                if not self.stream.push_mark(message.mark.name):
                    self.unknown_marks += 1
                    if self.unknown_marks == 1:
                        logger.info("mark_unknown stream=%s", self.protocol.stream_sid)
            case Stop():
                self._hears_no_more()
                self.is_over("stop")
            case _:
                if self.protocol.unknown == 1:
                    logger.info("unknown_event stream=%s", self.protocol.stream_sid)

    def _log_rejected(self, error: ProtocolError) -> None:
        """One line for the first of each kind on a stream; the rest is counted."""
        if self.protocol.rejected[error.kind] == 1:
            where = self.protocol.stream_sid or "a socket before start"
            logger.warning("frame_rejected %s on %s: %s", error, where, error.excerpt)

    def _send_now(self, text: str) -> bool:
        """Sends a text without waiting, where the server can; False if it has to go by `_send_text`."""
        return self.short_way is not None and not self.is_closed and self.short_way.write(text)

    async def _send_text(self, text: str) -> None:
        if self.is_closed:
            raise StreamEnded(f"{self.protocol.stream_sid} is closed")
        try:
            await self.send_frame({"type": "websocket.send", "text": text})
        except (OSError, RuntimeError) as error:
            # The caller hung up under our hands: uvicorn raises an OSError, autobahn below daphne a RuntimeError.
            self.is_closed = True
            if self.stream is not None:
                self.stream.note_lost()
            self.is_over("disconnect")
            raise StreamEnded(f"{self.protocol.stream_sid} is gone: {error}") from error

    async def _talk(self, name: str) -> None:
        """Runs the handler, and ends the stream when it is done."""
        assert self.stream is not None
        handler = handlers.find(name)
        assert handler is not None, "checked at start"
        handled.set(self.stream)
        try:
            await handler(self.stream)
            # One that only listens is recorded to its end, unless the handler has said that it heard enough.
            if self.stream.bidirectional or self.stream.hung_up:
                await self.stream.hang_up()
                self.is_over("handler")
        except StreamEnded as error:
            self._has_ended(error)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and self.over.done():
                # It was we who cancelled it. Before that, it waited for a task of its own that it had cancelled.
                raise
            if isinstance(error, ExceptionGroup) and error.split(StreamEnded)[1] is None:
                # A handler with a TaskGroup whose caller has hung up.
                self._has_ended(error)
                return
            logger.exception("handler_failed handler=%s call=%s", name, self.tape.call_sid)
            self.tape.event("handler-failed", timezone.now(), error=f"{type(error).__name__}: {error}"[:500])
            if self.over.done():
                self.has_failed_late = True
                return
            self.tape.change(handler_failed=True)
            if self.stream.bidirectional:
                switchboard.note_finished(self.tape.call_sid, "failed")
                self.is_over("error")

    def _has_ended(self, error: Exception) -> None:
        """The handler sent something on a stream that is over: what it had still to do is skipped."""
        assert self.stream is not None
        if self.stream.hung_up:
            # Whose caller has left cannot know; who has hung up can.
            where = place(_raised_at(error))
            logger.warning("sent_after_hang_up call=%s at %s: the rest is skipped", self.tape.call_sid, where)
            self.tape.event("sent-after-hang-up", timezone.now(), line=where)
        self.is_over("disconnect" if self.is_closed else "handler")

    def is_over(self, reason: str) -> None:
        """The stream ends, for the first reason that comes."""
        if not self.over.done():
            self.over.set_result(reason)

    def _hung_up(self) -> None:
        self.is_over("handler")

    def _hears_no_more(self) -> None:
        """This is the end on the line, whatever the handler still does: nothing later was heard."""
        if self.stream is not None and self.ended_at is None:
            self.ended_at = timezone.now()
            self.stream.end()

    # --- its end -----------------------------------------------------------------------------------------------------

    async def _end(self, reason: str, reader: asyncio.Task[None], talker: asyncio.Task[None]) -> None:
        """Ends the handler, then the socket, then the recording; that the handler finished is committed first."""
        assert self.stream is not None
        if reason == "disconnect":
            # A send that failed knows it before what had arrived is read, `stop` perhaps.
            await asyncio.wait({reader}, timeout=CLOSE_PATIENCE)
            reason = "stop" if self.protocol.state is State.STOPPED else reason
        if reason in ("stop", "disconnect"):
            self._hears_no_more()
            self.protocol.stop()
        if reason in ("handler", "error"):
            if self.stream.bidirectional:
                switchboard.note_finished(self.tape.call_sid, "failed" if reason == "error" else "finished")
            self.tape.change(handler_finished_at=timezone.now())
            await self._commit(self.tape.cut(self.elapsed(time.monotonic())))
            if not self.stream.bidirectional:
                await self._stop_by_rest(reader)
        await self._close(4403 if reason == "refused" else 1000, "")
        await asyncio.wait({reader}, timeout=CLOSE_PATIENCE)
        if reason not in ("shutdown", "refused"):
            await self._let_finish(talker)
        talker.cancel()
        if reason == "refused":
            recorder.tapes.pop(self.tape.sid, None)
            self.finished = True
            return
        self._finish(Stream.EndReason(reason))
        await self._commit([])
        if reason in ("shutdown", "disconnect") and not self.stream.bidirectional:
            await self._listen_again(reason)

    async def _stop_by_rest(self, reader: asyncio.Task[None]) -> None:
        """A <Start> stream is stopped through Twilio's API, and Twilio closes it; if it does not, we do."""
        asked = asyncio.wrap_future(listening.stop(self.tape.call_sid, self.tape.sid))
        await asyncio.wait({asked}, timeout=REST_PATIENCE)
        if asked.done() and asked.result():
            await asyncio.wait({reader}, timeout=REST_PATIENCE)

    async def _listen_again(self, reason: str) -> None:
        """The call goes on beside us. A process that drains waits until another stream is asked for, and not longer."""
        asked = asyncio.wrap_future(listening.again(self.tape.sid))
        if reason == "shutdown":
            await asyncio.wait({asked}, timeout=REST_PATIENCE)

    async def _let_finish(self, talker: asyncio.Task[None]) -> None:
        """Gives the handler of a stream that is over the time to clean up, and says so if that was not enough."""
        await asyncio.wait({talker}, timeout=HANDLER_GRACE)
        if not talker.done():
            where = place(_standing(talker.get_coro()))
            logger.warning(
                "handler_cut call=%s: still at %s %s s after the stream had ended",
                self.tape.call_sid,
                where,
                HANDLER_GRACE,
            )
            self.tape.event("handler-cut", timezone.now(), line=where, seconds=HANDLER_GRACE)

    def _finish(self, reason: Stream.EndReason) -> None:
        """Hands the last rows to the recorder, once."""
        if self.finished:
            return
        self.finished = True
        self._hears_no_more()
        hints.add(self.tape.call_sid)
        self.tape.close()
        self.tape.change(
            **self._counters(),
            # A handler that fails behind the end has not failed its caller, and /stream-ended need not know at once.
            **({"handler_failed": True} if self.has_failed_late else {}),
            ended_at=self.ended_at,
            end_reason=reason.value,
            close_code=self.close_code,
        )
        recorder.finish(self.tape)

    async def _commit(self, rows: list[Any]) -> None:
        """Hands rows over and waits until they are in the database, at most 2 s."""
        committed = self.loop.create_future()

        def done() -> None:
            if not committed.done():
                committed.set_result(None)

        def on_commit() -> None:
            self.loop.call_soon_threadsafe(done)

        recorder.submit(rows, on_commit)
        await asyncio.wait({committed}, timeout=COMMIT_PATIENCE)

    async def _close(self, code: int, reason: str) -> None:
        """Closes the socket, if it is open. A peer that is gone already is no error."""
        if not self.is_closed:
            self.is_closed = True
            self._hears_no_more()
            try:
                # A peer that does not read may keep us waiting for ever.
                async with asyncio.timeout(CLOSE_PATIENCE):
                    await self.send_frame({"type": "websocket.close", "code": code, "reason": reason})
            except (OSError, RuntimeError) as error:  # TimeoutError is an OSError
                logger.info("close_failed: %s", error)

    def beat(self, at: float, *, with_counters: bool) -> None:
        """Puts what was heard on tape, and now and then the counters."""
        assert self.stream is not None
        self.stream.flush_playback(at)
        if with_counters:
            self.tape.change(**self._counters())

    def note_stall(self, stall: Stall) -> None:
        """The loop stood still, and this call's audio waited. Few events tell of many stalls: each is twice as long."""
        is_own = stall.call_sid == self.tape.call_sid
        if stall.seconds <= 2 * self.worst_stall or (stall.seconds < NOTICED and not is_own):
            return
        self.worst_stall = stall.seconds
        by = "this call's handler" if is_own else "the handler of another call" if stall.call_sid else ""
        self.tape.event("loop-blocked", timezone.now(), seconds=round(stall.seconds, 2), line=stall.place, by=by)

    def _counters(self) -> dict[str, Any]:
        assert self.stream is not None
        return {
            **self.tape.counters,
            "heard": self.stream.heard,
            "frames_rejected": self.protocol.frames_rejected,
            "sequence_gaps": self.protocol.sequence_gaps,
            "duplicates": self.protocol.duplicates,
            "handler_overruns": self.stream.overruns,
            "jitter_ms": round(min(self.clock.jitter_ms, 60_000.0), 1),
        }


def _raised_at(error: BaseException) -> list[FrameType]:
    """The frames that an error came through, innermost first; of a group, its first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)][::-1]


def _standing(coroutine: Any) -> list[FrameType]:
    """The frames of a coroutine that waits and of those that it waits for, innermost first."""
    frames = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        frames.append(frame)
        coroutine = coroutine.cr_await
    return frames[::-1]
