"""Gives one lane to a transcriber for as long as it runs, and again to another one if that fails."""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import aclosing

from calls import about, tracing
from calls.media.audio import SAMPLE_RATE
from calls.media.reel import Reel
from calls.media.rows import UtteranceRow
from calls.speech.transcribers import Refused, Transcribe


logger = logging.getLogger(__name__)

# Seconds between attempts: twice as many after each that brought nothing.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# Samples that may wait where all of a lane is there at once.
LITTLE = 5 * SAMPLE_RATE
CUT_OFF = "the call was over before the transcriber had answered"


class Scribe:
    """One lane's. It costs nothing before there is sound."""

    def __init__(
        self,
        call: str,
        stream: str,
        track: str,
        transcribe: Transcribe,
        tell: Callable[[UtteranceRow], None],
        tries: float = math.inf,
    ) -> None:
        """`tell` is given what is understood, at once. After that many failures in a row the rest is given up."""
        self.call, self.stream, self.track, self.reel = call, stream, track, Reel()
        self._transcribe, self._tell, self._tries = transcribe, tell, tries
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None
        #: How often in a row it failed, and why it did last.
        self._failed, self._why = 0, ""
        #: Why it was never any use to try.
        self.refusal = ""

    def put(self, start: int, audio: bytes) -> None:
        self.reel.put(start, audio)
        self._news.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def rest(self, now: int) -> None:
        """The lane is known up to that position."""
        self.reel.rest(now)
        if self.reel.waits:
            self._news.set()

    def close(self) -> None:
        """Nothing more comes."""
        self.reel.pause()
        self._is_closed = True
        self._news.set()

    async def until_room(self) -> None:
        """Waits until little waits: for who has all of a lane at once."""
        while self.reel.waits > LITTLE and self._task and not self._task.done():
            self._room.clear()
            await self._room.wait()

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        return {self._task} if self._task else set()

    async def cut_off(self) -> None:
        """It was given time enough: what it has not understood by now is missing."""
        if self._task and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
            self.reel.abandon(self._why or CUT_OFF)

    def audio(self) -> "Audio":
        return Audio(self)

    async def next_piece(self) -> bytes:
        """Waits for the next one; empty if nothing more comes."""
        while not (piece := self.reel.take()):
            if self._is_closed:
                return b""
            self._news.clear()
            await self._news.wait()
        self._room.set()
        return piece

    async def _run(self) -> None:
        # What gave it the first sound works for all calls.
        about.note(self.call, self.stream)
        try:
            await self._insist()
        finally:
            self._room.set()

    async def _insist(self) -> None:
        while True:
            try:
                await self._listen()
                return
            except Refused as error:
                logger.error("transcriber_refused stream=%s lane=%s: %s", self.stream, self.track, _reason(error))
                self.refusal = f"the transcriber refused: {_reason(error)}"
                self.reel.abandon(self.refusal)
                return
            except (Exception, SystemExit, asyncio.CancelledError) as error:  # whatever somebody else's code raises
                if _is_cancelled():
                    raise
                self._note_failure(error)
                if self._failed >= self._tries:
                    self.reel.abandon(self._why)
                    return
            await asyncio.sleep(min(FIRST_PAUSE * 2 ** (self._failed - 1), LONGEST_PAUSE))

    async def _listen(self) -> None:
        with tracing.span("transcriber", lane=self.track):
            await self._hear_all()

    async def _hear_all(self) -> None:
        async with aclosing(self._transcribe(self.audio())) as heard:
            async for each in heard:
                if row := self.reel.hear(self.stream, self.track, each):
                    self._failed, self._why = 0, ""
                    self._tell(row)
        if not self._is_closed or self.reel.waits:
            raise ConnectionError("the transcriber ended before the call")
        self.reel.settle()

    def _note_failure(self, error: BaseException) -> None:
        self._failed, self._why = self._failed + 1, f"the transcriber failed: {_reason(error)}"
        if self._failed == 1:
            logger.warning(
                "transcriber_failed stream=%s lane=%s: %s; it is tried again", self.stream, self.track, _reason(error)
            )
        self.reel.rewind(self._why)


class Audio:
    """What a transcriber is given: an async iterator that may be cancelled while it waits, and goes on after."""

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe

    def __aiter__(self) -> "Audio":
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._scribe.next_piece():
            return piece
        raise StopAsyncIteration


def _is_cancelled() -> bool:
    """Whether it was we who gave up. A transcriber may also have waited for a task of its own that it had cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _reason(error: BaseException) -> str:
    """One line, of what may come from far away."""
    text = str(error) if type(error) in (Refused, ConnectionError) else f"{type(error).__name__}: {error}"
    return ascii(" ".join(text.split()))[1:-1][:200]
