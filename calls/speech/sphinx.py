"""pocketsphinx: transcribes without a network, in processes of their own, since it never lets go of the interpreter.

In a thread, its decoding held all other threads for up to 107 ms at a time. A process takes 0.5 s to start, 130 MB, and
a seventh of a core while somebody speaks.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import msgspec

from calls.media.formats import from_mulaw
from calls.media.transcript import Heard
from calls.speech.sockets import sending


PROGRAM = Path(__file__).with_name("sphinx_process.py")
# Lanes at once: more would starve the calls. The others wait for their turn, as for a service that is away.
MOST = 2 * (os.cpu_count() or 1)
running: set[Process] = set()


async def transcribe(audio: AsyncIterator[bytes]) -> AsyncGenerator[Heard]:
    """American English, and only what a small vocabulary holds: good enough to try everything with."""
    if len(running) >= MOST:
        raise ConnectionError(f"pocketsphinx has no room: {MOST} lanes at once on this machine")
    # -P: what lies beside the program is not for it to import.
    process = await asyncio.create_subprocess_exec(sys.executable, "-P", PROGRAM, stdin=PIPE, stdout=PIPE)
    running.add(process)
    try:
        async with sending(_send(process, audio), process.kill):
            assert process.stdout is not None
            async for line in process.stdout:
                yield msgspec.json.decode(line, type=Heard)
        if await process.wait():
            raise ConnectionError(f"pocketsphinx ended with {process.returncode}")
    finally:
        running.discard(process)
        await _end(process)


async def _send(process: Process, audio: AsyncIterator[bytes]) -> None:
    assert process.stdin is not None
    converter = from_mulaw("pcm16", 16000)
    async for piece in audio:
        process.stdin.write(converter.convert(piece))
        await process.stdin.drain()
    process.stdin.write(converter.flush())
    process.stdin.close()


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    # What it still says has to be read, or its pipe stays open.
    await process.communicate()
