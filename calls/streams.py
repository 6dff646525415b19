"""MediaStream: what a handler holds. Plain methods over the whole protocol; no ORM, no Channels.

Everything here runs in the event loop of one process. Audio is raw µ-law, 8000 samples (and bytes) a second.
"""

import asyncio
import datetime as dt
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import msgspec
from django.conf import settings
from django.utils import timezone

from calls.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE, is_speech
from calls.playback import ADJACENT, PendingMark, Playback, StreamClock
from calls.protocol import DtmfBody, MediaBody, StartBody, State, StreamProtocol
from calls.security import StreamToken
from calls.tape import Tape


logger = logging.getLogger(__name__)

# The caller's audio as a handler gets it: track, timestamp in ms, payload.
Media = MediaBody
# A key: digit.
Dtmf = DtmfBody
Outcome = Literal["played", "cleared"]

# One media message: small enough that clear and mark stay fine-grained, Twilio takes any size.
MESSAGE_SAMPLES = 1 * SAMPLE_RATE
# How much may lie in Twilio's buffer; past ten minutes it throws away (31931).
LOOK_AHEAD = 10 * SAMPLE_RATE
# Media that nobody has taken yet, in frames: 2 s.
QUEUE_FRAMES = 100
# Frames of speech in a row that count as the caller speaking: 100 ms.
SPEECH_FRAMES = 5
# How long after its audio a mark may stay away before we go on without it, in seconds.
MARK_PATIENCE = 10.0
MASKED = "•"
# Names of the marks that `play` sends for itself.
OWN_MARK = "callstream:"


class Mark(msgspec.Struct, frozen=True):
    """A mark of the handler's came back: what was sent before it was heard, or cleared."""

    name: str
    outcome: Outcome


Event = Media | Dtmf | Mark


class StreamEnded(Exception):
    """The stream is over; nothing can be sent any more."""


class MediaStream:
    """One stream of a call, as its handler sees it."""

    def __init__(
        self,
        token: StreamToken,
        start: StartBody,
        protocol: StreamProtocol,
        tape: Tape,
        send: Callable[[str], Awaitable[None]],
        clock: StreamClock,
        send_now: Callable[[str], bool] = lambda text: False,
        hang_up: Callable[[], None] = lambda: None,
    ) -> None:
        """`hang_up` is called when the handler has hung up, and everything before that was heard."""
        self.call_sid = token.call_sid
        self.stream_sid = protocol.stream_sid
        self.account_sid = start.account_sid or token.account_sid
        self.from_number = token.from_number
        self.to_number = token.to_number
        self.direction = token.direction
        self.tracks = start.tracks
        #: The <Parameter>s of the stream, without our token.
        self.parameters = {name: str(value) for name, value in start.custom_parameters.items() if name != "token"}
        #: 0, or how often this call has been connected again: greet nobody twice.
        self.resumed = token.resumed
        #: Frames that were dropped from the queue because the handler was too slow.
        self.overruns = 0
        self.recording_paused = False
        self._protocol = protocol
        self._tape = tape
        self._send = send
        self._send_now = send_now
        self._hang_up = hang_up
        self._clock = clock
        self._playback = Playback()
        self._events: deque[Event] = deque()
        self._media_queued = 0
        self._readers = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._ended = False
        #: Whether it was the handler that ended it.
        self.hung_up = False
        #: When the caller was lost, if that is known before the end.
        self._lost_at: int | None = None
        # Asking for the running loop is a system call (getpid), and a stream waits 50 times a second.
        self._loop = asyncio.get_running_loop()
        self._plays: dict[int, asyncio.Future[Outcome]] = {}
        self._sent_marks: dict[int, dt.datetime] = {}
        self._interrupted: asyncio.Future[None] | None = None
        self._speech = 0
        self._secret = settings.MASK_DTMF

    def __repr__(self) -> str:
        return f"<MediaStream {self.stream_sid} of {self.call_sid}>"

    # --- for handlers ------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def bidirectional(self) -> bool:
        """False on a <Start> stream: there we only listen."""
        return self._protocol.bidirectional

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Media, Dtmf and Mark in the order of their arrival, until the stream ends.

        Media that nobody takes is kept for 2 s; keys and marks are never dropped. An event is given out once, also if
        several tasks iterate.
        """
        self._readers += 1
        events = self._events
        try:
            while True:
                while events:
                    event = events.popleft()
                    if type(event) is Media:
                        self._media_queued -= 1
                    yield event
                if self._ended:
                    return
                await self._wait()
        finally:
            self._readers -= 1

    def skip(self) -> None:
        """Passes over what has arrived so far: audio, keys and marks."""
        self._events.clear()
        self._media_queued = 0

    async def media(self) -> AsyncIterator[Media]:
        """The caller's audio alone; keys and marks are passed over."""
        # Not `async for event in self`: one generator less to wake for every frame.
        self._readers += 1
        events = self._events
        try:
            while True:
                while events:
                    event = events.popleft()
                    if type(event) is Media:
                        self._media_queued -= 1
                        yield event
                if self._ended:
                    return
                await self._wait()
        finally:
            self._readers -= 1

    async def play(self, audio: bytes, *, barge_in: bool = False, wait: bool = True) -> Outcome:
        """Plays raw µ-law and returns once the caller has heard it, or "cleared" if it was cut short.

        Sent in pieces of at most 1 s, padded to a multiple of 160 bytes, never more than 10 s ahead. `barge_in`: a key
        or 100 ms of speech clears it. `wait=False` returns once it is sent, and sends no mark of its own; nobody is
        there to clear it then, so that `barge_in` needs a play that waits.
        """
        if barge_in and not wait:
            raise ValueError("barge_in needs a play that waits: with wait=False nobody would clear it")
        self._check_open()
        if not barge_in:
            return await self._play(audio, None, wait=wait)
        interrupted = self._watch_for_caller()
        try:
            return await self._play(audio, interrupted, wait=wait)
        finally:
            if self._interrupted is interrupted:
                self._interrupted = None

    async def clear(self) -> None:
        """Empties Twilio's buffer: what was not heard yet never will be. Waiting plays return "cleared"."""
        self._check_open()
        text = self._protocol.clear()
        lost = self._empty(self._now())
        if lost:
            self._tape.event("cleared", timezone.now(), samples=lost)
        for mark in self._playback.pending_marks:
            self._settle(mark, "cleared", None)
        await self._send(text)

    async def mark(self, name: str) -> None:
        """Asks for a Mark event once everything sent so far has been heard. Names may repeat."""
        self._check_open()
        text = self._protocol.mark(name)
        self._note_mark(name)
        await self._send(text)

    async def digits(
        self, count: int | None = None, *, timeout: float = 5.0, terminator: str = "#", sensitive: bool = False
    ) -> str:
        """Keys until `count` of them, the terminator, or `timeout` seconds without one; typed ahead counts too.

        `sensitive` keeps them out of the rows and the logs: each is stored as •, the ones typed ahead excepted.
        """
        typed = ""
        masked, self._secret = self._secret, self._secret or sensitive
        try:
            while count is None or len(typed) < count:
                digit = await self._next_digit(timeout)
                if not digit or digit == terminator:
                    break
                typed += digit
        finally:
            self._secret = masked
        return typed

    def pause_recording(self) -> None:
        """From now on both lanes of the recording are silent, and a gap says that it was meant."""
        if not self.recording_paused and not self._ended:
            self.flush_playback(time.monotonic())
            self._tape.pause()
            self.recording_paused = True
            self._tape.event("recording-paused", timezone.now())

    def resume_recording(self) -> None:
        if self.recording_paused and not self._ended:
            self.flush_playback(time.monotonic())
            self._tape.resume()
            self.recording_paused = False
            self._tape.event("recording-resumed", timezone.now())

    async def hang_up(self) -> None:
        """Lets the caller hear what was sent, then ends the stream; the call is hung up at once.

        The handler may go on for 5 s more, to clean up; whatever it sends then is a mistake, and raises StreamEnded.
        """
        self.flush_playback(time.monotonic())
        if not self._ended and self.bidirectional and self._playback.pending:
            await self._heard(None)
        if not self._ended:
            self.hung_up = True
            self.end()
            if self.bidirectional:
                self._hang_up()

    # --- for the consumer --------------------------------------------------------------------------------------------

    def push_media(self, media: Media) -> None:
        """A frame has arrived. Never waits; the oldest one is dropped if the handler is more than 2 s behind."""
        if self._interrupted is not None:
            self._listen_for_speech(media)
        if self._media_queued >= QUEUE_FRAMES:
            self._drop_oldest()
        self._events.append(media)
        self._media_queued += 1
        if self._waiters:
            self._wake()

    def push_dtmf(self, dtmf: Dtmf) -> None:
        self._tape.key(MASKED if self._secret else dtmf.digit, self._now())
        self._events.append(dtmf)
        self._wake()
        self._interrupt("key")

    def push_mark(self, name: str) -> bool:
        """A mark came back. False if none of that name is on its way, which changes nothing."""
        mark = self._playback.returned(self._now(), name)
        if mark is None:
            return False
        outcome: Outcome = "cleared" if mark.cleared else "played"
        self._settle(mark, outcome, timezone.now())
        if not name.startswith(OWN_MARK):
            self._events.append(Mark(name, outcome))
            self._wake()
        return True

    def end(self) -> None:
        """The caller hears nothing any more: iteration ends, and plays that wait return.

        What was heard up to this moment is on tape, and nothing that the handler still does adds to it.
        """
        if self._ended:
            return
        self._ended = True
        at = self._lost_at if self._lost_at is not None else self._moment(time.monotonic())
        self._empty(at)
        for mark in self._playback.pending_marks:
            self._settle(mark, "played" if mark.position <= at else "cleared", None)
        self._wake()

    def note_lost(self) -> None:
        """The caller is gone, but what had arrived before is still to be read: `end` follows."""
        if self._lost_at is None:
            self._lost_at = self._moment(time.monotonic())

    def flush_playback(self, at: float) -> None:
        """Puts on tape what the caller has heard by now (monotonic seconds)."""
        if self._playback.pending and self._lost_at is None:
            self._tape.heard(self._playback.advance(self._moment(at)))

    @property
    def heard(self) -> int:
        return self._playback.heard

    # --- inside ------------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return self._clock.now(time.monotonic())

    def _moment(self, at: float) -> int:
        """How far the call has come. A frame that is about to come is no silence: the caller's audio says it then."""
        now, end = self._clock.now(at), self._tape.inbound.end
        return end if 0 < now - end <= ADJACENT else now

    def _empty(self, at: int) -> int:
        """Twilio's buffer is empty from then on: what was in it was heard by then, or never. Returns the latter."""
        heard, lost = self._playback.clear(at)
        self._tape.heard(heard)
        if lost:
            self._tape.cleared(self._playback.end, lost)
        return lost

    def _check_open(self) -> None:
        if self._ended or self._protocol.state is not State.STREAMING:
            raise StreamEnded(f"{self.stream_sid} is over")

    def _note_mark(self, name: str) -> PendingMark:
        mark = self._playback.mark(self._now(), name)
        self._sent_marks[mark.index] = timezone.now()
        self._tape.mark(mark, self._sent_marks[mark.index], "pending", None)
        return mark

    def _settle(self, mark: PendingMark, outcome: Outcome, returned_at: dt.datetime | None) -> None:
        """A mark's outcome is known: when it comes back, or before, when its audio is cleared."""
        self._tape.mark(mark, self._sent_marks[mark.index], outcome, returned_at)
        if returned_at is not None:
            del self._sent_marks[mark.index]
        future = self._plays.pop(mark.index, None)
        if future is not None and not future.done():
            future.set_result(outcome)

    async def _play(self, audio: bytes, interrupted: asyncio.Future[None] | None, *, wait: bool) -> Outcome:
        playback = self._playback
        before = playback.cleared
        for piece in _pieces(audio):
            if playback.pending + len(piece) > LOOK_AHEAD and not await self._make_room(len(piece), interrupted):
                break
            if self._ended or playback.cleared != before:
                return "cleared"
            text = self._protocol.media(piece)
            playback.play(self._now(), piece)
            if not self._send_now(text):
                await self._send(text)
        if self._ended or playback.cleared != before:
            return "cleared"
        return await self._heard(interrupted) if wait else "played"

    async def _heard(self, interrupted: asyncio.Future[None] | None) -> Outcome:
        """Waits until everything sent so far is heard or cleared; the caller may interrupt it."""
        if self._ended:
            return "cleared"
        name = f"{OWN_MARK}{self._playback.marks_sent}"
        text = self._protocol.mark(name)
        mark = self._note_mark(name)
        future = self._plays[mark.index] = self._loop.create_future()
        await self._send(text)
        patience = (mark.position - self._now()) / SAMPLE_RATE + MARK_PATIENCE
        waiting: set[asyncio.Future[Any]] = {future} if interrupted is None else {future, interrupted}
        done, _ = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            self._plays.pop(mark.index, None)
            logger.warning("mark_lost call=%s stream=%s: no echo of %s", self.call_sid, self.stream_sid, name)
            return "played"
        if not future.done():
            await self.clear()
        outcome: Outcome = future.result()
        return outcome

    async def _make_room(self, samples: int, interrupted: asyncio.Future[None] | None) -> bool:
        """Waits while so many more would make 10 s in Twilio's buffer. False if it makes no sense to go on."""
        while self._playback.pending + samples > LOOK_AHEAD:
            await asyncio.sleep(0.1)
            self.flush_playback(time.monotonic())
            if self._ended or (interrupted is not None and interrupted.done()):
                return False
        return True

    def _watch_for_caller(self) -> asyncio.Future[None]:
        self._speech = 0
        self._interrupted = self._loop.create_future()
        return self._interrupted

    def _listen_for_speech(self, media: Media) -> None:
        self._speech = self._speech + 1 if media.track == "inbound" and is_speech(media.payload) else 0
        if self._speech >= SPEECH_FRAMES:
            self._interrupt("speech")

    def _interrupt(self, by: str) -> None:
        if self._interrupted is not None:
            if not self._interrupted.done():
                self._interrupted.set_result(None)
                self._tape.event("barge-in", timezone.now(), by=by)
            self._interrupted = None

    def _take(self, at: int) -> Event:
        event = self._events[at]
        del self._events[at]
        if type(event) is Media:
            self._media_queued -= 1
        return event

    def _drop_oldest(self) -> None:
        for at, event in enumerate(self._events):
            if type(event) is Media:
                self._take(at)
                # Audio that nobody asked for is no overrun.
                self.overruns += self._readers > 0
                return

    async def _next_digit(self, timeout: float) -> str:
        """The next key, "" after `timeout` seconds or at the end of the stream."""
        deadline = time.monotonic() + timeout
        while True:
            for at, event in enumerate(self._events):
                if type(event) is Dtmf:
                    self._take(at)
                    return event.digit
            left = deadline - time.monotonic()
            if self._ended or left <= 0:
                return ""
            try:
                async with asyncio.timeout(left):
                    await self._wait()
            except TimeoutError:
                return ""

    async def _wait(self) -> None:
        """Until something happens. A handler may wait in several tasks: for audio in one, for keys in another."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _pieces(audio: bytes) -> list[bytes]:
    """Audio as messages: a second each, the last one padded with silence to a multiple of 160 bytes."""
    if len(audio) == FRAME_SAMPLES:
        return [audio]
    padded = audio + SILENCE * (-len(audio) % FRAME_SAMPLES)
    if len(padded) <= MESSAGE_SAMPLES:
        return [padded] if padded else []
    return [padded[at : at + MESSAGE_SAMPLES] for at in range(0, len(padded), MESSAGE_SAMPLES)]
