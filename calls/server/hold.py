"""A person talks to the caller in the handler's place (calls.supervision.takeovers): what the handler gets meanwhile,
what becomes of what it says, and what it is told afterwards.

What a person says is sent as it comes. Twilio plays it in order, so whatever comes late delays all that follows: what
lies ahead there is kept short, by leaving out what is silent, or if need be anything. Without this it would grow too
where a microphone's clock is faster than Twilio's.
"""

import asyncio
import time
from collections.abc import Callable

from django.utils import timezone

from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE, SAMPLES_PER_MS, SILENCE, is_speech
from calls.media.hearing import Hearing
from calls.server.ear import Ear
from calls.server.inbox import Inbox, Takeover
from calls.server.outgoing import Outgoing
from calls.server.speaking import Speaking


# What lies ahead at Twilio when somebody begins to talk, in samples: what is late by half of it makes no hole. Each
# hole makes it larger by STEP, up to LONGEST, for half a minute.
CUSHION, STEP, LONGEST = 120 * SAMPLES_PER_MS, 40 * SAMPLES_PER_MS, 240 * SAMPLES_PER_MS
# With so much more than that ahead, frames are left out: silent ones, and any.
SPARE_SILENCE, SPARE = 20 * SAMPLES_PER_MS, 80 * SAMPLES_PER_MS


class Taken(Exception):
    """Somebody else talks to the caller already."""


class Hold:
    """One stream's."""

    def __init__(
        self, outgoing: Outgoing, speaking: Speaking, hearing: Hearing, inbox: Inbox, ear: Callable[[], Ear | None]
    ) -> None:
        """`ear` gives the stream's, if it has one at that moment."""
        self._outgoing = outgoing
        self._speaking = speaking
        self._hearing = hearing
        self._inbox = inbox
        self._ear = ear
        #: Whether a person talks; their name, and their key.
        self.is_on = False
        self.user = ""
        #: Why it ended last, if it was not handed back.
        self.why = ""
        self._key: int | None = None
        self._began = 0
        self._cushion = CUSHION
        #: The beginning of a frame.
        self._rest = b""
        self._free = asyncio.Event()

    async def begin(self, key: int | None, user: str) -> None:
        """From now on this person talks. What plays is cut off, and what waits to be played is forgotten.

        Taken, StreamEnded, or StateError on a stream on which we only listen.
        """
        if self.is_on:
            raise Taken(f"{self.user} has taken over")
        self._speaking.check()
        self.is_on, self.user, self._key = True, user, key
        self._free.clear()
        text = self._speaking.hold()
        self._began, self._cushion, self._rest = self._outgoing.now(), CUSHION - STEP, b""
        self._inbox.hold()
        if (ear := self._ear()) is not None:
            ear.hold(self._began)
        self._hearing.tape.act("take-over", timezone.now(), key)
        await self._outgoing.send(text)

    async def say(self, audio: bytes) -> None:
        """What the person says, as it comes from their microphone: µ-law. StreamEnded."""
        self._hearing.advance(time.monotonic())
        ahead = self._hearing.playback.pending
        self._cushion = max(self._cushion - 1, CUSHION) if ahead else min(self._cushion + STEP, LONGEST)
        audio = self._rest + audio
        whole = len(audio) - len(audio) % FRAME_SAMPLES
        self._rest = audio[whole:]
        kept = b"" if ahead else SILENCE * ((self._cushion - whole) // FRAME_SAMPLES * FRAME_SAMPLES)
        for at in range(0, whole, FRAME_SAMPLES):
            frame = audio[at : at + FRAME_SAMPLES]
            lies = ahead + len(kept)
            if lies < self._cushion + (SPARE if is_speech(frame) else SPARE_SILENCE):
                kept += frame
        if kept:
            await self._outgoing.put_through(kept)

    def end(self, why: str = "") -> None:
        """The handler has its caller back, and is told. `why`: if it is not the person who hands back."""
        if not self.is_on:
            return
        now = self._outgoing.now()
        self.is_on, self.why = False, why
        self._speaking.release()
        if (ear := self._ear()) is not None:
            ear.release(now)
        takeover = Takeover(self.user, self._began // SAMPLES_PER_MS, now // SAMPLES_PER_MS)
        self._inbox.release(takeover)
        kind, who, reason = ("takeover-ended", None, {"why": why}) if why else ("hand-back", self._key, {})
        seconds = round((now - self._began) / SAMPLE_RATE, 1)
        times = {"start_ms": takeover.start_ms, "end_ms": takeover.end_ms}
        self._hearing.tape.act(kind, timezone.now(), who, seconds=seconds, **times, **reason)
        self._free.set()

    async def until_free(self) -> None:
        """Waits until nobody but the handler talks to the caller, or nobody does."""
        while self.is_on:
            await self._free.wait()
