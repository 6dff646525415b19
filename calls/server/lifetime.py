"""Whether a live stream is over, and why: the one place that knows, for everybody who asks."""

import asyncio
import enum


class Phase(enum.IntEnum):
    #: Audio flows.
    LIVE = 0
    #: There is a reason to end it; what has arrived is still taken, and what plays is still heard.
    ENDING = 1
    #: The caller hears nothing any more: whatever is sent or said from here on was not heard.
    OVER = 2
    #: Its last rows are with the recorder.
    RECORDED = 3
    #: Nobody holds it any more.
    GONE = 4


class Lifetime:
    """Phases only ever go up, and the first reason stays."""

    __slots__ = ("_ending", "_gone", "is_over", "is_recorded", "phase", "reason")

    def __init__(self) -> None:
        self.phase = Phase.LIVE
        #: Whether the caller hears nothing any more. A field of its own: it is looked at for every frame.
        self.is_over = False
        #: Whether its last rows are with the recorder. So is this one, for every beat.
        self.is_recorded = False
        #: One of Stream.EndReason, or "refused"; "" while there is none.
        self.reason = ""
        self._ending = asyncio.Event()
        self._gone = asyncio.Event()

    def end(self, reason: str) -> None:
        """The stream is to end, for the first reason that comes."""
        if not self.reason:
            self.reason = reason
            self._reach(Phase.ENDING)
            self._ending.set()

    def fall_silent(self) -> bool:
        """The caller hears nothing any more. False if that was so before."""
        if self.is_over:
            return False
        self._reach(Phase.OVER)
        return True

    def note_recorded(self) -> None:
        self._reach(Phase.RECORDED)

    def let_go(self) -> None:
        self._reach(Phase.GONE)
        self._gone.set()

    @property
    def is_ending(self) -> bool:
        return bool(self.reason)

    async def until_ending(self) -> str:
        """Waits for the reason."""
        await self._ending.wait()
        return self.reason

    async def until_gone(self) -> None:
        await self._gone.wait()

    def _reach(self, phase: Phase) -> None:
        self.phase = max(self.phase, phase)
        self.is_over = self.phase >= Phase.OVER
        self.is_recorded = self.phase >= Phase.RECORDED
