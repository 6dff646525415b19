"""Listens to one stream's caller for whoever wants to know when they speak: iterators over turns, and barge-in.

A stream has an ear from the first time that somebody asks, and until nobody has asked for 10 s; without one, a frame
costs a look at an attribute. Each of several iterators has all turns. The audio is kept as long as a turn may still
want it, and for 2 s: who begins to iterate because the caller has just interrupted gets what they said from its start.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from calls.media.audio import SAMPLE_RATE, SAMPLES_PER_MS
from calls.media.earshot import Earshot
from calls.media.playback import StreamClock
from calls.media.protocol import Media
from calls.media.turns import LONGEST, WINDOW, Span, Speech, Turns
from calls.server.lifetime import Lifetime
from calls.speech.detector import detector
from calls.speech.silero import Voice


logger = logging.getLogger(__name__)

# Whoever begins to iterate gets the turns of these samples past.
RECENT = 2 * SAMPLE_RATE
# Of audio that waits for the detector, more than that is dropped down to the half.
MOST_BEHIND = 10 * SAMPLE_RATE
# How late frames may be before the clock decides that there are none: phones jitter.
PATIENCE = SAMPLE_RATE // 5
# Seconds for which an ear stays that nobody uses.
LINGER = 10.0
# Samples of turns that wait for one iterator; the oldest goes.
MOST_WAITING = LONGEST
# What may end a turn, in seconds. No hole is filled with more.
SHORTEST_SILENCE, LONGEST_SILENCE = 0.1, 10.0
# Of is_speaking, whatever iterators want.
USUAL_SILENCE = 700 * SAMPLES_PER_MS


class Listener(Protocol):
    """Somebody who wants to know: `take` is called after everything that `turns` has heard."""

    turns: Turns

    def take(self, span: Span | None) -> None: ...

    def skip(self, at: int) -> None:
        """What was said before there counts for nothing."""


class Ear:
    """One stream's. A Feed of the detector's."""

    def __init__(self, clock: StreamClock, lifetime: Lifetime, on_unused: Callable[[], None], sid: str = "") -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._on_unused = on_unused
        self._sid = sid
        self._earshot = Earshot()
        self._voice = Voice()
        self._usual = Turns(USUAL_SILENCE)
        self._listeners: list[Listener] = []
        #: What was judged of the audio that is kept: positions, and how likely each is speech.
        self._history: deque[tuple[int, float]] = deque()
        #: Where the windows begin that the detector has in hand, and how many.
        self._judging = self._in_hand = 0
        #: Where the last turn ended that an iterator has given out.
        self._given = 0
        self._has_dropped = False
        #: What is said at the moment is for nobody that listens: a person talks to the caller.
        self._is_held = False
        self._used_at = time.monotonic()
        #: Nothing comes any more.
        self.is_finished = False
        detector.add(self)

    # --- what the stream says -----------------------------------------------------------------------------------------

    def hear(self, end: int, media: Media) -> None:
        """A frame that ends at that position."""
        if media.track != "inbound":
            return
        position = end - len(media.payload)
        if self._earshot.is_beyond(position):
            self._advance(position)
        self._earshot.put(position, media.payload)

    # --- what handlers ask for ----------------------------------------------------------------------------------------

    @property
    def kept(self) -> int:
        """Samples of audio."""
        return self._earshot.end - self._earshot.start

    @property
    def waiting(self) -> int:
        """Whole windows that are not judged yet."""
        return self._in_hand + max(self._earshot.waiting, 0) // WINDOW

    @property
    def is_speaking(self) -> bool:
        self._used_at = time.monotonic()
        return self._usual.is_speaking

    def begin(self, end_silence: int) -> "Iteration":
        """An iteration that has what was said lately and that nobody was given; `leave` ends it."""
        mine = Iteration(self, Turns(end_silence, since=max(self._given, self._earshot.start)))
        for position, probability in self._history:
            if position >= self._given:
                mine.take(mine.turns.hear(position, probability))
        if self.is_finished:
            mine.take(mine.turns.finish())
        self.join(mine)
        return mine

    def note_given(self, said: Speech) -> None:
        self._given = max(self._given, said.end_ms * SAMPLES_PER_MS)

    def join(self, listener: Listener) -> None:
        self._used_at = time.monotonic()
        self._listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        self._used_at = time.monotonic()
        if listener in self._listeners:
            self._listeners.remove(listener)

    def hold(self, at: int) -> None:
        """From there on, until `release`, only `is_speaking` knows what is said. What waits is gone."""
        self._is_held = True
        self._skip(at)

    def release(self, at: int) -> None:
        self._is_held = False
        self._skip(at)

    def _skip(self, at: int) -> None:
        self._given = max(self._given, at)
        self._history.clear()
        for listener in self._listeners:
            listener.skip(at)

    def cut(self, span: Span) -> Speech:
        start, audio = self._earshot.cut(span.start, span.end)
        return Speech(start // SAMPLES_PER_MS, (start + len(audio)) // SAMPLES_PER_MS, audio)

    def note_dropped(self) -> None:
        """One line for the first of a stream's turns that nobody took."""
        if self._has_dropped:
            return
        self._has_dropped = True
        logger.warning("turns_dropped stream=%s: nobody takes them; only the last minute of them is kept", self._sid)

    # --- what the detector asks for -----------------------------------------------------------------------------------

    def take(self) -> tuple[Voice, list[bytes]]:
        if self._earshot.waiting > MOST_BEHIND:
            detector.note_dropped(self._earshot.pass_over(MOST_BEHIND // 2))
        self._judging, windows, is_broken = self._earshot.windows(to_end=self._lifetime.is_over)
        if is_broken:
            self._voice = Voice()
        self._in_hand = len(windows)
        return self._voice, windows

    def judged(self, probabilities: list[float]) -> None:
        self._in_hand = 0
        for nth, probability in enumerate(probabilities):
            position = self._judging + nth * WINDOW
            self._usual.hear(position, probability)
            if self._is_held:
                continue
            self._history.append((position, probability))
            for listener in list(self._listeners):
                listener.take(listener.turns.hear(position, probability))

    def look(self, *, is_late: bool) -> None:
        at = time.monotonic()
        if self._lifetime.is_over:
            if self._earshot.waiting <= 0:
                self.give_up()
            return
        if not is_late and self._earshot.waiting < WINDOW:
            self._advance(self._clock.now(at) - PATIENCE)
        self._forget()
        if not self._listeners and at - self._used_at > LINGER:
            detector.remove(self)
            self._on_unused()

    def give_up(self) -> None:
        """Nothing comes any more: turns that run are given out, and iterations end."""
        self.is_finished = True
        detector.remove(self)
        for listener in list(self._listeners):
            listener.take(listener.turns.finish())

    # --- inside -------------------------------------------------------------------------------------------------------

    def _advance(self, now: int) -> None:
        self._usual.advance(now)
        for listener in [] if self._is_held else list(self._listeners):
            listener.take(listener.turns.advance(now))

    def _forget(self) -> None:
        keeps = min([self._usual.keeps, *(listener.turns.keeps for listener in self._listeners if not self._is_held)])
        self._earshot.forget(min(keeps, self._earshot.end - RECENT))
        while self._history and self._history[0][0] < self._earshot.start:
            self._history.popleft()


class Iteration:
    """The turns of one iterator that it has not given out yet."""

    def __init__(self, ear: Ear, turns: Turns) -> None:
        self.turns = turns
        self._ear = ear
        self._waiting: deque[Speech] = deque()
        self._samples = 0
        self._woken = asyncio.Event()

    def take(self, span: Span | None) -> None:
        if span is not None:
            self._keep(self._ear.cut(span))
        if span is not None or self._ear.is_finished:
            self._woken.set()

    def skip(self, at: int) -> None:
        self.turns = self.turns.anew(at)
        self._waiting.clear()
        self._samples = 0

    def _keep(self, said: Speech) -> None:
        self._waiting.append(said)
        self._samples += len(said.audio)
        if self._samples > MOST_WAITING and len(self._waiting) > 1:
            self._samples -= len(self._waiting.popleft().audio)
            self._ear.note_dropped()

    async def next(self) -> Speech | None:
        """None when there will be no more."""
        while not self._waiting and not self._ear.is_finished:
            self._woken.clear()
            await self._woken.wait()
        if not self._waiting:
            return None
        said = self._waiting.popleft()
        self._samples -= len(said.audio)
        return said


async def speech(listen: Callable[[], Ear], end_silence: int) -> AsyncIterator[Speech]:
    """Every turn, until the stream is over; the running one then too. A turn ends after that many samples without
    speech. `listen` opens the stream's ear, which may have closed between the call and the first step.
    """
    ear = listen()
    mine = ear.begin(end_silence)
    try:
        while said := await mine.next():
            ear.note_given(said)
            yield said
    finally:
        ear.leave(mine)
