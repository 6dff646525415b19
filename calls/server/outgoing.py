"""What a handler says, on its way to Twilio: in its order, never more than 10 s ahead.

Everything that is sent on a stream is sent here: audio, marks and clears.
"""

import asyncio
import logging
import time

from calls.media.audio import SAMPLE_RATE
from calls.media.formats import PLAIN
from calls.media.hearing import Hearing
from calls.media.protocol import StreamProtocol
from calls.media.script import Cue
from calls.server.lifetime import Lifetime
from calls.server.marks import Marks
from calls.server.socket import Socket, SocketClosed
from calls.server.speeches import Speeches


logger = logging.getLogger(__name__)

# How much may lie in Twilio's buffer; past ten minutes it throws away (31931).
LOOK_AHEAD = 10 * SAMPLE_RATE
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

    # calls/quick reads some of these.
    __slots__ = (
        "_clock",
        "_hearing",
        "_is_flowing",
        "_lifetime",
        "_loop",
        "_marks",
        "_playback",
        "_protocol",
        "_pump",
        "_script",
        "_socket",
        "_timer",
        "is_held",
        "is_idle",
        "speeches",
    )

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
        self.speeches = Speeches(hearing.playback)
        self._script = self.speeches.script
        self._timer: asyncio.TimerHandle | None = None
        self._pump: asyncio.Task[None] | None = None
        self._is_flowing = False
        #: Nothing waits: a frame may go straight to Twilio.
        self.is_idle = True
        #: A person talks to the caller (calls.server.hold): nothing of the handler's is sent.
        self.is_held = False

    # --- a frame ------------------------------------------------------------------------------------------------------

    @property
    def takes_frames(self) -> bool:
        """Whether a frame may be sent before anything else."""
        return self.is_idle and self._playback.pending < LOOK_AHEAD

    def send_now(self, frame: bytes) -> str:
        """Sends a frame of 160 bytes without waiting. Returns the text that is left to `send` where that cannot be."""
        if self._lifetime.is_over:
            self.check_open()
        text = self._protocol.media(frame)
        if not self.speeches.is_flying:
            self.speeches.take_off(PLAIN)
        self._playback.play(self._clock.now(time.monotonic()), frame)
        return "" if self._socket.write(text) else text

    async def put_through(self, audio: bytes) -> None:
        """Sends what a person says, at once. StreamEnded if the caller is gone."""
        self.check_open()
        text = self._protocol.media(audio)
        self._playback.play(self.now(), audio)
        if not self._socket.write(text):
            await self.send(text)

    async def send(self, text: str) -> None:
        """StreamEnded if the caller is gone."""
        try:
            await self._socket.send(text)
        except SocketClosed as error:
            self._hearing.note_lost(time.monotonic())
            self._lifetime.end("disconnect")
            raise StreamEnded(f"{self._protocol.stream_sid}: {error}") from error

    @property
    def is_over(self) -> bool:
        return self._lifetime.is_over

    def check_open(self) -> None:
        """StreamEnded if the stream is over."""
        if self._lifetime.is_over:
            raise StreamEnded(f"{self._protocol.stream_sid} is over")

    # --- what waits ---------------------------------------------------------------------------------------------------

    async def flow(self) -> None:
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
            self.look_on()

    def _next(self) -> str:
        """The next message, "" if there is none, or no room for it."""
        playback = self._playback
        self._script.forget_heard(playback.front)
        item = self._script.next(LOOK_AHEAD - playback.pending, playback.sent)
        if item is None:
            return ""
        if isinstance(item, Cue):
            return self._marks.send(item, self.now())
        playback.play(self.now(), item)
        return self._protocol.media(item)

    def look_on(self) -> None:
        """What is to be done with what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        is_held_back = self.speeches.is_held_back
        self.is_idle = not (self._script or self._is_flowing or is_held_back or self.is_held)
        if self._script.has_rest or (is_held_back and not self._script):
            ahead = self._playback.pending / SAMPLE_RATE
            self._timer = self._loop.call_later(
                ahead - BEFORE if ahead > WELL_AHEAD else ahead + PAUSE, self._close_speech
            )
        elif self._script.next_size >= 0:
            self._start_pump()

    def _close_speech(self) -> None:
        self._timer = None
        self.speeches.close()
        self._script.close()
        self._start_pump()

    def _start_pump(self) -> None:
        if self._pump is None:
            self._pump = self._loop.create_task(self._pump_on())

    async def _pump_on(self) -> None:
        try:
            while True:
                self._hearing.advance(time.monotonic())
                await self.flow()
                if self._script.next_size < 0:
                    return
                await asyncio.sleep(self._until_room())
        except StreamEnded:
            pass  # who sent it knows, and the stream ends
        finally:
            self._pump = None

    def _until_room(self) -> float:
        """Seconds until the next message may be sent."""
        return max((self._playback.pending + self._script.next_size - LOOK_AHEAD) / SAMPLE_RATE, PATIENCE)

    def stop(self) -> None:
        """Nothing is sent any more."""
        if self._pump is not None:
            self._pump.cancel()

    def now(self) -> int:
        """Where the stream is by now, in samples."""
        return self._clock.now(time.monotonic())
