"""Those who talk: callers who say sentences, and handlers that take them frame by frame or turn by turn."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.callers import CONNECTED, place
from benchmark.load import Load, build
from benchmark.servers import Server
from calls.handlers import sound
from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE
from calls.streams import MediaStream


# What callers say again and again, and are silent for a while: their turn is over then.
PAUSE = SILENCE * 3 * SAMPLE_RATE
# Seconds within which each of them has said it, and been answered.
ROUND = 12.0


async def frames(stream: MediaStream) -> None:
    """Takes the audio, and says nothing."""
    async for _ in stream.media():
        pass


async def turns(stream: MediaStream) -> None:
    """Answers every turn with a frame, so that the callers can count them."""
    async for _ in stream.speech():
        await stream.play(SILENCE * FRAME_SAMPLES, wait=False)


async def conversation(stream: MediaStream) -> None:
    """Answers every turn as a speech service would: as it comes, in PCM16 at 24 kHz."""
    async for _ in stream.speech():
        await stream.play(_answer(), encoding="pcm16", rate=24_000, barge_in=True)


async def _answer() -> AsyncIterator[bytes]:
    """1.6 s, in chunks of 40 ms, three times as fast as they are spoken."""
    pcm16 = b"\x00\x10\x00\xf0" * 480
    for _ in range(40):
        yield pcm16
        await asyncio.sleep(0.013)


@contextmanager
def talkers(folder: Path, server: Server, core: int, count: int, handler: str) -> Iterator[Load]:
    """That many, who have begun to speak; at the end all of them are gone."""
    with Load(build(folder), server.port, core, _speech(folder)) as load:
        for call in place(server, count, handler):
            load.open(call, CONNECTED)
        # A sentence, so that what is loaded with the first one is there.
        load.measure(2)
        yield load


def _speech(folder: Path) -> Path:
    said = sound("caller") + PAUSE
    whole = len(said) // FRAME_SAMPLES * FRAME_SAMPLES
    payloads = (b64encode(said[at : at + FRAME_SAMPLES]) for at in range(0, whole, FRAME_SAMPLES))
    path = folder / "speech.b64"
    path.write_bytes(b"".join(payloads))
    return path
