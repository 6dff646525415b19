"""Sends frames in and out through calls/quick, and prints what the process holds meanwhile: in one stream, and in many.

    python -m tests.trials.memory_quick [--frames 200000]

Not collected by pytest. Ends with 1 if the second half of the frames has made the process larger by more than 2 MB.
"""

import argparse
import asyncio
import gc
import logging
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import django


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from tests.support.quick import FRAME, QuickPhone  # noqa: E402


ALLOWED = 2 * 2**20
# Frames of a short stream.
SHORT = 100


def resident() -> int:
    """Bytes of this process that are in memory. Linux only."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def echo(phone: Any) -> None:
    async for _ in phone.stream:
        await phone.stream.play(FRAME, wait=False)


async def talk(frames: int) -> int:
    """One stream of so many frames each way. Returns how many bytes came back."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    phone: Any = QuickPhone.talking(ours.fileno())
    task, came = asyncio.create_task(echo(phone)), 0
    loop = asyncio.get_running_loop()
    for number in range(frames):
        phone.later(20)
        # Not within a task, as from a socket.
        loop.call_soon(phone.hear)
        await asyncio.sleep(0)
        if number % 50 == 49:
            phone.live.beat(time.monotonic())
        with suppress(BlockingIOError):
            came += len(theirs.recv(1_000_000))
    phone.live.path.close()
    phone.hang_up()
    await task
    assert len(phone.left) <= 1, phone.left
    ours.close()
    theirs.close()
    return came


async def grown(what: str, streams: int, frames: int) -> int:
    """How much larger the process is in the end than when half was done."""
    sizes, came = [], 0
    for _ in range(streams):
        came += await talk(frames)
        gc.collect()
        sizes.append(resident())
    shown = ", ".join(f"{sizes[len(sizes) * quarter // 4 - 1] / 2**20:.1f}" for quarter in (1, 2, 3, 4))
    print(f"{streams * frames:,} frames in {what}: {shown} MB after each quarter, {came / 2**20:.0f} MB came back")
    return sizes[-1] - sizes[len(sizes) // 2 - 1]


async def trial(frames: int) -> bool:
    long = await grown("4 streams", 4, frames // 4)
    short = await grown(f"streams of {SHORT}", frames // SHORT, SHORT)
    return max(long, short) <= ALLOWED


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.trials.memory_quick", description="Memory of calls/quick.")
    options.add_argument("--frames", type=int, default=200_000)
    logging.disable()
    # What was imported is not looked through again and again.
    gc.freeze()
    return 0 if asyncio.run(trial(options.parse_args().frames)) else 1


if __name__ == "__main__":
    sys.exit(main())
