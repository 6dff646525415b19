"""One media stream of this process: everything that belongs to it from `start` to its last row, and its one state.

A frame goes one way: socket, protocol, tape and inbox; `beat` returns the rows that it has become. What a handler says
goes the other way: outgoing, socket, and from what the caller has heard of it back to the tape.
"""

import asyncio
import datetime as dt
import logging
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from calls import quick, vault
from calls.media.hearing import Hearing
from calls.media.playback import Segment, StreamClock
from calls.media.protocol import (
    AnyMessage,
    Dtmf,
    DtmfMessage,
    MarkMessage,
    Media,
    MediaMessage,
    ProtocolError,
    Start,
    State,
    StopMessage,
    StreamProtocol,
    Unknown,
)
from calls.media.rows import AnyRow, StreamRow
from calls.media.tape import Tape
from calls.security import StreamToken
from calls.server.arrivals import Arrivals
from calls.server.barge_in import BargeIn
from calls.server.ear import Ear
from calls.server.hold import Hold
from calls.server.inbox import Inbox
from calls.server.keypad import Keypad
from calls.server.lifetime import Lifetime
from calls.server.marks import Marks
from calls.server.notebook import Notebook
from calls.server.outgoing import Outgoing
from calls.server.socket import Socket
from calls.server.speaking import Speaking
from calls.server.speeches import Opened
from calls.server.stalls import Stall
from calls.server.tally import Tally
from calls.server.voice import Voice
from calls.server.words import Words
from calls.twiml import RESERVED, START_SUFFIX


if TYPE_CHECKING:
    from calls.server.departures import Departure
    from calls.server.outings import Outing


logger = logging.getLogger(__name__)

# What calls/quick has to know of our classes.
_TYPES = (Media, Segment, Opened, State.STREAMING)
# Seconds that the loop has to stand still for a call to say so whose own handler did not do it.
NOTICED = 0.5


class LiveStream:
    """Owns what one stream needs: protocol, tape, clock, inbox, outgoing, and its lifetime."""

    def __init__(
        self,
        token: StreamToken,
        start: Start,
        protocol: StreamProtocol,
        socket: Socket,
        *,
        records: bool = True,
        transcribes: bool = True,
    ) -> None:
        """`protocol` has taken `start`; with `records=False` neither lane is kept, nor transcribed."""
        self.token = token
        self.start = start
        self.call_sid = token.call_sid
        self.sid = protocol.stream_sid
        #: The <Parameter>s of the stream, without our own.
        self.parameters = {name: str(value) for name, value in start.custom_parameters.items() if name not in RESERVED}
        self.protocol = protocol
        self.protocol.bidirectional = token.bidirectional
        self.socket = socket
        self.loop = asyncio.get_running_loop()
        self.clock = StreamClock(time.monotonic())
        self.tape = Tape(self.sid, token.call_sid, start.tracks, bidirectional=token.bidirectional)
        if not records:
            self.tape.pause()
        self.recording_paused = False
        self.lifetime = Lifetime()
        self.hearing = Hearing(self.tape, self.clock)
        self.inbox = Inbox(self.lifetime)
        self.keypad = Keypad(self.tape)
        self.notebook = Notebook(self.tape, self.clock, self.lifetime)
        self.arrivals = Arrivals(protocol, self.tape, self.clock, self.inbox)
        self.barge_in = BargeIn(self.tape, self.listen)
        self.marks = Marks(protocol, self.hearing.playback, self.tape, self.inbox)
        self.outgoing = Outgoing(socket, protocol, self.hearing, self.marks, self.lifetime)
        #: The quick way of frames, in both directions; None where that is not built.
        self.path = None if quick.path is None else quick.path(self.arrivals, self.outgoing, _TYPES)
        self.speaking = Speaking(self.outgoing, protocol, self.hearing, self.marks)
        self.voice = Voice(self.speaking, self.barge_in, self.tape)
        #: Whether a person talks to the caller in the handler's place.
        self.hold = Hold(self.outgoing, self.speaking, self.hearing, self.inbox, lambda: self.arrivals.ear)
        self.words = Words(self.sid, self.call_sid, records=records, transcribes=transcribes)
        #: When the line was known to be dead; the handler may have hung up before.
        self.ended_at: dt.datetime | None = None
        #: Set while the handler sends the caller to another number, and from then on.
        self.outing: Outing | None = None
        #: How the call goes on, once somebody else than its handler has asked for the stream's end.
        self.departure: Departure | None = None
        #: What the handler's `prepare` has returned.
        self.prepared: Any = None
        #: Whether it was the handler that ended it.
        self.hung_up = False
        self._tally = Tally()
        self.unknown_marks = 0
        self._worst_stall = 0.0
        self._forgotten: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<LiveStream {self.sid} of {self.call_sid}>"

    @property
    def bidirectional(self) -> bool:
        """False on a <Start> stream: there we only listen."""
        return self.protocol.bidirectional

    async def until_gone(self) -> None:
        """Waits until nobody holds it any more."""
        await self.lifetime.until_gone()

    # --- what arrives -------------------------------------------------------------------------------------------------

    def receive(self, text: str) -> None:
        """A text of the socket. Never waits, never raises."""
        try:
            message = self.protocol.receive(text)
            if type(message) is MediaMessage:
                self.arrivals.take(message.media)
            else:
                self._receive_other(message)
        except ProtocolError as error:
            log_rejected(self.protocol, error)

    @property
    def ear(self) -> Ear | None:
        """What listens to the caller; None while nobody wants to know whether they speak."""
        return self.arrivals.ear

    def listen(self) -> Ear:
        """The stream's ear, which it has from now on, until nobody has used it for 10 s."""
        ear = self.arrivals.ear
        if ear is None:
            ear = self.arrivals.ear = Ear(self.clock, self.lifetime, self._stop_listening, self.sid)
            if self.hold.is_on:
                ear.hold(self.outgoing.now())
        return ear

    def _stop_listening(self) -> None:
        self.arrivals.ear = None

    def _receive_other(self, message: AnyMessage | Unknown) -> None:
        match message:
            case DtmfMessage():
                self._receive_key(message.dtmf)
            case MarkMessage():
                self._receive_mark(message.mark.name)
            case StopMessage():
                self.note_end_of_line()
                self.lifetime.end("stop")
            case _:
                if self.protocol.unknown == 1:
                    logger.info("unknown_event stream=%s", self.sid)

    def _receive_key(self, key: Dtmf) -> None:
        now = self._note_sign()
        self.keypad.press(key, now)
        self.inbox.put(key)
        self.barge_in.interrupt("key")

    def _receive_mark(self, name: str) -> None:
        if not self.marks.returned(name, self._note_sign()):
            self.unknown_marks += 1
            if self.unknown_marks == 1:
                logger.info("mark_unknown stream=%s", self.sid)

    def _note_sign(self) -> int:
        now = self.clock.now(time.monotonic())
        self.hearing.note_sign(now)
        return now

    def receive_binary(self, data: bytes | None) -> None:
        try:
            self.protocol.receive_binary(data)
        except ProtocolError as error:
            log_rejected(self.protocol, error)

    # --- what is recorded ---------------------------------------------------------------------------------------------

    def opening(self, owner: str) -> StreamRow:
        """The row that begins it; `owner` is the process that holds it."""
        token = self.token
        facts = {
            "account_sid": self.start.account_sid or token.account_sid,
            "from_number": token.from_number,
            "to_number": token.to_number,
            "direction": token.direction,
            "handler": token.handler,
        }
        return StreamRow(
            sid=self.sid,
            call_sid=self.call_sid,
            call=facts,
            nonce=token.nonce,
            owner=owner,
            # What <Stream name=…> was, which Twilio repeats in callbacks only.
            name=token.handler if token.bidirectional else f"{token.handler}{START_SUFFIX}",
            tracks=list(self.start.tracks),
            custom_parameters=dict(self.parameters),
            media_format=self.start.media_format,
            started_at=timezone.now(),
            bidirectional=token.bidirectional,
            sealing_key=vault.new_key(self.sid),
        )

    def beat(self, at: float, *, with_counters: bool = False) -> list[AnyRow]:
        """What is new since the last beat, by that monotonic time; now and then with the counters."""
        self.hearing.advance(at)
        if with_counters:
            self._note_counters()
        return self.cut(at)

    def cut(self, at: float) -> list[AnyRow]:
        """What is on tape and was not handed over, by that monotonic time."""
        elapsed = self.clock.elapsed(at)
        rows = self.tape.cut(elapsed)
        rows += self.words.take(rows, elapsed)
        if self.ended_at is not None:
            self.words.close()
        return rows

    def last_rows(self, **facts: Any) -> list[AnyRow]:
        """The rest, with what is known of its end."""
        self.tape.close()
        self._note_counters(**facts, ended_at=self.ended_at, close_code=self.socket.close_code)
        rows = self.tape.cut_all()
        return rows + self.words.take(rows, self.tape.length)

    def pause_recording(self) -> None:
        """From now on both lanes are silent, and a gap says that it was meant."""
        if not self.recording_paused and not self.lifetime.is_over:
            self.hearing.advance(time.monotonic())
            self.tape.pause()
            self.recording_paused = True
            self.tape.event("recording-paused", timezone.now())

    def resume_recording(self) -> None:
        if self.recording_paused and not self.lifetime.is_over:
            self.hearing.advance(time.monotonic())
            self.tape.resume()
            self.recording_paused = False
            self.tape.event("recording-resumed", timezone.now())

    def note_stall(self, stall: Stall) -> None:
        """The loop stood still, and this call's audio waited. Few events tell of many stalls: each is twice as long."""
        is_own = stall.call_sid == self.call_sid
        if stall.seconds <= 2 * self._worst_stall or (stall.seconds < NOTICED and not is_own):
            return
        self._worst_stall = stall.seconds
        by = "this call's handler" if is_own else "the handler of another call" if stall.call_sid else ""
        self.tape.event("loop-blocked", timezone.now(), seconds=round(stall.seconds, 2), line=stall.place, by=by)

    def note_forgotten(self, what: str, where: str) -> bool:
        """An `await` before `what` is missing there. False if that is known of this stream."""
        if (what, where) in self._forgotten:
            return False
        self._forgotten.add((what, where))
        self.tape.event("await-forgotten", timezone.now(), what=what, line=where)
        return True

    def _note_counters(self, **facts: Any) -> None:
        """For the stream's row, and for the figures of this process."""
        counters = self._counters()
        self._tally.take(counters, sent=self.hearing.playback.sent)
        self.tape.change(**counters, **facts)

    def _counters(self) -> dict[str, Any]:
        return {
            **self.tape.counters,
            "heard": self.hearing.heard,
            "frames_rejected": self.protocol.frames_rejected,
            "sequence_gaps": self.protocol.sequence_gaps,
            "duplicates": self.protocol.duplicates,
            "handler_overruns": self.inbox.overruns,
            "jitter_ms": round(min(self.clock.jitter_ms, 60_000.0), 1),
        }

    # --- its end ------------------------------------------------------------------------------------------------------

    async def hang_up(self) -> None:
        """Lets the caller hear what was given to play, then ends the stream. A person who talks to them comes first."""
        await self.let_hear()
        if not self.lifetime.is_over:
            self.hung_up = True
            self.fall_silent()
            self.lifetime.end("handler")

    async def let_hear(self) -> None:
        """Waits until the caller has heard what was given to play, and is with nobody else."""
        while True:
            await self.hold.until_free()
            self.hearing.advance(time.monotonic())
            # What was heard if the other side still lives waits too: its mark tells.
            if not self.lifetime.is_over and self.bidirectional and not self.speaking.is_done:
                await self.speaking.until_heard()
            if not self.hold.is_on:
                return

    def note_end_of_line(self) -> None:
        """This is the end on the line, whatever the handler still does: nothing later was heard."""
        if self.ended_at is None:
            self.ended_at = timezone.now()
            self.fall_silent()

    def fall_silent(self) -> None:
        """The caller hears nothing any more: iteration ends, and plays that wait return.

        What was heard up to this moment is on tape, and nothing that the handler still does adds to it.
        """
        at = time.monotonic()
        if self.lifetime.fall_silent():
            self.speaking.end(at, is_stopped=self.protocol.state is State.STOPPED)
            self.hold.end(self.departure.what if self.departure else "the call's stream ended")
            self.inbox.wake()


#: The stream whose handler runs, also in the tasks that it starts.
handled: ContextVar[LiveStream | None] = ContextVar("handled", default=None)


def log_rejected(protocol: StreamProtocol, error: ProtocolError) -> None:
    """One line for the first of each kind on a stream; the rest is counted."""
    if protocol.rejected[error.kind] == 1:
        logger.warning(
            "frame_rejected kind=%s stream=%s: %s: %s",
            error.kind,
            protocol.stream_sid or "none",
            error.reason,
            error.excerpt,
        )
