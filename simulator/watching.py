"""Watches a run and shows, again and again, how far it is."""

import asyncio

from simulator.playing import Playing, lateness_of
from simulator.reports.figures import late_ms
from simulator.reports.live import Display, Now


# Frames of a call that are looked at: those of the last two seconds.
RECENT = 100


async def watch(playing: Playing, display: Display) -> None:
    """Until it is cancelled. What takes time is done in a thread, beside callers who speak on time."""
    loop = asyncio.get_running_loop()
    began = before = loop.time()
    frames = 0
    while True:
        await asyncio.sleep(display.every)
        time, sent = loop.time(), playing.frames
        calls = list(playing.alive.values())
        rate = (sent - frames) / (time - before)
        late = await asyncio.to_thread(late_ms, [lateness_of(call)[-RECENT:] for call in calls])
        over = tuple(playing.over.values())
        now = Now(over, len(playing.plan), len(calls), rate, late, time - began)
        display.show(await asyncio.to_thread(display.lines, now))
        before, frames = time, sent
