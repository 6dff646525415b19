"""The person who calls: what they say, when they press a key, and when they hang up. This is the clock of a call."""

import asyncio
import random
import time
from array import array
from collections.abc import Callable, Iterator
from math import inf

from simulator.audio import FRAME_SAMPLES, SAMPLE_RATE
from simulator.pacer import TICKS, Pacer
from simulator.report import Event, Report
from simulator.scenario import Scenario
from simulator.stream import SILENT_FRAME, Stream


FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE
FRAME_TICKS = round(FRAME_SECONDS * TICKS)
PATIENCE = 60.0  # seconds that a caller without a `duration` listens on after the last word


class Caller:
    """Hands a frame to every open stream, 50 times a second on an absolute clock: after a stall it catches up."""

    def __init__(self, scenario: Scenario, report: Report, log: Callable[[str], None]) -> None:
        self.scenario, self._report, self._log = scenario, report, log
        self.streams: list[Stream] = []
        self.position = 0  # frames since the first stream began; it stands still while the call is not connected
        self.answered = False  # whether the server has said something, on a stream that is over
        self.gone = ""  # how the caller left, in words
        self.lateness = array("f")  # of each frame, in seconds
        self._callee, self._callee_since = b"", 0
        self._digits = sorted(scenario.dtmf)
        self._cut_after = scenario.cut_after
        self._random = random.Random(f"{scenario.seed} {scenario.from_number}")
        self._limit = min((at for at in (scenario.hang_up_after, scenario.duration) if at is not None), default=inf)
        self._spoken = scenario.spoken
        self._leaves_alone = scenario.duration is None and scenario.script is None
        self._script: Iterator[bytes | None] | None = scenario.script(self) if scenario.script else None

    @property
    def seconds(self) -> float:
        return self.position * FRAME_SECONDS

    @property
    def stream(self) -> Stream | None:
        """The one that the server can talk on, while it is open."""
        return next((stream for stream in self.streams if stream.bidirectional and not stream.over.is_set()), None)

    @property
    def events(self) -> list[Event]:
        """All that has come about so far."""
        return self._report.events

    def note(self, kind: str, at_ms: float | None = None, **facts: object) -> None:
        """Something came about, now or then."""
        self._report.events.append(Event(round(1000 * self.seconds, 3) if at_ms is None else at_ms, kind, facts))

    def hang_up(self, why: str = "hung up") -> None:
        if not self.gone:
            self.note("hang_up")
        self.gone = self.gone or f"the caller {why} after {self.seconds:.1f} s"

    def press(self, digit: str) -> None:
        self._log(f"the caller presses {digit}")
        self.note("pressed", digit=digit)
        for stream in self.streams:
            stream.press(digit)

    def cut(self) -> None:
        """The TCP connections die, without stop and without a close frame."""
        self._log("the connection is cut")
        for stream in self.streams:
            stream.cut()

    def connect(self, callee: bytes) -> None:
        """Somebody is on the line from now on, and says this; b"" and they are off it."""
        self._callee, self._callee_since = callee, self.position

    async def talk(self, done: Callable[[], bool], stays: bool = False) -> None:
        """Until that is done or the caller leaves; one who stays leaves only if the scenario says when.

        What `done` raises is raised here.
        """
        if not done() and not self._leaves(stays):
            await _Turn(self, lambda: done() or self._leaves(stays), done).over

    def speak(self) -> None:
        """20 ms, to every stream that is open."""
        self._press_in_time()
        if self._cut_after is not None and self.seconds >= self._cut_after:
            self._cut_after = None
            return self.cut()
        inbound = self._next_frame()
        outbound = _frame_of(self._callee, self.position - self._callee_since) if self._callee else b""
        dropped = self.scenario.drop > 0 and self._random.random() < self.scenario.drop
        for stream in self.streams:
            if not stream.over.is_set():
                stream.frame(inbound, outbound, dropped)
        self.position += 1

    def delay(self, frame: int) -> int:
        """Ticks after the first one; frames of a burst arrive with its last one."""
        burst, jitter = self.scenario.burst, self.scenario.jitter
        due = (frame // burst * burst + burst - 1) * FRAME_TICKS
        return due + round(self._random.random() * jitter * TICKS) if jitter else due

    def _next_frame(self) -> bytes | None:
        if self._script is None:
            return _frame_of(self.scenario.audio, self.position)
        try:
            return next(self._script)
        except StopIteration:
            self.hang_up()
            return SILENT_FRAME

    def _press_in_time(self) -> None:
        while self._digits and self._digits[0][0] <= self.seconds:
            self.press(self._digits.pop(0)[1])

    def _leaves(self, stays: bool) -> bool:
        """Because it is time, or by themselves."""
        if self.seconds >= self._limit or (self._leaves_alone and not stays and self._has_heard_enough()):
            self.hang_up()
        return bool(self.gone)

    def _has_heard_enough(self) -> bool:
        """Everything is said, and the server has said what it had to say, if it is to say anything at all."""
        waited = self.seconds - self._spoken
        if waited < 0 or waited >= PATIENCE:
            return waited >= 0
        talking = any(stream.buffer.talking for stream in self.streams)
        return not talking and not any(self.waits_for(stream) for stream in self.streams)

    def waits_for(self, stream: Stream) -> bool:
        """Whether a server that has to say something has not said anything yet."""
        spoken = self.answered or stream.has_spoken or not stream.bidirectional
        return bool(self.scenario.silence_timeout) and not spoken


class _Turn:
    """Frames of one caller, from now on, each on its tick."""

    def __init__(self, caller: Caller, is_over: Callable[[], bool], is_done: Callable[[], bool]) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._caller, self._is_over, self._is_done = caller, is_over, is_done
        self._pacer = Pacer.running()
        self._began, self._frame = self._pacer.next_tick(), 0
        self._wait()

    def _wait(self) -> None:
        self._due = self._began + self._caller.delay(self._frame)
        self._pacer.at(self._due, self._step)

    def _step(self) -> None:
        if self.over.done():
            return
        try:
            self._caller.lateness.append(time.monotonic() - self._due / TICKS)
            if not self._is_done():
                self._caller.speak()
            self._frame += 1
            if not self._is_over():
                return self._wait()
        except Exception as error:
            self.over.set_exception(error)
        else:
            self.over.set_result(None)


def _frame_of(audio: bytes, number: int) -> bytes:
    frame = audio[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES]
    return frame + SILENT_FRAME[len(frame) :]
