"""A running call's recording as a file that is still being written: what is there is sent, and then what comes.

Its header says that it is as long as a call can be. A player that keeps its distance from the end hears it without ever
opening it again, which is what would make it stall.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

from asgiref.sync import sync_to_async

from calls.media import audio
from calls.models import Call
from calls.recordings.rendering import Recording, Wav, in_steps
from calls.server.switchboard import switchboard


# Twilio ends a call after a day at the latest: https://www.twilio.com/docs/voice/api/call-resource (TimeLimit).
LONGEST = 24 * 60 * 60 * audio.SAMPLE_RATE
# What was heard of us is written a little later than what the caller said: the last second may lack one side.
UNSETTLED = audio.SAMPLE_RATE
LOOK_SECONDS = 0.4
# The page knows of the call's end by then, and has opened the recording that is whole.
LINGER_SECONDS = 30

Pieces = Callable[[Wav, int, int], Iterator[bytes]]


def endless(wav: Wav) -> Wav:
    """The file of a call that runs, as its header describes it."""
    return replace(wav, recording=replace(wav.recording, samples=LONGEST))


async def pieces(call: Call, wav: Wav, first: int, last: int, read: Pieces) -> AsyncIterator[bytes]:
    """The bytes first..last (inclusive) of such a file, as they come into being; `read` reads what is there."""
    over_since = None
    while first <= last:
        recording, over = await sync_to_async(_look)(call.pk)
        settled = max(0, recording.samples - (0 if over else UNSETTLED))
        stop = min(last + 1, audio.WAV_HEADER_SIZE + settled * wav.width)
        if stop > first:
            now = replace(wav, recording=replace(recording, samples=LONGEST))
            async for piece in in_steps(read(now, first, stop - 1)):
                yield piece
            first = stop
        over_since = over_since or (time.monotonic() if over else None)
        # A process that drains does not wait for listeners: the browser asks another one for the rest.
        if switchboard.draining or (over_since and time.monotonic() - over_since > LINGER_SECONDS):
            return
        await asyncio.sleep(LOOK_SECONDS)


def _look(pk: int) -> tuple[Recording, bool]:
    call = Call.objects.only("pk", "ended_at").get(pk=pk)
    return Recording.of(call), call.ended_at is not None
