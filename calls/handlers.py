"""The handlers that ship, and how one is found by its name."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from twilio.twiml.voice_response import VoiceResponse

from calls.media.audio import is_speech, read_wav
from calls.streams import Dtmf, Media, MediaStream
from calls.twiml import StreamNoun


logger = logging.getLogger(__name__)

SOUNDS = Path(__file__).parent / "sounds"
# Voicemail ends after this many seconds without speech.
SILENCE_SECONDS = 5
# ... and in any case after this long.
LONGEST_MESSAGE_SECONDS = 180


class Handler(Protocol):
    """One coroutine per phone number. It may carry `twiml` and `records`."""

    def __call__(self, stream: MediaStream, /) -> Awaitable[None]: ...


def sound(name: str) -> bytes:
    """A shipped sound as µ-law."""
    return read_wav((SOUNDS / f"{name}.wav").read_bytes())


async def echo(stream: MediaStream) -> None:
    """Says back what the caller says."""
    async for media in stream.media():
        await stream.play(media.payload, wait=False)


async def voicemail(stream: MediaStream) -> None:
    """Greets, beeps, and records until #, silence or hang-up. Speaking or pressing a key skips the greeting."""
    if not stream.resumed:
        await stream.play(sound("greeting"), barge_in=True)
    # What was said, and the key that was pressed, to skip the greeting.
    stream.skip()
    await stream.play(sound("beep"))
    with suppress(TimeoutError):
        # A phone that sends nothing while its owner is silent has no timestamps to go by either.
        async with asyncio.timeout(LONGEST_MESSAGE_SECONDS):
            await _message(stream)
    await stream.play(sound("thanks"))
    await stream.hang_up()


async def _message(stream: MediaStream) -> None:
    """Until #, the end of the stream or 5 s without speech."""
    spoken = None
    async for event in stream:
        if isinstance(event, Dtmf) and event.digit == "#":
            return
        if not isinstance(event, Media) or event.track != "inbound":
            continue
        if spoken is None or is_speech(event.payload):
            spoken = event.timestamp
        if event.timestamp - spoken > 1000 * SILENCE_SECONDS:
            return


async def monitor(stream: MediaStream) -> None:
    """Records a call between two people, each on a channel of their own. Nothing is said into it."""
    async for _ in stream:
        continue


def _monitor_twiml(noun: StreamNoun) -> VoiceResponse:
    if not settings.MONITOR_DIAL:
        raise ImproperlyConfigured("MONITOR_DIAL is not set: the monitor handler has nobody to connect the caller to")
    response = noun.start(track="both_tracks")
    response.dial(settings.MONITOR_DIAL)
    return response


monitor.twiml = _monitor_twiml  # type: ignore[attr-defined]

SHIPPED: dict[str, Handler] = {"echo": echo, "voicemail": voicemail, "monitor": monitor}


def names() -> list[str]:
    """The names that /incoming/<handler> knows."""
    return sorted({*SHIPPED, *settings.STREAM_HANDLERS})


def find(name: str) -> Handler | None:
    """The handler of that name (the default one for ""), or None. ImportError if its path leads nowhere."""
    name = name or settings.DEFAULT_STREAM_HANDLER
    if (path := settings.STREAM_HANDLERS.get(name)) is not None:
        return cast(Handler, import_string(path))
    return SHIPPED.get(name)


def document(handler: Handler, noun: StreamNoun) -> str:
    """The TwiML around a handler's stream: its own `twiml`, or plain <Connect>."""
    make: Callable[[StreamNoun], VoiceResponse] = getattr(handler, "twiml", StreamNoun.connect)
    return str(make(noun))
