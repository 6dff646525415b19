"""Throws mutated frames at calls/quick, built with AddressSanitizer and UBSan, and lets handlers run in it:

    python -m tests.trials.fuzz_quick --frames 1000000 [--seed 7]

Not collected by pytest. Ends with 1 at the first thing that must not happen: what gcc's sanitizers find, or a stream in
which C has left something else than Python alone. Needs gcc and its libasan.
"""

import argparse
import asyncio
import gc
import importlib.util
import logging
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.quick import SANITIZE, build, compiler, target


BUILT = "FUZZ_QUICK"
PIECES = [
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b",",
        b":",
        b"\\",
        b"\\u0000",
        b"\0",
        b"\n",
        b" ",
        b"\xc3\xa9",
        b"\xff",
        b"=",
        b"/",
    ),
    *(
        b"null",
        b"-1",
        b"1e400",
        b"9" * 15,
        b"9" * 16,
        b"9" * 30,
        b"A" * 400,
        b"A" * 5000,
        b"[" * 300,
        b"00",
        b"payload",
    ),
]
# One in so many frames is not as it should be.
RARE = 4


def libasan() -> str | None:
    """What has to be loaded before Python, where gcc and it are there."""
    gcc = shutil.which("gcc")
    if gcc is None or compiler() is None:
        return None
    found = subprocess.run(
        [gcc, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    return found if Path(found).is_absolute() else None


def load() -> None:
    """Puts what was built with sanitizers where calls.quick looks for it."""
    spec = importlib.util.spec_from_file_location("calls.quick._quick", os.environ[BUILT])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["calls.quick._quick"] = module

    import django

    logging.disable()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from calls import quick

    assert quick.path is module.Path


def mutate(chance: random.Random, octets: bytes) -> bytes:
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(octets))
        end = min(len(octets), start + chance.choice((0, 1, 1, 2, 8, 60)))
        piece = chance.choice((b"", chance.choice(PIECES), bytes([chance.randint(0, 255)]), octets[start:end] * 2))
        octets = octets[:start] + piece + octets[end:]
    return octets


class Fuzz:
    """One stream after the other."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.outcomes: Counter[str] = Counter()

    def frames(self, count: int) -> Iterator[bytes]:
        """Texts in their turn, most of them whole."""
        from tests.support.line import MEDIA
        from tests.support.phone import STREAM
        from tests.support.quick import PAYLOAD

        for number in range(2, count + 2):
            payload = PAYLOAD[: 4 * self.chance.randint(0, 53)] if self.chance.random() < 0.1 else PAYLOAD
            values = {"number": number, "timestamp": 20 * number, "payload": payload}
            text = (MEDIA % {"stream": STREAM, "track": "inbound", "chunk": 1, **values}).encode()
            yield mutate(self.chance, text) if self.chance.randrange(RARE) == 0 else text

    def beside_python(self) -> int:
        """A stream in C, and one in Python: both know the same in the end. Returns how many frames it had."""
        from tests.support.masking import masked
        from tests.support.phone import Phone
        from tests.support.quick import Beside, books, in_python

        in_c, alone = Beside(), Phone()
        texts = list(self.frames(self.chance.randint(1, 40)))
        for text in texts:
            in_c.hear(masked(text))
            if in_c.left:
                in_c.left.clear()
                in_python(in_c.live, text)
                self.outcomes["left to Python"] += 1
            in_python(alone.live, text)
        assert books(in_c.live) == books(alone.live), texts
        return len(texts)

    async def with_a_handler(self) -> int:
        """A stream with handlers that do what handlers must not, on a wire that is no wire."""
        from calls.sockets.frames import frame_size
        from tests.support.masking import unmasked
        from tests.support.quick import QuickPhone

        class Sturdy(QuickPhone):
            def _receive(self, data: bytes) -> None:
                while (size := frame_size(data)) and size <= len(data):
                    self.live.receive(unmasked(data[8:size]).decode(errors="replace"))
                    data = data[size:]

        ours, theirs = socket.socketpair()
        phone: Any = Sturdy.talking(ours.fileno())
        tasks = [asyncio.create_task(self.handle(phone)) for _ in range(self.chance.choice((1, 1, 1, 2, 3)))]
        await asyncio.sleep(0)
        count = self.chance.randint(1, 60)
        for _ in range(count):
            data = b"".join(phone.media() for _ in range(self.chance.choice((1, 1, 1, 2, 4))))
            if self.chance.randrange(RARE) == 0:
                asyncio.get_running_loop().call_soon(self.come, phone, mutate(self.chance, data))
            asyncio.get_running_loop().call_soon(self.come, phone, data)
            if self.chance.random() < 0.5:
                await asyncio.sleep(0)
            if self.chance.random() < 0.05:
                self.chance.choice(tasks).cancel()
        await asyncio.sleep(0)
        phone.hang_up()
        phone.live.path.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        ours.close()
        theirs.close()
        return count

    def come(self, phone: Any, data: bytes) -> None:
        path, chance = phone.live.path, self.chance
        path.is_between = chance.random() < 0.95
        phone.hear(data)
        act = chance.randrange(200)
        if act == 0:
            phone.live.inbox.skip()
        elif act == 1:
            phone.live.inbox.hold()
        elif act == 2:
            phone.live.inbox.wake()
        elif act == 3:
            phone.tape.cut(0)
        elif act == 4:
            path.close()
        elif act == 5:
            phone.waiting ^= 1
        elif act == 6:
            gc.collect(0)

    async def handle(self, phone: Any) -> None:
        stream, chance = phone.stream, self.chance
        coming = aiter(stream) if chance.random() < 0.5 else stream.media()
        async for media in coming:
            self.outcomes["given to a handler"] += 1
            act = chance.randrange(150)
            if act < 100:
                await stream.play(b"\x55" * 160, wait=False)
            elif act < 110:
                await asyncio.sleep(0)
            elif act == 113:
                phone.live.path.close()
            elif act == 114:
                coming = None
                return
            elif act == 115:
                raise ZeroDivisionError(media.timestamp)
            elif act == 116:
                asyncio.current_task().cancel()  # type: ignore[union-attr]
            elif act == 117:
                await anext(coming, None)
            elif act == 118:
                await coming.aclose()
            elif act == 119:
                phone.hang_up()


async def fuzz(frames: int, seed: int) -> None:
    trial, done, began, streams = Fuzz(random.Random(seed)), 0, time.monotonic(), 0
    while done < frames:
        done += trial.beside_python() if trial.chance.random() < 0.5 else await trial.with_a_handler()
        streams += 1
    seconds = time.monotonic() - began
    print(f"seed {seed}: {done:,} frames in {streams:,} streams, {seconds:.0f} s, {dict(trial.outcomes)}")


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.trials.fuzz_quick", description="Fuzzes calls/quick.")
    options.add_argument("--frames", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    chosen = options.parse_args()
    if BUILT in os.environ:
        load()
        asyncio.run(fuzz(chosen.frames, chosen.seed))
        return 0
    library = libasan()
    if library is None:
        print("There is no gcc here, or no libasan.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        built = target(Path(folder))
        build(built, *SANITIZE, "-fno-sanitize-recover=all")
        environment = {**os.environ, BUILT: str(built), "LD_PRELOAD": library, "PYTHONMALLOC": "malloc"}
        environment["ASAN_OPTIONS"] = "detect_leaks=0"
        command = [
            sys.executable,
            "-m",
            "tests.trials.fuzz_quick",
            f"--frames={chosen.frames}",
            f"--seed={chosen.seed}",
        ]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
