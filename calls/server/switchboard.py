"""The streams of this process: how many there are, their common beat, and their common end."""

import asyncio
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, Protocol, TypeVar

from django.conf import settings

from calls.media.rows import AnyRow
from calls.recorder import recorder
from calls.security import UsedNonces
from calls.server.departures import Departure
from calls.server.live_stream import LiveStream
from calls.server.outings import Outing, outings
from calls.server.relay import Relay
from calls.server.stalls import Stall


logger = logging.getLogger(__name__)

# Seconds between updates of a stream's counters while it runs.
COUNTERS_EVERY = 2.0
# Seconds, of those of a drain, in which the proxy finds out that no more calls are wanted. It asks once a second, and
# waits 2 s for an answer.
NOTICE = 3.0
# The streams are handed over in this many parts, so that neither the loop nor the writer delays the others' audio.
PARTS = 8
# Seconds between two callers who are sent to another worker, and at most for all of them. At once, forty of them waited
# for each other, and each for a second or two: a move costs both workers a tenth of a second.
TURN, ALL_TURNS = 0.1, 5.0
# Seconds after which a drain ends whatever has begun since it ended all.
CUT_AGAIN = 0.2
# Calls whose ends are known, for when Twilio asks how they go on.
REMEMBERED = 10_000

V = TypeVar("V")


class Listener(Protocol):
    """Somebody who wants to know what streams record, as they do (calls.supervision). Nothing of it waits."""

    @property
    def is_needed(self) -> bool:
        """Whether anybody listens at all: nothing else is asked while nobody does."""

    def hear(self, live: LiveStream, rows: Sequence[AnyRow]) -> None:
        """What a stream has recorded since its last beat."""

    def flush(self) -> None:
        """A part of the streams has had its turn."""


class Switchboard:
    """The streams of this process: how many, which, and whether new ones are taken."""

    def __init__(self) -> None:
        self.live: dict[str, LiveStream] = {}
        #: The same, in parts of one size that are handed over one after the other.
        self._parts: list[dict[str, LiveStream]] = [{} for _ in range(PARTS)]
        #: Sockets that are carried to another worker.
        self.relays: set[Relay] = set()
        #: How long each socket may still take to its `start`.
        self.starting: set[asyncio.Timeout] = set()
        #: We are about to drain: not ready, so that nobody new is sent here, but whoever still comes is taken.
        self.leaving = False
        self.draining = False
        self.nonces = UsedNonces()
        #: How the last conversations ended, by CallSid, so that /stream-ended need not ask the database.
        self.finished: OrderedDict[str, str] = OrderedDict()
        #: How calls go on whose stream's end somebody else has asked for, likewise.
        self.departures: OrderedDict[str, Departure] = OrderedDict()
        #: Who hears what streams record.
        self.listeners: list[Listener] = []
        self._pulse: asyncio.Task[None] | None = None
        recorder.on_refused = self._refuse

    @property
    def count(self) -> int:
        """Of streams that run, of sockets that are carried, and of handlers that wait for their callers."""
        return len(self.live) + len(self.relays) + len(outings)

    @property
    def is_draining(self) -> bool:
        """Whether it takes no new calls, or is about to."""
        return self.leaving or self.draining

    @property
    def is_full(self) -> bool:
        """Whoever was sent to another number has a place for when they are back."""
        return self.count >= int(settings.MAX_STREAMS)

    def add(self, live: LiveStream) -> None:
        self.live[live.sid] = live
        min(self._parts, key=len)[live.sid] = live
        # How a stream before this one ended says nothing of how this one will; one that listens beside it neither.
        if live.bidirectional:
            self.finished.pop(live.call_sid, None)
            self.departures.pop(live.call_sid, None)
        if self._pulse is None or self._pulse.done():
            # In a context of its own: it is no call's, and outlives the stream that came first.
            self._pulse = asyncio.create_task(self._beat(), context=Context())

    def remove(self, live: LiveStream) -> None:
        self.live.pop(live.sid, None)
        for part in self._parts:
            part.pop(live.sid, None)

    def note_finished(self, call_sid: str, how: str) -> None:
        _remember(self.finished, call_sid, how)

    def note_departure(self, call_sid: str, departure: Departure) -> None:
        _remember(self.departures, call_sid, departure)

    def note_stall(self, stall: Stall) -> None:
        """The event loop stood still, and with it every call of this process."""
        for live in self.live.values():
            live.note_stall(stall)

    def _refuse(self, stream_sid: str) -> None:
        """Called from the writer thread: another process has used this stream's token before."""
        if live := self.live.get(stream_sid):
            live.loop.call_soon_threadsafe(live.lifetime.end, "refused")

    async def _beat(self) -> None:
        """Hands every stream's rows to the writer once in RECORDER_FLUSH_SECONDS, a part of the streams at a time."""
        at = time.monotonic()
        every = max(1, round(COUNTERS_EVERY / settings.RECORDER_FLUSH_SECONDS))
        for turn in itertools.count():
            if not self.live:
                return
            at = max(at + settings.RECORDER_FLUSH_SECONDS / PARTS, time.monotonic() - settings.RECORDER_FLUSH_SECONDS)
            await asyncio.sleep(at - time.monotonic())
            round_, part = divmod(turn, PARTS)
            try:
                self._hand_over(self._parts[part], with_counters=(round_ + part) % every == 0)
            except Exception:
                logger.exception("beats_failed; going on")

    def _hand_over(self, part: dict[str, LiveStream], *, with_counters: bool) -> None:
        at = time.monotonic()
        # One that is recorded waits for its last commit.
        running = [live for live in part.values() if not live.lifetime.is_recorded]
        rows: list[AnyRow] = []
        heard: list[tuple[LiveStream, list[AnyRow]]] = []
        for live in running:
            try:
                new = live.beat(at, with_counters=with_counters)
            except Exception:
                # A defect of ours in one stream must not cost the others their rows.
                logger.exception("beat_failed call=%s stream=%s; going on", live.call_sid, live.sid)
            else:
                rows += new
                heard.append((live, new))
        recorder.submit(rows, can_wait=True)
        for listener in self.listeners:
            try:
                if listener.is_needed:
                    for live, new in heard:
                        listener.hear(live, new)
                    listener.flush()
            except Exception:
                # Nor may whoever listens to them.
                logger.exception("audience_failed; going on")

    async def carry(self, relay: Relay, opening: Sequence[str]) -> bool:
        """Has a socket carried to its end. False if nobody waits where it leads."""
        self.relays.add(relay)
        try:
            return await relay.run(opening)
        finally:
            self.relays.discard(relay)
            relay.note_gone()

    def collect(self) -> None:
        """Hands over what handlers have written down of their calls while their callers are away."""
        for outing in outings.away.values():
            if outing.live.lifetime.is_recorded and (rows := outing.live.tape.cut_all()):
                recorder.submit(rows)

    async def drain(self, seconds: float | None, skip: asyncio.Event) -> int:
        """Lets the live streams finish for that long (or until `skip`), then ends them. Returns how many it ended.

        None: for as long as they take. Whoever cancels it has to say that new calls are taken again (`take_again`).

        So it does with those that are carried elsewhere, and with handlers that wait for their callers: these come back
        here, carried by others, for as long as they are waited for.

        New ones are taken for the first moments, while /healthz/ready already says no: until the proxy has asked it.
        """
        self.leaving = True
        notice = 0.0 if self.draining else NOTICE if seconds is None else min(NOTICE, seconds)
        with suppress(TimeoutError):
            await asyncio.wait_for(skip.wait(), notice)
        self.draining = True
        for limit in self.starting:
            if not limit.expired():
                limit.reschedule(0)
        finished = asyncio.create_task(self._all_gone())
        skipped = asyncio.create_task(skip.wait())
        waiting: set[asyncio.Task[Any]] = {finished, skipped}
        # In less than `NOTICE` the proxy has not noticed, and would send back here whoever is sent on.
        takes_turns = seconds is None or seconds >= NOTICE
        turns = min(len(self.live) * TURN, ALL_TURNS) if takes_turns else 0.0
        timeout = None if seconds is None else max(seconds - notice - turns, 0.0)
        try:
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            left = self.count
            if takes_turns:
                await self._cut_in_turn(waiting)
            while not finished.done():
                self._cut()
                # One of them may be on its way to wait for its caller just now.
                await asyncio.wait({finished}, timeout=CUT_AGAIN)
        finally:
            skipped.cancel()
            finished.cancel()
        return left

    def take_again(self) -> None:
        """New calls are taken again, after a drain that was called off."""
        self.leaving = self.draining = False

    def _rest(self) -> list[LiveStream | Relay | Outing]:
        return [*self.live.values(), *self.relays, *outings.away.values()]

    async def _cut_in_turn(self, waiting: set[asyncio.Task[Any]]) -> None:
        """Ends the streams one by one, until one of these tasks is done."""
        streams = [*self.live.values()]
        pause = min(TURN, ALL_TURNS / max(len(streams), 1))
        for live in streams:
            if any(task.done() for task in waiting):
                return
            live.lifetime.end("shutdown")
            await asyncio.wait(waiting, timeout=pause, return_when=asyncio.FIRST_COMPLETED)

    def _cut(self) -> None:
        for live in self.live.values():
            live.lifetime.end("shutdown")
        for relay in self.relays:
            relay.cut()
        self.collect()
        outings.cut()

    async def _all_gone(self) -> None:
        while left := self._rest():
            await left[0].until_gone()


def _remember(known: "OrderedDict[str, V]", call_sid: str, what: V) -> None:
    known[call_sid] = what
    while len(known) > REMEMBERED:
        known.popitem(last=False)


switchboard = Switchboard()
