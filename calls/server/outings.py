"""Callers who were sent to another number, and the handlers that wait for them to come back.

A handler that dials leaves its stream, which ends as any other: with its last rows, and without its handler. That goes
on with the stream on which the caller returns, in this process or carried here by another one (`relay`).
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Protocol

import msgspec
from django.utils import timezone

from calls import about
from calls.media.protocol import StateError
from calls.server.departures import Departure, Order
from calls.server.live_stream import LiveStream, handled
from calls.server.outgoing import StreamEnded
from calls.server.tickets import Dialled, ReturnTicket


class Handling(Protocol):
    """The handler that waits (`talker`)."""

    has_failed_late: bool

    def go_on(self, live: LiveStream) -> None: ...
    async def let_finish(self) -> None: ...
    def cut_later(self) -> None: ...
    def cancel(self) -> None: ...


class Outing:
    """One caller's, from `dial` until it returns or raises."""

    def __init__(self, live: LiveStream, order: Order, rebind: Callable[[LiveStream], None]) -> None:
        """`rebind` gives the handler the stream on which they return."""
        ticket = ReturnTicket(live.call_sid, secrets.token_hex(9), live.socket.address)
        self.order = order
        self.departure = Departure(order, ticket)
        self.key = ticket.key
        #: The stream that it was left for, and then the one on which they are back.
        self.live = live
        self.began = time.monotonic()
        self._rebind = rebind
        self._handling: Handling | None = None
        self._loop = asyncio.get_running_loop()
        self._back: asyncio.Future[Dialled] = self._loop.create_future()
        self._over = asyncio.Event()
        #: Whether the caller will not come back.
        self.is_lost = False

    async def until_back(self) -> Dialled:
        return await self._back

    async def until_gone(self) -> None:
        await self._over.wait()

    @property
    def is_awaited(self) -> bool:
        return not self._back.done()

    def leave(self, handling: Handling) -> None:
        """The stream ends, and its handler goes on here."""
        self._handling = handling

    @property
    def handling(self) -> Handling:
        assert self._handling is not None, "who has not left is not waited for"
        return self._handling

    def come_back(self, live: LiveStream, dialled: Dialled | None) -> None:
        """The caller is on another stream, which is the handler's from here on."""
        dialled = dialled or Dialled("unknown")
        if self.live.recording_paused:
            live.pause_recording()
        live.tape.event(*("returned", timezone.now()), number=self.order.number, **msgspec.structs.asdict(dialled))
        live.prepared = self.live.prepared
        self.live = live
        self.handling.go_on(live)
        self._rebind(live)
        self._back.set_result(dialled)

    def abandon(self) -> None:
        """They will not: the handler learns that as it does of a caller who has hung up."""
        self.is_lost = True
        if self.is_awaited:
            self._back.set_exception(StreamEnded(f"{self.live.sid}: the caller has not come back"))

    def lose(self) -> None:
        """The same, for a handler that no stream looks after: it has a few seconds to clean up."""
        if self.is_awaited and self._handling is not None:
            self.abandon()
            self._handling.cut_later()

    def give_up(self) -> None:
        """The handler is done. It may have left a task that waits."""
        self._back.cancel()

    def cut(self) -> None:
        """This process ends."""
        if self._handling is not None:
            self._handling.cancel()
        self.give_up()

    def note_over(self) -> None:
        self._over.set()


class Outings:
    """Those of this process, by their keys."""

    def __init__(self) -> None:
        self.away: dict[str, Outing] = {}

    def __len__(self) -> int:
        return len(self.away)

    def add(self, outing: Outing) -> None:
        # Its handler may have given it up in the meantime.
        if outing.is_awaited:
            self.away[outing.key] = outing

    def forget(self, outing: Outing) -> None:
        self.away.pop(outing.key, None)
        outing.note_over()

    def find(self, key: str) -> Outing | None:
        """The outing of that key, if its handler still waits."""
        outing = self.away.get(key)
        return outing if outing is not None and outing.is_awaited else None

    def of_call(self, call_sid: str) -> Outing | None:
        return next((outing for outing in self.away.values() if outing.live.call_sid == call_sid), None)

    def lose(self, call_sid: str) -> None:
        """The call is over. From the event loop."""
        if outing := self.of_call(call_sid):
            outing.lose()

    def cut(self) -> None:
        """The process ends: nobody waits any more."""
        for outing in [*self.away.values()]:
            outing.cut()


# Those of this process.
outings = Outings()


async def dial(live: LiveStream, order: Order, rebind: Callable[[LiveStream], None]) -> Dialled:
    """Sends a stream's caller to another number, and waits until they are back, on a stream that `rebind` is given.

    StateError where nothing can be sent, or somebody is dialled already; StreamEnded if the call ends meanwhile.
    """
    if live.outing is not None:
        raise StateError("the caller is on the way to another number already")
    live.outgoing.check_open()
    live.protocol.check_sending("dial")
    live.outing = outing = Outing(live, order, rebind)
    try:
        await live.let_hear()
        live.outgoing.check_open()
        live.fall_silent()
        live.lifetime.end("dial")
        if live.lifetime.reason != "dial":
            raise StreamEnded(f"{live.sid} is over")
        dialled = await outing.until_back()
    finally:
        outings.forget(outing)
        if live.lifetime.reason != "dial":
            live.outing = None
    handled.set(outing.live)
    about.note(outing.live.call_sid, outing.live.sid)
    return dialled
