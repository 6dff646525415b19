"""Something that is being said: how much of it the caller has heard, and the handle to stop it or to take it back."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.utils import timezone

from calls.media.audio import SAMPLES_PER_MS
from calls.media.script import Cue, Speech
from calls.media.tape import Tape
from calls.server.barge_in import BargeIn
from calls.server.inbox import Outcome
from calls.server.marks import Settled
from calls.server.mistakes import sentence
from calls.server.outgoing import StreamEnded
from calls.server.speaking import Speaking
from calls.server.speeches import Cues


logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Played:
    """What became of something that was said: "played" if the caller heard all of it, or "cleared".

    `heard_ms` is what the caller heard of it, as the recording has it, and `sent_ms` what Twilio was given. It is the
    first one that a realtime model has to know, or it believes that it was listened to.

    `play` used to return the outcome alone, so a `Played` equals that word.
    """

    outcome: Outcome
    heard_ms: int
    sent_ms: int

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Played):
            return (self.outcome, self.heard_ms, self.sent_ms) == (other.outcome, other.heard_ms, other.sent_ms)
        return self.outcome == other

    def __hash__(self) -> int:
        return hash(self.outcome)


class Playing:
    """Something that is being said, or waits for its turn. `await` it for a `Played`.

    An error of its source is raised there, and is in the log and on the call's page in any case.
    """

    def __init__(self, speaking: Speaking, speech: Speech, tape: Tape) -> None:
        self._speaking = speaking
        self._tape = tape
        #: What of it waits, was sent and was heard.
        self.speech = speech
        #: What the mark behind it came to, what adds to it, and what it came to in the end.
        self._cue: Cue[Settled] | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._result: asyncio.Task[Played] | None = None
        self._interrupted: asyncio.Future[None] | None = None
        self._is_paused = False
        #: Lets the caller speak without interrupting it.
        self._ignore: Callable[[], None] = lambda: None

    def __await__(self) -> Generator[Any, None, Played]:
        """Waits until the caller has heard it, or it was cleared."""
        if self._result is None:
            self._result = asyncio.create_task(self._told_later())
        # Who waits may be cancelled; what is being said is not.
        return asyncio.shield(self._result).__await__()

    @property
    def heard_ms(self) -> int:
        """What the caller has heard of it by now."""
        return self._speaking.heard(self.speech) // SAMPLES_PER_MS

    @property
    def sent_ms(self) -> int:
        """What Twilio was given of it by now."""
        return self._speaking.sent(self.speech) // SAMPLES_PER_MS

    async def clear(self) -> None:
        """What the caller has not heard of it yet is never heard; what was said after it follows at once."""
        if not self._is_over and (self._is_paused or await self._speaking.take_out(self.speech, self._cues)):
            self._speaking.give_up(self.speech)

    async def pause(self) -> None:
        """The caller hears no more of it for now: Twilio's buffer is cleared, and what was said after it follows."""
        if self._is_paused or self._is_over:
            return
        self._is_paused = await self._speaking.take_out(self.speech, self._cues)
        if self._is_paused:
            self._note("playback-paused", heard_ms=self.heard_ms)

    async def resume(self) -> None:
        """Goes on from the first sample that was not heard, before everything else that waits."""
        if self._is_paused and not self._is_over:
            self._is_paused = False
            self._note("playback-resumed", heard_ms=self.heard_ms)
            await self._speaking.put_in(self.speech)

    # --- what says it -------------------------------------------------------------------------------------------------

    def begin(self, feeding: Coroutine[Any, Any, None], barge_in: BargeIn | None = None) -> None:
        """Puts it behind what was said before. `feeding` adds to it; with `barge_in` the caller may interrupt it."""
        self._cue = cue = Cue(played=asyncio.get_running_loop().create_future())
        self._speaking.say(self.speech, cue)
        self._feeding = asyncio.create_task(feeding)
        if barge_in is not None and not self.speech.is_over:
            self._interrupted = barge_in.watch()
            self._ignore = partial(barge_in.stop, self._interrupted)

    def go_on(self) -> None:
        """Sees it through in a task of its own, whether or not somebody waits for it."""
        self._result = asyncio.create_task(self.see_through())
        # Its error is told where it is made.
        self._result.add_done_callback(lambda result: result.cancelled() or result.exception())

    async def see_through(self) -> Played:
        """Until its mark is back or missed, or its source fails. Given up, only what was sent of it is heard."""
        cue, feeding, interrupted = self._cue, self._feeding, self._interrupted
        assert cue is not None  # it was begun
        try:
            while (outcome := await self._speaking.settled(cue, feeding, interrupted)) is None:
                if interrupted is not None and interrupted.done():
                    interrupted = None
                    await self._speaking.clear()
                if feeding is not None and feeding.done():
                    await self._check(feeding)
                    feeding = None
            return self._played(outcome)
        except asyncio.CancelledError:
            self._speaking.stop(self.speech, self._cues)
            raise
        finally:
            self._ignore()
            if feeding is not None:
                feeding.cancel()

    # --- inside -------------------------------------------------------------------------------------------------------

    @property
    def _cues(self) -> Cues:
        return [] if self._cue is None else [self._cue]

    @property
    def _is_over(self) -> bool:
        """Whether nothing more of it will be heard."""
        return self.speech.is_over or self._speaking.is_over

    async def _check(self, feeding: asyncio.Task[None]) -> None:
        """Raises what its source has raised, after everybody was told."""
        error = feeding.exception()
        if error is None or isinstance(error, StreamEnded):
            # The stream's end settles what is under way.
            return
        logger.error("source_failed call=%s", self._tape.call_sid, exc_info=error)
        self._note("source-failed", error=sentence(error))
        await self._speaking.break_off(self.speech, self._cues)
        raise error

    async def _told_later(self) -> Played:
        """Of chunks, which have no mark of their own: one behind all that was said until now tells."""
        if self._is_over and not self._speaking.is_held:
            return self._played("cleared" if self.speech.is_cut else "played")
        return self._played(await self._speaking.until_heard())

    def _note(self, kind: str, **data: Any) -> None:
        self._tape.event(kind, timezone.now(), **data)

    def _played(self, outcome: Outcome) -> Played:
        return Played(outcome, self.heard_ms, self.sent_ms)
