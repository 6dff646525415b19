"""An iteration over an inbox, where calls/quick is not built: that has the same in C."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from calls.server.inbox import Event, Inbox


class Reader(AsyncIterator["Event"]):
    """Unlike a generator it goes on after somebody who waited for it was cancelled: `wait_for(anext(reader), 1)`."""

    __slots__ = ("_inbox", "_is_counted", "_is_finished", "_is_waiting", "_only_media")

    def __init__(self, inbox: "Inbox", *, only_media: bool = False) -> None:
        self._inbox = inbox
        self._only_media = only_media
        self._is_counted = self._is_waiting = self._is_finished = False

    async def __anext__(self) -> "Event":
        """RuntimeError if somebody waits for this iterator already."""
        if not (self._is_counted or self._is_finished):
            self._is_counted = True
            self._inbox.count_reader(1)
        while not self._is_finished:
            if (event := self._inbox.take(only_media=self._only_media)) is not None:
                return event
            if self._inbox.is_over:
                self._finish()
            else:
                await self._wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._finish()

    def __del__(self) -> None:
        self._finish()

    async def _wait(self) -> None:
        if self._is_waiting:
            raise RuntimeError("somebody else waits for the next event of this iterator")
        self._is_waiting = True
        try:
            await self._inbox.until_news()
        finally:
            self._is_waiting = False

    def _finish(self) -> None:
        if self._is_counted and not self._is_finished:
            self._inbox.count_reader(-1)
        self._is_finished = True
