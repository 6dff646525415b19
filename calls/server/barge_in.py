"""Whether the caller interrupts what is being played: with a key, or by speaking."""

import asyncio

from django.utils import timezone

from calls.media.audio import is_speech
from calls.media.protocol import Media
from calls.media.tape import Tape


# Frames of speech in a row that count as the caller speaking: 100 ms.
SPEECH_FRAMES = 5


class BargeIn:
    """One stream's watch for it, while a play wants to be interrupted."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        #: Set by an interruption; None while nothing watches.
        self.awaited: asyncio.Future[None] | None = None
        self._frames = 0

    def watch(self) -> asyncio.Future[None]:
        self._frames = 0
        self.awaited = asyncio.get_running_loop().create_future()
        return self.awaited

    def stop(self, awaited: asyncio.Future[None]) -> None:
        """Nobody waits for this one any more."""
        if self.awaited is awaited:
            self.awaited = None

    def hear(self, media: Media) -> None:
        self._frames = self._frames + 1 if media.track == "inbound" and is_speech(media.payload) else 0
        if self._frames >= SPEECH_FRAMES:
            self.interrupt("speech")

    def interrupt(self, by: str) -> None:
        """The caller has pressed a key or spoken."""
        if self.awaited is not None:
            if not self.awaited.done():
                self.awaited.set_result(None)
                self._tape.event("barge-in", timezone.now(), by=by)
            self.awaited = None
