"""What a handler has said, on its way to Twilio: in its order, never more than 10 s ahead, in whole frames.

What does not fit waits here, outside of Twilio's buffer, where a `clear` costs nothing. No Django, no Channels.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE
from calls.media.playback import PendingMark, Playback, StreamClock
from calls.media.protocol import StreamProtocol


# One media message: small enough that clear and mark stay fine-grained, Twilio takes any size.
MESSAGE_SAMPLES = 1 * SAMPLE_RATE
# How much may lie in Twilio's buffer; past ten minutes it throws away (31931).
LOOK_AHEAD = 10 * SAMPLE_RATE
# Seconds between two looks for room while the peer does not read.
PATIENCE = 0.02
# A speech is over if nothing of it follows for so many seconds after its end.
PAUSE = 0.04
# Somebody who was so many seconds ahead will not go on: the last samples are sent so long before they are needed.
WELL_AHEAD, BEFORE = 0.5, 0.1


class StreamEnded(Exception):
    """The stream is over; nothing can be sent any more."""


class Cue:
    """A mark in its place behind what was said before it: of the handler's, or of a play that waits (`played`)."""

    __slots__ = ("mark", "name", "played", "text")

    def __init__(self, name: str = "", text: str = "", played: "asyncio.Future[Any] | None" = None) -> None:
        self.name = name
        self.text = text
        self.played = played
        #: Once it was sent.
        self.mark: PendingMark | None = None


class Outgoing:
    """One stream's queue towards Twilio. A task of its own empties it, while there is something that does not fit."""

    def __init__(
        self,
        playback: Playback,
        protocol: StreamProtocol,
        clock: StreamClock,
        send: Callable[[str], Awaitable[None]],
        send_now: Callable[[str], bool],
        flush: Callable[[float], None],
        note: Callable[[Cue], str],
    ) -> None:
        """`note` is called when a cue's turn comes, and returns the text of its mark."""
        self._playback = playback
        self._protocol = protocol
        self._clock = clock
        self._send = send
        self._send_now = send_now
        self._flush = flush
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytearray | Cue] = deque()
        #: The end of a speech that is no whole frame yet: what is said next goes on from here.
        self._rest = b""
        self._timer: asyncio.TimerHandle | None = None
        self._pump: asyncio.Task[None] | None = None
        self._is_flowing = False
        #: Nothing waits: a frame may go straight to Twilio.
        self.is_idle = True
        #: Samples that wait.
        self.waiting = 0

    def say(self, audio: bytes) -> None:
        """Audio of a speech, of any length, directly behind what was said before."""
        audio = self._rest + audio
        whole = len(audio) - len(audio) % FRAME_SAMPLES
        self._rest = audio[whole:]
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, bytearray):
            last += audio[:whole]
        elif whole:
            self._waiting.append(bytearray(audio[:whole]))
        self.waiting += whole

    def say_all(self, audio: bytes, cue: Cue) -> bytearray:
        """Audio that ends a speech, and the mark behind it. Returns what `take_back` wants."""
        audio, self._rest = self._rest + audio, b""
        whole = bytearray(audio + SILENCE * (-len(audio) % FRAME_SAMPLES))
        if whole:
            self._waiting.append(whole)
            self.waiting += len(whole)
        self._waiting.append(cue)
        return whole

    def cue(self, cue: Cue) -> None:
        """A mark behind everything that was said."""
        self._end_speech()
        self._waiting.append(cue)

    def take_back(self, audio: bytearray, cue: Cue) -> None:
        """Nobody waits for it any more: what was not sent yet never is."""
        if any(item is audio for item in self._waiting):
            self.waiting -= len(audio)
        self._waiting = deque(item for item in self._waiting if item is not audio and item is not cue)
        self._look_on()

    def drop(self) -> tuple[int, list[Cue]]:
        """Nothing of what waits is sent. Returns how many samples that is, and the marks."""
        dropped = self.waiting + len(self._rest)
        cues = [item for item in self._waiting if isinstance(item, Cue)]
        self._waiting.clear()
        self._rest, self.waiting = b"", 0
        self._look_on()
        return dropped, cues

    def close(self) -> tuple[int, list[Cue]]:
        """The stream is over."""
        if self._pump is not None:
            self._pump.cancel()
        return self.drop()

    async def flow(self) -> None:
        """Sends what waits, in order, as far as there is room for it; the rest follows by itself."""
        if self._is_flowing:
            return
        self._is_flowing, self.is_idle = True, False
        try:
            while self._waiting and (text := self._next()):
                if not self._send_now(text):
                    await self._send(text)
        finally:
            self._is_flowing = False
            self._look_on()

    def _next(self) -> str:
        """The next message, "" if there is no room for it."""
        item = self._waiting[0]
        if isinstance(item, Cue):
            self._waiting.popleft()
            return self._note(item)
        piece = bytes(item[:MESSAGE_SAMPLES])
        if self._playback.pending + len(piece) > LOOK_AHEAD:
            return ""
        del item[:MESSAGE_SAMPLES]
        if not item:
            self._waiting.popleft()
        self.waiting -= len(piece)
        self._playback.play(self._clock.now(time.monotonic()), piece)
        return self._protocol.media(piece)

    def _look_on(self) -> None:
        """What is to be done with what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.is_idle = not (self._waiting or self._rest or self._is_flowing)
        if self._waiting:
            self._start_pump()
        elif self._rest:
            ahead = self._playback.pending / SAMPLE_RATE
            self._timer = self._loop.call_later(
                ahead - BEFORE if ahead > WELL_AHEAD else ahead + PAUSE, self._no_more_comes
            )

    def _no_more_comes(self) -> None:
        self._timer = None
        self._end_speech()
        self._start_pump()

    def _end_speech(self) -> None:
        """What comes next is something else: the last frame is filled with silence."""
        if self._rest:
            self.say(SILENCE * (FRAME_SAMPLES - len(self._rest)))

    def _start_pump(self) -> None:
        if self._pump is None:
            self._pump = self._loop.create_task(self._pump_on())

    async def _pump_on(self) -> None:
        try:
            while True:
                self._flush(time.monotonic())
                await self.flow()
                if not self._waiting:
                    return
                await asyncio.sleep(self._until_room())
        except StreamEnded:
            pass  # who sent it knows, and the stream ends
        finally:
            self._pump = None

    def _until_room(self) -> float:
        item = self._waiting[0]
        size = 0 if isinstance(item, Cue) else min(len(item), MESSAGE_SAMPLES)
        return max((self._playback.pending + size - LOOK_AHEAD) / SAMPLE_RATE, PATIENCE)
