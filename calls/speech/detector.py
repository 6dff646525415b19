"""Tells speech from noise for all streams of this process: one thread, one model, a few hand-overs a second.

A stream that wants it adds a Feed. Every 30 ms what has come for all feeds goes to the thread in one piece, and what
the model says of it comes back in one piece; while the thread works, audio waits in the feeds, so that a thread that is
slow gets more at a time and not more often. A feed that is 10 s behind loses its oldest audio, which is counted; the
recording has it.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context
from itertools import zip_longest
from typing import Protocol

from calls import about
from calls.media.audio import is_speech
from calls.speech.silero import Missing, Silero, Voice, load


logger = logging.getLogger(__name__)

# Seconds between two hand-overs.
PERIOD = 0.03
# A round that is this late, in seconds, tells of a loop that stood still: what has arrived meanwhile is not read yet,
# so that silence cannot be told from it.
LATE = 0.2


class Feed(Protocol):
    """A stream that wants to be listened to. Everything but the model's own work happens on the event loop."""

    def take(self) -> tuple[Voice, list[bytes]]:
        """What is to be judged now: windows of 256 samples, one behind the other."""

    def judged(self, probabilities: list[float]) -> None:
        """How likely each of those is speech; called also if there were none."""

    def look(self, *, is_late: bool) -> None:
        """Once a round, after that: what the clock alone says."""

    def give_up(self) -> None:
        """It is not listened to any more; raises nothing."""


class Loudness:
    """What listens where there is no model: loud is speech, and so is a ringing tone."""

    def judge(self, windows: Sequence[tuple[Voice, bytes]]) -> list[float]:
        return [float(is_speech(window)) for _, window in windows]


class Detector:
    """This process's."""

    def __init__(self) -> None:
        #: With the SIDs of the call that each is of.
        self._feeds: dict[Feed, tuple[str, str]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        #: Loaded in the thread, by the first stream that wants it.
        self._model: Silero | Loudness | None = None
        #: Samples that were not judged since the thread was too slow.
        self.dropped = 0
        self._without_thread = 0

    def add(self, feed: Feed) -> None:
        self._feeds[feed] = about.sids()
        if self._listening is None or self._listening.done():
            # In a context of its own: it is nobody's handler, and outlives the stream that asked first.
            self._listening = asyncio.create_task(self._listen(), context=Context())

    def remove(self, feed: Feed) -> None:
        self._feeds.pop(feed, None)

    def note_dropped(self, samples: int) -> None:
        """A feed was too far behind. One line for the first; the rest is counted."""
        if not self.dropped:
            logger.warning("speech_behind: the detector is more than 10 s behind; turns may be missed, audio is not")
        self.dropped += samples

    @contextmanager
    def without_thread(self) -> Iterator[None]:
        """Within, the model works on the event loop: for calls in memory, to which a hand-over is most of the work."""
        self._without_thread += 1
        try:
            yield
        finally:
            self._without_thread -= 1

    def close(self) -> None:
        """Ends the thread; the next feed starts another one."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    async def _listen(self) -> None:
        try:
            at = time.monotonic()
            while self._feeds:
                await asyncio.sleep(PERIOD)
                is_late = time.monotonic() - at > PERIOD + LATE
                at = time.monotonic()
                await self._round(is_late)
        finally:
            self._feeds.clear()

    async def _round(self, is_late: bool) -> None:
        batch = []
        for feed in list(self._feeds):
            with self._apart(feed):
                batch.append((feed, *feed.take()))
        heard = [(voice, windows) for _, voice, windows in batch if windows]
        judged = iter(await self._judged(heard) if heard else [])
        for feed, _, windows in batch:
            probabilities = next(judged) if windows else []
            with self._apart(feed):
                feed.judged(probabilities)
                feed.look(is_late=is_late)

    @contextmanager
    def _apart(self, feed: Feed) -> Iterator[None]:
        """A defect of ours in one stream must not cost the others their turns."""
        try:
            yield
        except Exception:
            with about.about(*self._feeds.get(feed, ("", ""))):
                logger.exception("speech_failed; that stream is not listened to any more")
            self.remove(feed)
            feed.give_up()

    async def _judged(self, heard: list[tuple[Voice, list[bytes]]]) -> list[list[float]]:
        if self._without_thread:
            return self._judge(heard)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="speech")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._judge, heard)

    # --- in the thread, if there is one ------------------------------------------------------------------------------

    def _judge(self, heard: list[tuple[Voice, list[bytes]]]) -> list[list[float]]:
        judged: list[list[float]] = [[] for _ in heard]
        # The first windows of all streams, then the second ones: of one stream, each builds on the one before.
        for nth in zip_longest(*(windows for _, windows in heard)):
            here = [at for at, window in enumerate(nth) if window is not None]
            for at, probability in zip(here, self._ask([(heard[at][0], nth[at]) for at in here]), strict=True):
                judged[at].append(probability)
        return judged

    def _ask(self, windows: list[tuple[Voice, bytes]]) -> list[float]:
        self._model = self._model or available()
        try:
            return self._model.judge(windows)
        except Exception:
            logger.exception("speech_model_failed; whatever is loud counts as speech from here on")
            self._model = Loudness()
            return self._model.judge(windows)


def available() -> Silero | Loudness:
    """The model, or what there is instead of it; that takes 0.2 s."""
    try:
        return load()
    except Missing as error:
        logger.warning("speech_by_loudness: %s; whatever is loud counts as speech", error)
        return Loudness()


detector = Detector()
