"""What this process tells of the calls that it holds, to those who follow them from this or another process.

Once a second a followed call tells how long it is, and at once that something has happened. Only if somebody listens
does its audio cross the layer: what the recorder was given of it, as it is. So all that follow this process's calls
cost it a few letters a second, however many they are. Letters are numbered, since the
layer loses some.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from calls.media.rows import AnyRow, ChunkRow, StreamChange
from calls.post.post import Letter, PostAway, post
from calls.server.live_stream import LiveStream
from calls.supervision.outlines import Outlines


# Seconds after which who has not said again that they follow is forgotten.
FORGOTTEN = 15.0
# Seconds between two words of a call of which nothing is new.
EVERY = 1.0
# Parts of the beat that wait for a slow layer: half a second of them at most, as older audio is worth nothing.
MOST_WAITING = 20
# Seconds for which what others of the many calls have to tell is gathered: a letter costs this process's loop more than
# what is in it, and a call that is heard alone never waits.
GATHER = 0.09

INBOUND, OUTBOUND = 0, 1


def group(owner: str) -> str:
    """The group of the processes that follow calls which that one holds."""
    return f"audience.{owner}"


class Audience:
    """One process's. A Listener of the switchboard's."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        #: By the address of a process: until when it follows, and which calls; True for those that it listens to.
        self._followers: dict[str, tuple[float, dict[str, bool]]] = {}
        #: By CallSid: whether somebody listens, or only wants to know.
        self._wanted: dict[str, bool] = {}
        #: By the address of a process: the calls of which it wants the waveform; and all of these together.
        self._drawing: dict[str, set[str]] = {}
        self._drawn: set[str] = set()
        self._outlines = Outlines()
        #: By StreamSid: when it was told of last.
        self._told: dict[str, float] = {}
        self._entries: list[dict[str, Any]] = []
        #: What each part of the beat had to tell.
        self._waiting: deque[list[dict[str, Any]]] = deque(maxlen=MOST_WAITING)
        self._wake = asyncio.Event()
        self._number = 0

    @property
    def is_needed(self) -> bool:
        return bool(self._wanted)

    def follow(self, letter: Letter) -> None:
        """A process says which of our calls it follows from now on: these and no others. ValueError if it does not."""
        who, calls = letter["from"], letter["calls"]
        if not (isinstance(who, str) and isinstance(calls, dict) and all(isinstance(sid, str) for sid in calls)):
            raise ValueError("this says nothing of who follows what")
        drawn = {sid for sid in letter.get("drawn", ()) if isinstance(sid, str)}
        self._followers[who] = (time.monotonic() + FORGOTTEN, {sid: listens is True for sid, listens in calls.items()})
        self._drawing[who] = drawn & set(calls)
        self._count()

    def _count(self) -> None:
        now = time.monotonic()
        self._followers = {who: what for who, what in self._followers.items() if what[0] > now and what[1]}
        wanted: dict[str, bool] = {}
        for _, calls in self._followers.values():
            for sid, listens in calls.items():
                wanted[sid] = wanted.get(sid, False) or listens
        self._wanted = wanted
        self._drawing = {who: drawn for who, drawn in self._drawing.items() if who in self._followers}
        self._drawn = {sid for drawn in self._drawing.values() for sid in drawn}
        self._told = {stream: at for stream, at in self._told.items() if now - at < FORGOTTEN}
        self._outlines.forget(set(self._told))

    # --- what is told -------------------------------------------------------------------------------------------------

    def hear(self, live: LiveStream, rows: Sequence[AnyRow]) -> None:
        listens = self._wanted.get(live.call_sid)
        if listens is None:
            return
        is_drawn = live.call_sid in self._drawn
        if is_drawn:
            self._outlines.add(live.sid, rows)
        is_new = any(_is_news(row) for row in rows)
        now = time.monotonic()
        if not (listens or is_new or now - self._told.get(live.sid, 0.0) >= EVERY):
            return
        self._told[live.sid] = now
        entry = {
            "call": live.call_sid,
            "stream": live.sid,
            "end": live.tape.length,
            "is_new": is_new,
            "is_paused": live.tape.inbound.paused,
            "is_unrecorded": live.tape.inbound.paused and not live.recording_paused,
            "is_bidirectional": live.bidirectional,
        }
        if is_drawn:
            entry["peaks"] = self._outlines.take(live.sid)
        if listens:
            entry["audio"] = [
                (INBOUND if row.track == "inbound" else OUTBOUND, row.start, row.payload)
                for row in rows
                if type(row) is ChunkRow
            ]
        self._entries.append(entry)

    def flush(self) -> None:
        if not self._entries:
            return
        if len(self._waiting) == MOST_WAITING:
            # What a slow layer keeps is dropped from the front, and its number is missed.
            self._number += 1
        self._waiting.append(self._entries)
        self._entries = []
        self._wake.set()

    async def run(self) -> None:
        """Sends what is told, for as long as the process lives."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FORGOTTEN):
                    await self._wake.wait()
            self._wake.clear()
            self._count()
            if self._waiting:
                # Whoever followed learns from the numbers that something is missing.
                with suppress(PostAway):
                    await post.publish(group(self._owner), self._letter())
                await asyncio.sleep(GATHER)

    def _letter(self) -> Letter:
        self._number += 1
        streams = [*chain.from_iterable(self._waiting)]
        self._waiting.clear()
        return {"type": "audience.told", "from": self._owner, "number": self._number, "streams": streams}


def _is_news(row: AnyRow) -> bool:
    return not (type(row) is ChunkRow or (type(row) is StreamChange and row.is_of_counters))
