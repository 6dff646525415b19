"""What has come for a handler that it has not taken yet: the caller's audio, keys, and marks that are back."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from calls import quick
from calls.media.formats import PLAIN, Encoding
from calls.media.frames import Frames
from calls.media.protocol import Dtmf, Media
from calls.server.lifetime import Lifetime
from calls.server.reading import Reader


if TYPE_CHECKING:
    from calls.quick import _quick

Outcome = Literal["played", "cleared"]

# Media that nobody has taken yet, in frames: 2 s.
QUEUE_FRAMES = 100


class Mark(msgspec.Struct, frozen=True):
    """A mark of the handler's came back: what was sent before it was heard, or cleared."""

    name: str
    outcome: Outcome


class Takeover(msgspec.Struct, frozen=True):
    """A person has talked to the caller in the handler's place, and has handed back: from when to when, in ms on the
    stream's own clock."""

    #: The name of the member of staff.
    user: str
    start_ms: int
    end_ms: int


class Control(msgspec.Struct, frozen=True):
    """Something was done to the call from outside (calls.server.control): "clear", "play", "hang-up" …"""

    act: str
    #: The name of the member of staff who did it; "" if it was code.
    user: str = ""


Event = Media | Dtmf | Mark | Control | Takeover


class Inbox:
    """One stream's, in the order of arrival. Putting something in never waits."""

    __slots__ = (
        "_events",
        "_later",
        "_lifetime",
        "_loop",
        "_media_queued",
        "_readers",
        "_room",
        "_waiters",
        "overruns",
    )

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime = lifetime
        #: Frames that were dropped because the handler was too slow.
        self.overruns = 0
        self._events: deque[Event] = deque()
        self._media_queued = 0
        #: How many frames may wait; below 0, none is taken.
        self._room = QUEUE_FRAMES
        #: What a handler is told that does not have its caller at the moment; None while it has.
        self._later: list[Event] | None = None
        self._readers = 0
        self._waiters: list[asyncio.Future[None]] = []
        # Asking for the running loop is a system call (getpid), and a stream waits 50 times a second.
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._events)

    def put_media(self, media: Media) -> None:
        """The oldest frame is dropped if the handler is more than 2 s behind."""
        if self._media_queued >= self._room and not self._make_room():
            return
        self._events.append(media)
        self._media_queued += 1
        if self._waiters:
            self.wake()

    def put(self, event: Dtmf | Mark | Control) -> None:
        """Keys, marks and what was done from outside are never dropped."""
        if self._later is None:
            self._events.append(event)
            self.wake()
        elif type(event) is not Dtmf:
            self._later.append(event)

    def skip(self) -> None:
        """Passes over what is here."""
        self._events.clear()
        self._media_queued = 0

    def hold(self) -> None:
        """The caller is somebody else's: what they say and press is not kept, and what waits of it is gone."""
        self._later = [event for event in self._events if type(event) not in (Media, Dtmf)]
        self._room = -1
        self.skip()
        self.wake()

    def release(self, takeover: Takeover) -> None:
        """The caller is back: the handler gets its marks, and is told."""
        self._events.extend((*(self._later or ()), takeover))
        self._later, self._room = None, QUEUE_FRAMES
        self.wake()

    def all(self) -> AsyncIterator[Event]:
        """Everything, until the stream is over. An event is given out once, even if several tasks iterate."""
        return self._read()

    def media(self, encoding: Encoding = "mulaw", rate: int = 8000) -> AsyncIterator[Media]:
        """The caller's audio alone, in that format; the rest is thrown away, whoever else waits for it."""
        if (encoding, rate) == PLAIN:
            return cast(AsyncIterator[Media], self._read(only_media=True))
        return self._converted(Frames(encoding, rate))

    def _read(self, *, only_media: bool = False) -> "Reader | _quick.Reader":
        if quick.reader is None:
            return Reader(self, only_media=only_media)
        return quick.reader(self, self._loop, only_media=only_media)

    async def _converted(self, frames: Frames) -> AsyncIterator[Media]:
        async with aclosing(self._read(only_media=True)) as coming:
            async for media in coming:
                for converted in frames.add(cast(Media, media)):
                    yield converted
        for converted in frames.end():
            yield converted

    # --- what a Reader asks -------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        return self._lifetime.is_over

    def count_reader(self, by: int) -> None:
        self._readers += by

    def take(self, *, only_media: bool = False) -> Event | None:
        """The oldest event; None if there is none. With `only_media` all others before it are thrown away."""
        while self._events:
            event = self._events.popleft()
            if type(event) is Media:
                self._media_queued -= 1
            elif only_media:
                continue
            return event
        return None

    async def until_news(self) -> None:
        """Until something happens. Several tasks may wait at once: what comes is whose that looks first."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    async def key(self, timeout: float) -> Dtmf | None:
        """Takes the next key; None after `timeout` seconds without one, or when the stream is over.

        The time begins anew when a caller is back whom somebody else had.
        """
        deadline = time.monotonic() + timeout
        while True:
            for at, event in enumerate(self._events):
                if type(event) is Dtmf:
                    del self._events[at]
                    return event
            left = deadline - time.monotonic()
            if self._later is not None and not self._lifetime.is_over:
                await self.until_news()
                deadline = time.monotonic() + timeout
                continue
            if self._lifetime.is_over or left <= 0:
                return None
            try:
                async with asyncio.timeout(left):
                    await self.until_news()
            except TimeoutError:
                return None

    def wake(self) -> None:
        """Something is new, or nothing will be any more."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _make_room(self) -> bool:
        """False if the handler does not get what the caller says."""
        if self._later is not None:
            return False
        self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        for at, event in enumerate(self._events):
            if type(event) is Media:
                del self._events[at]
                self._media_queued -= 1
                # Audio that nobody asked for is no overrun.
                self.overruns += self._readers > 0
                return
