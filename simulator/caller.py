"""The person who calls: what they say, when they press a key, and when they hang up. This is the clock of a call."""

import asyncio
import random
import time
from collections.abc import Callable

from simulator.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE
from simulator.scenario import Scenario
from simulator.sockets import Stream


FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE
PATIENCE = 60.0  # seconds that a caller without a `duration` listens on after the last word
SILENT_FRAME = SILENCE * FRAME_SAMPLES


class Caller:
    """Hands a frame to every open stream, 50 times a second on an absolute clock: after a stall it catches up."""

    def __init__(self, scenario: Scenario, log: Callable[[str], None]) -> None:
        self.scenario, self._log = scenario, log
        self.streams: list[Stream] = []
        self.position = 0  # frames since the first stream began; it stands still while no stream is open
        self.answered = False  # whether the server has said something, on a stream that is over
        self.gone = ""  # how the caller left, in words
        self._callee, self._callee_since = b"", 0
        self._digits = sorted(scenario.dtmf)
        self._cut_after = scenario.cut_after
        self._random = random.Random(f"{scenario.seed} {scenario.from_number}")

    @property
    def seconds(self) -> float:
        return self.position * FRAME_SECONDS

    def hang_up(self, why: str = "hung up") -> None:
        self.gone = self.gone or f"the caller {why} after {self.seconds:.1f} s"

    def connect(self, callee: bytes) -> None:
        """Somebody is on the line from now on, and says this; b"" and they are off it."""
        self._callee, self._callee_since = callee, self.position

    async def talk(self, done: Callable[[], bool], stays: bool = False) -> None:
        """Until that is done or the caller leaves; one who stays leaves only if the scenario says when."""
        begin, first = time.monotonic(), self.position
        while not done() and not self._leaves(stays):
            due = begin + self._due(self.position - first)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not done():
                await self._frame()

    def _due(self, frame: int) -> float:
        """Seconds after the first one; frames of a burst arrive with its last one."""
        burst = self.scenario.burst
        return (frame // burst * burst + burst - 1) * FRAME_SECONDS + self._random.random() * self.scenario.jitter

    async def _frame(self) -> None:
        await self._press()
        if self._cut():
            return
        outbound = _frame_of(self._callee, self.position - self._callee_since) if self._callee else b""
        dropped = self._random.random() < self.scenario.drop
        for stream in [stream for stream in self.streams if not stream.over.is_set()]:
            await stream.frame(_frame_of(self.scenario.audio, self.position), outbound, dropped)
        self.position += 1

    async def _press(self) -> None:
        while self._digits and self._digits[0][0] <= self.seconds:
            _, digit = self._digits.pop(0)
            self._log(f"the caller presses {digit}")
            for stream in self.streams:
                await stream.press(digit)

    def _cut(self) -> bool:
        if self._cut_after is None or self.seconds < self._cut_after:
            return False
        self._cut_after = None
        self._log("the connection is cut")
        for stream in self.streams:
            stream.cut()
        return True

    def _leaves(self, stays: bool) -> bool:
        scenario, seconds = self.scenario, self.seconds
        if any(limit is not None and seconds >= limit for limit in (scenario.hang_up_after, scenario.duration)):
            self.hang_up()
        if scenario.duration is None and not stays and self._has_heard_enough(seconds - scenario.spoken):
            self.hang_up()
        return bool(self.gone)

    def _has_heard_enough(self, waited: float) -> bool:
        """Everything is said, and the server has said what it had to say, if it is to say anything at all."""
        if waited < 0 or waited >= PATIENCE:
            return waited >= 0
        talking = any(stream.buffer.talking for stream in self.streams)
        return not talking and not any(self.waits_for(stream) for stream in self.streams)

    def waits_for(self, stream: Stream) -> bool:
        """Whether a server that has to say something has not said anything yet."""
        spoken = self.answered or stream.has_spoken or not stream.bidirectional
        return bool(self.scenario.silence_timeout) and not spoken


def _frame_of(audio: bytes, number: int) -> bytes:
    frame = audio[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES]
    return frame + SILENT_FRAME[len(frame) :]
