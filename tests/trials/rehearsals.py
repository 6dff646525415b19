"""How long calls take that go by a clock that jumps (the promise: a minute in less than a second):

    python -m tests.trials.rehearsals [seconds]

Plays calls of that many seconds (60) with the shipped `echo`, with a handler that listens for speech, and with a small
ASGI application, and prints the time on the clock and on the processor. Not collected by pytest.
"""

import asyncio
import logging
import os
import sys
import time

import django


CALLER = "calls/sounds/caller.wav"


async def measured(what, call):
    began, worked = time.perf_counter(), time.process_time()
    done = await call
    took, work = time.perf_counter() - began, time.process_time() - worked
    stream = done.report.streams[0]
    print(
        f"{what:10} {done.seconds:6.2f} s, {stream.frames_sent} frames: {took:5.2f} s, {work:5.2f} s of the processor"
    )
    assert done.ok, done.story()


async def run(seconds):
    from calls.handlers import echo
    from calls.rehearsal import HandlerPhone
    from simulator.audio import read_wav, tone
    from simulator.phone import Phone
    from tests.support.answering import Answering
    from tests.support.answering import echo as plain

    with open(CALLER, "rb") as file:  # noqa: ASYNC230 - before anything runs
        turns = [read_wav(file.read()), 4.0] * (seconds // 8)

    async def converse(stream):
        async for _ in stream.speech():
            await stream.play(tone(440, 1))

    with HandlerPhone() as phone:
        await phone.call(converse, says=turns[:2])  # loads what is loaded once
        for _ in range(2):
            await measured("echo", phone.call(echo, says=tone(440, seconds), seconds=seconds))
            await measured("speech", phone.call(converse, says=turns, seconds=seconds))
    with Phone(Answering(plain)) as phone:
        await measured("plain ASGI", phone.call(says=tone(440, seconds), seconds=seconds))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    logging.disable(logging.WARNING)
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
