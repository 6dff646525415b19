"""Where audio comes from that is said: bytes, or what gives them piece by piece, as speech services do."""

import asyncio
import inspect
import re
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping
from contextlib import aclosing
from pathlib import PurePath
from typing import Any

from calls.media.audio import SAMPLE_RATE
from calls.media.formats import Converter
from calls.media.script import Speech
from calls.server.speaking import Speaking


Bytes = bytes | bytearray | memoryview
Source = Iterable[bytes] | AsyncIterable[bytes]

# How much of a source waits here while it could give more, in samples: a minute.
AHEAD = 60 * SAMPLE_RATE
# Seconds between two looks for room.
LOOK = 0.1
# Bytes that are converted in one go, while the event loop waits 1 ms: a second at 48 kHz.
PIECE = 96_000

_END: Any = object()
# Whoever passes a name means a sound file by it.
_FILE_NAME = re.compile(r"\.\w{2,5}$")


def check_source(audio: object) -> None:
    """TypeError, which says what to do instead, for what gives no audio."""
    if isinstance(audio, Bytes):
        return
    if isinstance(audio, list | tuple):
        if all(isinstance(chunk, Bytes) for chunk in audio):
            return
    elif isinstance(audio, AsyncIterable | Iterable) and not isinstance(audio, str | Mapping):
        return
    raise TypeError(f"play takes raw audio as bytes, or an iterator of them, not {_what(audio)}")


def check_chunk(chunk: object) -> None:
    """TypeError for what a source must not give."""
    if not isinstance(chunk, Bytes):
        raise TypeError(f"what is played gives chunks of bytes, not {_what(chunk)}")


def _what(audio: object) -> str:
    if isinstance(audio, str | PurePath):
        text = str(audio)[:80]
        if isinstance(audio, PurePath) or _FILE_NAME.search(audio):
            return f"the name of a file ({text!r}); calls.media.audio.read_wav(data) returns the samples of a WAV file"
        return f"text ({text!r}); a speech service makes audio of it"
    if inspect.iscoroutine(audio):
        audio.close()
        return f"a coroutine: await {audio.__name__}(…) first"
    if callable(audio):
        return f"a function: call it, {getattr(audio, '__name__', 'it')}(…)"
    return type(audio).__name__


async def feed(source: Source, converter: Converter, speech: Speech, speaking: Speaking) -> None:
    """Takes what a source gives until it ends, and says it as it comes. Whatever happens, the source is closed.

    What the source raises comes through; what it gave before is said. One that nobody will hear is not even begun.
    """
    if speech.is_over:
        await _close(source)
        return
    async with aclosing(_chunks(source)) as chunks:
        async for chunk in chunks:
            check_chunk(chunk)
            for piece in pieces(bytes(chunk)):
                speech.add(converter.convert(piece))
                await speaking.flow()
                # Converting minutes must not cost the other calls a frame.
                await asyncio.sleep(0)
            while speech.waiting > AHEAD and not isinstance(source, list | tuple):  # noqa: ASYNC110
                await asyncio.sleep(LOOK)
    speech.add(converter.flush())
    speech.is_whole = True
    await speaking.flow()


async def _close(source: Source) -> None:
    if isinstance(source, AsyncIterable):
        if (aclose := getattr(aiter(source), "aclose", None)) is not None:
            await aclose()
    elif (close := getattr(iter(source), "close", None)) is not None:
        # What it has begun may wait for a network.
        await asyncio.to_thread(close)


def pieces(audio: bytes) -> list[bytes]:
    """What may be converted at once."""
    return [audio[at : at + PIECE] for at in range(0, len(audio), PIECE)]


def _chunks(source: Source) -> AsyncGenerator[bytes, None]:
    if isinstance(source, list | tuple):
        return _at_hand(source)
    return _async_chunks(source) if isinstance(source, AsyncIterable) else _sync_chunks(iter(source))


async def _at_hand(chunks: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk


async def _async_chunks(source: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    iterator = aiter(source)
    try:
        async for chunk in iterator:
            yield chunk
    finally:
        if (close := getattr(iterator, "aclose", None)) is not None:
            await close()


async def _sync_chunks(source: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """In a thread: whoever writes `for chunk in response` cannot know that it waits for a network."""
    coming = _ask(source)
    try:
        while (chunk := await asyncio.shield(coming)) is not _END:
            yield chunk
            coming = _ask(source)
    finally:
        if (close := getattr(source, "close", None)) is not None:
            # It cannot be closed while it is asked.
            await asyncio.wait({coming})
            await asyncio.to_thread(close)


def _ask(source: Iterator[bytes]) -> "asyncio.Future[bytes]":
    return asyncio.ensure_future(asyncio.to_thread(next, source, _END))
