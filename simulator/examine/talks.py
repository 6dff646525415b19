"""Whole calls: what their callers do, and what came of it."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from simulator.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE
from simulator.call import SimulatedCall
from simulator.caller import Caller
from simulator.examine.target import Target
from simulator.playbuffer import PlayBuffer
from simulator.report import Report, StreamReport, Traced


FRAME = SILENCE * FRAME_SAMPLES
# An interruption counts if so much more was still to be played, and the server has as long to react.
QUEUED = 3.5
REACTION = 2.5
PATIENCE = 6.0

Script = Iterator[bytes | None]


@dataclass
class Interruption:
    """The caller spoke while so many seconds waited to be played."""

    at: float
    queued: float
    cleared_after: float | None = None
    returned: list[str] = field(default_factory=list)  # marks that came back by it
    spoke_after: bool = False


@dataclass
class Talk:
    """One call that was played to its end."""

    said: bytes  # by its caller
    report: Report | None = None
    webhook_seconds: float = 0.0
    interruption: Interruption | None = None
    most_queued: float = 0.0
    was_answered: bool = False  # whether the server said something once the caller had

    @property
    def stream(self) -> StreamReport | None:
        return self.report.streams[0] if self.report and self.report.streams else None

    @property
    def received(self) -> list[Traced]:
        """The server's messages on the first stream."""
        return [traced for traced in self.stream.trace if not traced.sent] if self.stream else []

    @property
    def first_word(self) -> float | None:
        """Seconds from the webhook to the first message; without the time that the handshake takes."""
        return self.webhook_seconds + self.received[0].at if self.received else None

    async def play(self, target: Target, script: Callable[[Caller], Script]) -> "Talk":
        loop = asyncio.get_running_loop()
        began, lines = loop.time(), list[float]()
        scenario = target.scenario(script=script, trace=True)
        self.report = await SimulatedCall(scenario, lambda line: lines.append(loop.time())).run()
        self.webhook_seconds = lines[0] - began if lines else loop.time() - began
        return self


async def interrupting(target: Target) -> Talk:
    """A caller who lets the server begin, speaks into what it says as soon as there is enough of it, and waits."""
    talk = Talk(target.sentences[0])

    def script(caller: Caller) -> Script:
        yield from _listen(caller, talk, 8.0, lambda: _has_much(caller) or _is_done(caller))
        if not _has_much(caller):
            yield from _speak(caller, talk)
            yield from _listen(caller, talk, 8.0 if talk.was_answered else 0.0, lambda: _has_much(caller))
        if _has_much(caller):
            yield from _interrupt(caller, talk)
        yield from _listen(caller, talk, 1.0)

    return await talk.play(target, script)


async def polite(target: Target, voice: int) -> Talk:
    """A caller who lets the server finish, says one sentence, and waits for an answer."""
    talk = Talk(target.sentences[voice])

    def script(caller: Caller) -> Script:
        yield from _listen(caller, talk, 8.0, lambda: _is_done(caller))
        yield from _speak(caller, talk)
        yield from _listen(caller, talk, len(talk.said) / SAMPLE_RATE)

    return await talk.play(target, script)


def _interrupt(caller: Caller, talk: Talk) -> Script:
    yield from _listen(caller, talk, 0.5)
    buffer = _buffer(caller)
    moment = talk.interruption = Interruption(caller.seconds, buffer.queued / SAMPLE_RATE)
    clears, cleared = buffer.clears, len(_cleared(caller))
    until = caller.seconds + REACTION
    for frame in _cut(talk.said):
        yield frame
        if moment.cleared_after is None and buffer.clears > clears:
            moment.cleared_after = caller.seconds - moment.at
    yield from _listen(caller, talk, until - caller.seconds, lambda: buffer.clears > clears)
    if buffer.clears == clears:
        return
    moment.cleared_after = moment.cleared_after or caller.seconds - moment.at
    moment.returned = _cleared(caller)[cleared:]
    yield from _wait_for_more(caller, talk, moment)


def _wait_for_more(caller: Caller, talk: Talk, moment: Interruption) -> Script:
    """Whether the server ever says something again: by itself, or when it is spoken to once more."""
    for again in (False, True):
        if again:
            yield from _speak(caller, talk)
        yield from _listen(caller, talk, PATIENCE, lambda: _buffer(caller).queued > 0)
        if _buffer(caller).queued > 0:
            moment.spoke_after = True
            return


def _speak(caller: Caller, talk: Talk) -> Script:
    before = caller.stream.report.frames_received if caller.stream else 0
    yield from _cut(talk.said)
    for _ in range(round(PATIENCE * 50)):
        if caller.stream and caller.stream.report.frames_received > before:
            talk.was_answered = True
            return
        yield FRAME


def _listen(caller: Caller, talk: Talk, seconds: float, done: Callable[[], bool] = lambda: False) -> Script:
    """A quiet line, until that is done or so long."""
    until = caller.seconds + seconds
    while caller.seconds < until and not done():
        talk.most_queued = max(talk.most_queued, _buffer(caller).queued / SAMPLE_RATE)
        yield FRAME


def _cut(audio: bytes) -> Script:
    for at in range(0, len(audio), FRAME_SAMPLES):
        yield audio[at : at + FRAME_SAMPLES].ljust(FRAME_SAMPLES, SILENCE)


def _buffer(caller: Caller) -> PlayBuffer:
    """What the server has queued; an empty one where it cannot."""
    return caller.stream.buffer if caller.stream else PlayBuffer()


def _cleared(caller: Caller) -> list[str]:
    return [name for name, outcome in _buffer(caller).marks if outcome == "cleared"]


def _has_much(caller: Caller) -> bool:
    return _buffer(caller).queued > QUEUED * SAMPLE_RATE


def _is_done(caller: Caller) -> bool:
    """Whether the server has said what it says by itself, if it does."""
    return caller.seconds > 2.5 and not _buffer(caller).talking
