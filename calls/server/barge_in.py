"""Whether the caller interrupts what is being played: with a key, or by speaking."""

import asyncio
from collections.abc import Callable

from django.utils import timezone

from calls.media.tape import Tape
from calls.media.turns import Span, Turns
from calls.server.ear import USUAL_SILENCE, Ear


class BargeIn:
    """One stream's watch for it, while a play wants to be interrupted. A Listener of the ear's meanwhile."""

    def __init__(self, tape: Tape, listen: Callable[[], Ear]) -> None:
        """`listen` opens the stream's ear."""
        self._tape = tape
        self._listen = listen
        #: Set by an interruption; None while nothing watches.
        self.awaited: asyncio.Future[None] | None = None
        self.turns = Turns(USUAL_SILENCE)

    def watch(self) -> asyncio.Future[None]:
        """Resolved by a key, or by 96 ms of speech from now on: somebody who speaks already has to go on."""
        self.turns = Turns(USUAL_SILENCE)
        if self.awaited is None:
            self._listen().join(self)
        self.awaited = asyncio.get_running_loop().create_future()
        return self.awaited

    def stop(self, awaited: asyncio.Future[None]) -> None:
        """Nobody waits for this one any more."""
        if self.awaited is awaited:
            self._end()

    def take(self, span: Span | None) -> None:
        """The ear has heard something."""
        if self.turns.is_speaking:
            self.interrupt("speech")

    def skip(self, at: int) -> None:
        """What was said before there counts for nothing."""
        self.turns = self.turns.anew(at)

    def interrupt(self, by: str) -> None:
        """The caller has pressed a key or spoken."""
        if self.awaited is not None:
            if not self.awaited.done():
                self.awaited.set_result(None)
                self._tape.event("barge-in", timezone.now(), by=by)
            self._end()

    def _end(self) -> None:
        self.awaited = None
        self._listen().leave(self)
