"""MediaStream: what a handler holds. Plain methods over the whole protocol; no ORM, no Channels.

Everything here runs in the event loop of one process. Audio is raw µ-law, 8000 samples (and bytes) a second.
"""

import asyncio
import datetime as dt
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from pathlib import PurePath
from typing import Any, Literal

import msgspec
from django.conf import settings
from django.utils import timezone

from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE, Examiner, is_speech
from calls.media.playback import ADJACENT, PendingMark, Playback, StreamClock
from calls.media.protocol import DtmfBody, MediaBody, StartBody, State, StreamProtocol
from calls.media.rows import MASKED, DtmfRow
from calls.media.tape import Tape
from calls.security import StreamToken
from calls.server.outgoing import LOOK_AHEAD, Cue, Outgoing
from calls.server.outgoing import StreamEnded as StreamEnded


logger = logging.getLogger(__name__)

# The caller's audio as a handler gets it: track, timestamp in ms, payload.
Media = MediaBody
# A key: digit.
Dtmf = DtmfBody
Outcome = Literal["played", "cleared"]

# What may wait to be sent, in samples: 10 minutes. Beyond that even a play that does not wait does.
MOST_WAITING = 600 * SAMPLE_RATE
# Media that nobody has taken yet, in frames: 2 s.
QUEUE_FRAMES = 100
# Frames of speech in a row that count as the caller speaking: 100 ms.
SPEECH_FRAMES = 5
# A socket from which nothing has come for so many samples may be dead, though nobody has closed it.
SIGN_OF_LIFE = 2 * SAMPLE_RATE
# How long after its audio a mark may stay away before we go on without it, in seconds.
MARK_PATIENCE = 10.0
# Names of the marks that `play` sends for itself.
OWN_MARK = "callstream:"


class Mark(msgspec.Struct, frozen=True):
    """A mark of the handler's came back: what was sent before it was heard, or cleared."""

    name: str
    outcome: Outcome


Event = Media | Dtmf | Mark


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
        #: Who the caller is by the carrier's word, and which number forwarded the call here; mostly unknown.
        self.caller_name = self.parameters.get("CallerName", "")
        self.forwarded_from = self.parameters.get("ForwardedFrom", "")
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
        self._outgoing = Outgoing(self._playback, protocol, clock, send, send_now, self.flush_playback, self._note_mark)
        self._examiner = Examiner()
        self._forgotten: set[tuple[str, str]] = set()
        #: How often the handler has cleared.
        self._clears = 0
        self._events: deque[Event] = deque()
        self._media_queued = 0
        self._readers = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._ended = False
        #: Whether it was the handler that ended it.
        self.hung_up = False
        #: When the caller was lost, if that is known before the end.
        self._lost_at: int | None = None
        #: When a key or a mark came last.
        self._sign = 0
        #: What was heard if the other side still lives, and whether the recording was paused then.
        self._unsure: list[tuple[int, bytes, bool]] = []
        #: What was not heard though it would have been by then: known at the end.
        self._unheard = 0
        # Asking for the running loop is a system call (getpid), and a stream waits 50 times a second.
        self._loop = asyncio.get_running_loop()
        self._plays: dict[int, asyncio.Future[Outcome]] = {}
        self._sent_marks: dict[int, dt.datetime] = {}
        self._interrupted: asyncio.Future[None] | None = None
        self._speech = 0
        self._secret = settings.MASK_DTMF
        #: Keys that are stored as they are, with their rows: they may turn out to be secret.
        self._open_keys: list[tuple[Dtmf, DtmfRow]] = []

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
        """Plays raw µ-law, 8000 bytes a second, and returns once the caller has heard it, or "cleared" if it was cut.

        ValueError for what is no µ-law: a WAV file (`calls.media.audio.read_wav` reads it) or PCM16 (`pcm16_to_mulaw`).

        `barge_in`: a key or 100 ms of speech clears it. It needs a play that waits.

        `wait=False` returns at once: it is played behind what was given before. What is not heard within 10 s waits
        here rather than at Twilio; at 10 minutes that wait (4.8 MB), the next play waits for room. Chunks of any size
        make one speech without seams, as long as each comes at least 0.1 s before the one before it has been heard;
        whatever comes between (a mark, `clear`, `hang_up`, a pause) ends the speech, and pads it to whole frames of 160
        bytes.
        """
        # A frame that nothing waits before, 50 times a second for every call, goes straight to the socket.
        if (
            not wait
            and not barge_in
            and type(audio) is bytes
            and len(audio) == FRAME_SAMPLES
            and self._outgoing.is_idle
            and self._playback.pending < LOOK_AHEAD
        ):
            self._check_open()
            text = self._protocol.media(audio)
            self._playback.play(self._clock.now(time.monotonic()), audio)
            if not self._send_now(text):
                await self._send(text)
            return "cleared" if self._ended else "played"
        if barge_in and not wait:
            raise ValueError("barge_in needs a play that waits: with wait=False nobody would clear it")
        self._check_open()
        self._protocol.check_sending("media")
        audio = self._examined(audio)
        if not wait:
            return await self._say(audio)
        if not barge_in:
            return await self._until_heard(audio, None)
        interrupted = self._watch_for_caller()
        try:
            return await self._until_heard(audio, interrupted)
        finally:
            if self._interrupted is interrupted:
                self._interrupted = None

    async def clear(self) -> None:
        """What was not heard yet never will be: it leaves Twilio's buffer, and what still waited here is forgotten.

        Waiting plays return "cleared", and marks come back as that.
        """
        self._check_open()
        text = self._protocol.clear()
        self._clears += 1
        unsent = self._forget(*self._outgoing.drop())
        lost = self._empty(self._now())
        if lost or unsent >= FRAME_SAMPLES:
            self._tape.event("cleared", timezone.now(), samples=lost, **({"unsent": unsent} if unsent else {}))
        for mark in self._playback.pending_marks:
            self._settle(mark, "cleared", None)
        await self._send(text)

    async def mark(self, name: str) -> None:
        """Asks for a Mark event once everything given to play so far has been heard. Names may repeat."""
        self._check_open()
        self._outgoing.cue(Cue(name, self._protocol.mark(name)))
        await self._outgoing.flow()

    async def digits(
        self, count: int | None = None, *, timeout: float = 5.0, terminator: str = "#", sensitive: bool = False
    ) -> str:
        """Keys until `count` of them, the terminator, or `timeout` seconds without one; typed ahead counts too.

        `sensitive` keeps them out of the rows and the logs: each is stored as •, also those that were typed ahead.
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
        """Lets the caller hear what was given to play, then ends the stream; the call is hung up at once.

        The handler may go on for 5 s more, to clean up; whatever it sends then is a mistake, and raises StreamEnded.
        """
        self.flush_playback(time.monotonic())
        # What was heard if the other side still lives waits too: its mark tells.
        is_heard = self._outgoing.is_idle and not (self._playback.pending or self._unsure)
        if not self._ended and self.bidirectional and not is_heard:
            await self._until_heard(b"", None)
        if not self._ended:
            self.hung_up = True
            self.end()
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
        self._sign = now = self._now()
        row = self._tape.key(MASKED if self._secret else dtmf.digit, now)
        if not self._secret:
            self._open_keys.append((dtmf, row))
        self._events.append(dtmf)
        self._wake()
        self._interrupt("key")

    def note_forgotten(self, what: str, where: str) -> bool:
        """An `await` before `what` is missing there. False if that is known of this stream."""
        if (what, where) in self._forgotten:
            return False
        self._forgotten.add((what, where))
        self._tape.event("await-forgotten", timezone.now(), what=what, line=where)
        return True

    def push_mark(self, name: str) -> bool:
        """A mark came back. False if none of that name is on its way, which changes nothing."""
        self._sign = now = self._now()
        mark = self._playback.returned(now, name)
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

        What was heard up to this moment is on tape, and nothing that the handler still does adds to it. Without a
        `stop` of Twilio's, a socket that had been silent for long before was dead by then, whoever ends it.
        """
        if self._ended:
            return
        self._ended = True
        at = self._lost_at if self._lost_at is not None else self._moment(time.monotonic())
        if self._protocol.state is not State.STOPPED and not self._lives(at):
            at = self._last_sign
        unsent = self._forget(*self._outgoing.close())
        if unsent >= FRAME_SAMPLES:
            self._tape.event("unsent", timezone.now(), samples=unsent)
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
        if (self._playback.pending or self._unsure) and self._lost_at is None:
            now = self._moment(at)
            self._keep(self._playback.advance(now))
            if self._lives(now):
                self._lay()

    @property
    def heard(self) -> int:
        return self._playback.heard - self._unheard - sum(len(audio) for _, audio, _ in self._unsure)

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
        self._keep(heard)
        if self._ended or self._lives(at):
            lost += self._lay(until=max(at, self._playback.end) if self._ended else None)
        if lost:
            self._tape.cleared(self._playback.end, lost)
        return lost

    def _keep(self, heard: list[tuple[int, bytes]]) -> None:
        # It is laid later, perhaps: what was played while nothing was to be recorded never is.
        paused = self._tape.outbound.paused
        self._unsure += [(start, audio, paused) for start, audio in heard]

    @property
    def _last_sign(self) -> int:
        return max(self._tape.inbound.end, self._sign)

    def _lives(self, now: int) -> bool:
        return now - self._last_sign <= SIGN_OF_LIFE

    def _lay(self, until: int | None = None) -> int:
        """Puts on tape what was heard, up to there if the other side was dead from then on. Returns what was not."""
        pieces, self._unsure = self._unsure, []
        if until is not None:
            said = sum(len(audio) for _, audio, _ in pieces)
            pieces = [(start, audio[: until - start], paused) for start, audio, paused in pieces if start < until]
            self._unheard = said - sum(len(audio) for _, audio, _ in pieces)
        self._tape.heard(pieces)
        return self._unheard

    def _check_open(self) -> None:
        if self._ended or self._protocol.state is not State.STREAMING:
            raise StreamEnded(f"{self.stream_sid} is over")

    def _examined(self, audio: object) -> bytes:
        if not isinstance(audio, bytes | bytearray | memoryview):
            is_name = isinstance(audio, str | PurePath)
            what = f"the name of a file ({str(audio)[:80]!r})" if is_name else type(audio).__name__
            raise TypeError(
                f"play takes raw µ-law bytes, not {what}; calls.media.audio.read_wav(data) returns those of a WAV file"
            )
        audio = bytes(audio)
        if objection := self._examiner.objection(audio):
            raise ValueError(objection)
        return audio

    def _note_mark(self, cue: Cue) -> str:
        """A mark is about to be sent: returns its text."""
        name = cue.name if cue.played is None else f"{OWN_MARK}{self._playback.marks_sent}"
        text = cue.text or self._protocol.mark(name)
        cue.mark = mark = self._playback.mark(self._now(), name)
        self._sent_marks[mark.index] = timezone.now()
        self._tape.mark(mark, self._sent_marks[mark.index], "pending", None)
        if cue.played is not None:
            self._plays[mark.index] = cue.played
        return text

    def _forget(self, samples: int, cues: list[Cue]) -> int:
        """These samples and marks were never sent: who waits for them learns that. Returns the samples."""
        for cue in cues:
            if cue.played is not None:
                if not cue.played.done():
                    cue.played.set_result("cleared")
                continue
            now = timezone.now()
            self._tape.mark(self._playback.forgo_mark(self._now(), cue.name), now, "cleared", now)
            self._events.append(Mark(cue.name, "cleared"))
            self._wake()
        return samples

    def _settle(self, mark: PendingMark, outcome: Outcome, returned_at: dt.datetime | None) -> None:
        """A mark's outcome is known: when it comes back, or before, when its audio is cleared."""
        self._tape.mark(mark, self._sent_marks[mark.index], outcome, returned_at)
        if returned_at is not None:
            del self._sent_marks[mark.index]
        future = self._plays.pop(mark.index, None)
        if future is not None and not future.done():
            future.set_result(outcome)

    async def _say(self, audio: bytes) -> Outcome:
        clears = self._clears
        while self._outgoing.waiting > MOST_WAITING and not self._ended and self._clears == clears:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        if not self._ended and self._clears == clears:
            self._outgoing.say(audio)
            await self._outgoing.flow()
        return "cleared" if self._ended or self._clears != clears else "played"

    async def _until_heard(self, audio: bytes, interrupted: asyncio.Future[None] | None) -> Outcome:
        """Waits until this and all that was given before is heard or cleared; the caller may interrupt it."""
        played: asyncio.Future[Outcome] = self._loop.create_future()
        cue = Cue(played=played)
        whole = self._outgoing.say_all(audio, cue)
        try:
            await self._outgoing.flow()
            if not await self._decided(cue, played, interrupted):
                return "played" if self._lives(self._now()) else "cleared"
            if not played.done():
                await self.clear()
            return played.result()
        finally:
            if not played.done():
                self._outgoing.take_back(whole, cue)

    async def _decided(
        self, cue: Cue, played: asyncio.Future[Outcome], interrupted: asyncio.Future[None] | None
    ) -> bool:
        """Waits for a mark to come back, or for the caller to interrupt. False if it stays away."""
        waiting: set[asyncio.Future[Any]] = {played} if interrupted is None else {played, interrupted}
        while True:
            mark = cue.mark
            ahead = 0 if mark is None else mark.position - self._now()
            patience = ahead / SAMPLE_RATE + MARK_PATIENCE
            done, _ = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return True
            if mark is not None:
                self._plays.pop(mark.index, None)
                logger.warning("mark_lost call=%s stream=%s: no echo of %s", self.call_sid, self.stream_sid, mark.name)
                return False

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
                    if self._secret:
                        self._mask(event)
                    return event.digit
            left = deadline - time.monotonic()
            if self._ended or left <= 0:
                return ""
            try:
                async with asyncio.timeout(left):
                    await self._wait()
            except TimeoutError:
                return ""

    def _mask(self, key: Dtmf) -> None:
        """A key that was typed ahead is secret: what is stored of it, or about to be, is masked."""
        for at, (dtmf, row) in enumerate(self._open_keys):
            if dtmf is key:
                self._tape.mask(row, MASKED)
                del self._open_keys[at]
                return

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


#: The stream whose handler runs, also in the tasks that it starts.
handled: ContextVar[MediaStream | None] = ContextVar("handled", default=None)
