"""What this process tells of its calls to those who watch the list of all running ones, from this or another process.

One letter a second, and one when a stream has ended, with all its calls: how loud both sides are, who speaks, how long
the caller has been waiting, and what has happened last. It is the whole state, so that a letter that is lost is made up
for by the next one. While nobody watches, nothing is measured and nothing is sent.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from calls.media.audio import SAMPLES_PER_MS
from calls.media.meter import Meter
from calls.media.rows import AnyRow, ChunkRow, DtmfRow, EventRow, MarkRow
from calls.post.post import Letter, PostAway, post
from calls.server.live_stream import LiveStream
from calls.server.marks import OWN_MARK
from calls.server.switchboard import switchboard


logger = logging.getLogger(__name__)

# The group of the processes that watch.
GROUP = "meters"
# Seconds after which who has not said again that they watch is forgotten.
FORGOTTEN = 15.0
# Seconds between two letters, and between two looks whether a stream has ended: then the next one is due at once.
EVERY = 1.0
LOOK = 0.2

# Who speaks, as bits.
CALLER, US = 1, 2


class Watched:
    """A stream whose call is on somebody's list."""

    def __init__(self, live: LiveStream) -> None:
        # What we play is on tape, silence is not; of the caller nobody has kept when they spoke last.
        self.meter = Meter(said_until=live.tape.outbound.end)
        #: The kind of what happened last; "" if nothing has.
        self.event = ""
        self.event_at = 0.0

    def hear(self, rows: Sequence[AnyRow]) -> None:
        self.meter.hear(rows)
        for row in rows:
            if type(row) is not ChunkRow and (event := event_of(row)):
                self.event, self.event_at = event, time.monotonic()

    def tell(self, live: LiveStream, at: float) -> dict[str, Any]:
        """Its part of a letter, at that monotonic time: levels 0-127, one byte a beat; times in ms."""
        now, caller, us = live.clock.now(at), self.meter.caller, self.meter.us
        told: dict[str, Any] = {
            "call": live.call_sid,
            "levels": [caller.take(), us.take()],
            "speak": CALLER * caller.speaks(now) | US * us.speaks(now),
            "is_paused": live.tape.inbound.paused,
        }
        # What is not recorded is not heard here either, and on a stream that only listens it is not us who answer.
        if live.bidirectional and not live.tape.inbound.paused and (wait := self.meter.wait(now)) is not None:
            told["wait"] = wait // SAMPLES_PER_MS
        if self.event:
            told["event"] = [self.event, round((at - self.event_at) * 1000)]
        return told


class Meters:
    """One process's. A Listener of the switchboard's."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        #: Until when the process with that address watches.
        self._watchers: dict[str, float] = {}
        #: By StreamSid.
        self._watched: dict[str, Watched] = {}
        self._wake = asyncio.Event()
        self._number = 0

    @property
    def is_needed(self) -> bool:
        return bool(self._watchers)

    def watch(self, letter: Letter) -> None:
        """A process watches from now on, or does not any more."""
        if letter["watches"]:
            self._watchers[letter["from"]] = time.monotonic() + FORGOTTEN
        else:
            self._watchers.pop(letter["from"], None)
        self._wake.set()

    def hear(self, live: LiveStream, rows: Sequence[AnyRow]) -> None:
        watched = self._watched.get(live.sid)
        if watched is None:
            watched = self._watched[live.sid] = Watched(live)
        watched.hear(rows)

    def flush(self) -> None:
        """There is one letter for all parts of the beat."""

    async def run(self) -> None:
        """Sends the letters, for as long as the process lives."""
        while True:
            if not self._watchers:
                self._watched.clear()
                self._wake.clear()
                await self._wake.wait()
            await self._pause()
            now = time.monotonic()
            self._watchers = {who: until for who, until in self._watchers.items() if until > now}
            if self._watchers:
                try:
                    # Those who watch see that nothing comes.
                    with suppress(PostAway):
                        await post.publish(GROUP, self.letter(now))
                except Exception:
                    logger.exception("meters_failed; going on")

    async def _pause(self) -> None:
        until = time.monotonic() + EVERY
        await asyncio.sleep(min(EVERY, LOOK))
        while time.monotonic() < until and self._watched.keys() <= switchboard.live.keys():  # noqa: ASYNC110
            await asyncio.sleep(LOOK)

    def letter(self, at: float) -> Letter:
        """What there is to tell at that monotonic time. Which calls are not in it any more have no stream here."""
        live = {sid: one for sid, one in switchboard.live.items() if not one.lifetime.is_over}
        self._watched = {sid: one for sid, one in self._watched.items() if sid in live}
        # Of two streams of a call the one on which we speak comes last, and counts.
        order = sorted(self._watched, key=lambda sid: live[sid].bidirectional)
        self._number += 1
        calls = [self._watched[sid].tell(live[sid], at) for sid in order]
        return {"type": "meters.told", "from": self._owner, "number": self._number, "calls": calls}


def event_of(row: AnyRow) -> str:
    """What a row tells, if that is worth a word in a list: the kind of an event, or one of our own. "" if it is not.

    Which key was pressed is for the call's page: it may turn out to be secret a moment later.
    """
    match row:
        case DtmfRow():
            return "key"
        case EventRow():
            return row.kind
        case MarkRow() if row.outcome != "pending":
            return f"{'play' if row.name.startswith(OWN_MARK) else 'mark'}-{row.outcome}"
    return ""
