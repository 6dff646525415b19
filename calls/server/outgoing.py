"""What a handler says, on its way to Twilio: in its order, never more than 10 s ahead.

Everything that is sent on a stream is sent here: audio, marks and clears.
"""

import asyncio
import logging
import time

from django.utils import timezone

from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE
from calls.media.hearing import Hearing
from calls.media.protocol import StreamProtocol
from calls.media.script import Cue, Script
from calls.server.inbox import Outcome
from calls.server.lifetime import Lifetime
from calls.server.marks import Marks, Played
from calls.server.socket import Socket, SocketClosed


logger = logging.getLogger(__name__)

# How much may lie in Twilio's buffer; past ten minutes it throws away (31931).
LOOK_AHEAD = 10 * SAMPLE_RATE
# What may wait to be sent, in samples: 10 minutes. Beyond that even a play that does not wait does.
MOST_WAITING = 600 * SAMPLE_RATE
# How long after its audio a mark may stay away before we go on without it, in seconds.
MARK_PATIENCE = 10.0
# Seconds between two looks for room while the peer does not read.
PATIENCE = 0.02
# A speech is over if nothing of it follows for this many seconds after its end.
PAUSE = 0.04
# Whoever was WELL_AHEAD seconds ahead will not go on: the last samples are sent BEFORE seconds before they are needed.
WELL_AHEAD, BEFORE = 0.5, 0.1


class StreamEnded(Exception):
    """The stream is over; nothing can be sent any more."""


class Outgoing:
    """One stream's way to Twilio. A task of its own sends what does not fit yet."""

    def __init__(
        self, socket: Socket, protocol: StreamProtocol, hearing: Hearing, marks: Marks, lifetime: Lifetime
    ) -> None:
        self._socket = socket
        self._protocol = protocol
        self._hearing = hearing
        self._playback = hearing.playback
        self._clock = hearing.clock
        self._marks = marks
        self._lifetime = lifetime
        self._loop = asyncio.get_running_loop()
        self._script: Script[Played] = Script()
        self._timer: asyncio.TimerHandle | None = None
        self._pump: asyncio.Task[None] | None = None
        self._is_flowing = False
        #: How often the handler has cleared.
        self._clears = 0
        #: Nothing waits: a frame may go straight to Twilio.
        self.is_idle = True

    # --- a frame ------------------------------------------------------------------------------------------------------

    @property
    def takes_frames(self) -> bool:
        """Whether a frame may be sent before anything else."""
        return self.is_idle and self._playback.pending < LOOK_AHEAD

    def send_now(self, frame: bytes) -> str:
        """Sends a frame of 160 bytes without waiting. Returns the text that is left to `send` where that cannot be."""
        self.check_open()
        text = self._protocol.media(frame)
        self._playback.play(self._clock.now(time.monotonic()), frame)
        return "" if self._socket.write(text) else text

    async def send(self, text: str) -> None:
        """StreamEnded if the caller is gone."""
        try:
            await self._socket.send(text)
        except SocketClosed as error:
            self._hearing.note_lost(time.monotonic())
            self._lifetime.end("disconnect")
            raise StreamEnded(f"{self._protocol.stream_sid}: {error}") from error

    def check_open(self) -> None:
        """StreamEnded if the stream is over."""
        if self._lifetime.is_over:
            raise StreamEnded(f"{self._protocol.stream_sid} is over")

    # --- what handlers ask for ----------------------------------------------------------------------------------------

    async def say(self, audio: bytes) -> Outcome:
        """Puts audio behind what was said before, and returns at once, unless ten minutes wait already."""
        clears = self._clears
        while self._script.samples > MOST_WAITING and self._is_wanted(clears):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        if self._is_wanted(clears):
            self._script.say(audio)
            await self._flow()
        return "played" if self._is_wanted(clears) else "cleared"

    def _is_wanted(self, clears: int) -> bool:
        return not self._lifetime.is_over and self._clears == clears

    async def say_and_wait(self, audio: bytes, interrupted: asyncio.Future[None] | None = None) -> Outcome:
        """Waits until this and all that was given before is heard or cleared; the caller may interrupt it."""
        played: Played = self._loop.create_future()
        cue = Cue(played=played)
        whole = self._script.say_all(audio, cue)
        try:
            await self._flow()
            if not await self._decided(cue, played, interrupted):
                return "played" if self._hearing.lives(self._now()) else "cleared"
            if not played.done():
                await self.clear()
            return played.result()
        finally:
            if not played.done():
                self._script.take_back(whole, cue)
                self._look_on()

    async def mark(self, name: str) -> None:
        """Sends a mark behind everything that was said."""
        self._script.cue(Cue(name, self._protocol.mark(name)))
        await self._flow()

    async def clear(self) -> None:
        """Empties Twilio's buffer, and forgets what waits here."""
        self.check_open()
        text = self._protocol.clear()
        self._clears += 1
        unsent = self._drop()
        lost = self._hearing.clear(self._now())
        if lost or unsent >= FRAME_SAMPLES:
            more = {"unsent": unsent} if unsent else {}
            self._hearing.tape.event("cleared", timezone.now(), samples=lost, **more)
        self._marks.clear()
        await self.send(text)

    def end(self, at: float, *, is_stopped: bool) -> None:
        """The stream is over since `at` (monotonic seconds): settles what was heard."""
        position = self._hearing.end(at, is_stopped=is_stopped)
        if self._pump is not None:
            self._pump.cancel()
        unsent = self._drop()
        if unsent >= FRAME_SAMPLES:
            self._hearing.tape.event("unsent", timezone.now(), samples=unsent)
        self._marks.end(position)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return self._clock.now(time.monotonic())

    def _drop(self) -> int:
        """What waits is never sent: who waits for it learns that. Returns how many samples that is."""
        samples, cues = self._script.drop()
        self._look_on()
        self._marks.forgo(cues, self._now())
        return samples

    async def _decided(self, cue: Cue[Played], played: Played, interrupted: asyncio.Future[None] | None) -> bool:
        """Waits for a mark to come back, or for the caller to interrupt. False if it stays away."""
        waiting: set[asyncio.Future[Outcome] | asyncio.Future[None]] = {played}
        if interrupted is not None:
            waiting.add(interrupted)
        while True:
            mark = cue.mark
            ahead = 0 if mark is None else mark.position - self._now()
            patience = ahead / SAMPLE_RATE + MARK_PATIENCE
            done, _ = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return True
            if mark is not None:
                self._marks.give_up(mark)
                tape = self._hearing.tape
                logger.warning("mark_lost call=%s stream=%s: no echo of %s", tape.call_sid, tape.sid, mark.name)
                return False

    async def _flow(self) -> None:
        """Sends what waits, in order, as far as there is room for it; the rest follows by itself."""
        if self._is_flowing:
            return
        self._is_flowing, self.is_idle = True, False
        try:
            while self._script and (text := self._next()):
                if not self._socket.write(text):
                    await self.send(text)
        finally:
            self._is_flowing = False
            self._look_on()

    def _next(self) -> str:
        """The next message, "" if there is no room for it."""
        item = self._script.next(LOOK_AHEAD - self._playback.pending)
        if item is None:
            return ""
        if isinstance(item, Cue):
            return self._marks.send(item, self._now())
        self._playback.play(self._now(), item)
        return self._protocol.media(item)

    def _look_on(self) -> None:
        """What is to be done with what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.is_idle = not (self._script or self._script.has_rest or self._is_flowing)
        if self._script:
            self._start_pump()
        elif self._script.has_rest:
            ahead = self._playback.pending / SAMPLE_RATE
            self._timer = self._loop.call_later(
                ahead - BEFORE if ahead > WELL_AHEAD else ahead + PAUSE, self._end_speech
            )

    def _end_speech(self) -> None:
        self._timer = None
        self._script.end_speech()
        self._start_pump()

    def _start_pump(self) -> None:
        if self._pump is None:
            self._pump = self._loop.create_task(self._pump_on())

    async def _pump_on(self) -> None:
        try:
            while True:
                self._hearing.advance(time.monotonic())
                await self._flow()
                if not self._script:
                    return
                await asyncio.sleep(self._until_room())
        except StreamEnded:
            pass  # who sent it knows, and the stream ends
        finally:
            self._pump = None

    def _until_room(self) -> float:
        """Seconds until the next message may be sent."""
        return max((self._playback.pending + self._script.next_size - LOOK_AHEAD) / SAMPLE_RATE, PATIENCE)
