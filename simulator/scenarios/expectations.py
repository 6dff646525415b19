"""What a caller may expect at some point of a call. Each waits until it has come about, and judges it afterwards.

They wait by what the play buffer says, 20 ms by 20 ms, and judge by what was heard, to the sample.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from simulator.audio import SAMPLE_RATE
from simulator.caller import FRAME_SECONDS, Caller
from simulator.report import Event
from simulator.scenarios.evidence import Evidence, Moment, Verdict
from simulator.scenarios.kinds import Clip, Seconds, Share
from simulator.scenarios.shapes import Shape
from simulator.scenarios.words import ms, percent, seconds
from simulator.stream import SILENT_FRAME


Frames = Iterator[bytes | None]

# How much longer than allowed a caller waits for what does not come, so that the finding can say when it did.
GRACE = 5.0
# How many frames a caller has to hear to know that somebody speaks.
SURE = 5
# A sound may begin quietly: one that began so many ms before the caller noticed is the one that is meant.
EARLY_MS = 1000


@dataclass(frozen=True, kw_only=True)
class Expectation(Shape):
    def what(self) -> str:
        """ "speech within 1 s": what a finding is about."""
        raise NotImplementedError

    def wait(self, caller: Caller, at: Moment) -> Frames:
        """Until it has come about, or not in time; the caller is silent meanwhile."""
        return iter(())

    def judge(self, evidence: Evidence, at: Moment) -> Verdict:
        """Whether it came about, counted from there on."""
        raise NotImplementedError


def talked(caller: Caller) -> float:
    """Seconds for which the server has been talking by now."""
    if caller.stream is None or (since := caller.stream.buffer.loud_since) is None:
        return 0.0
    return (caller.stream.buffer.now - since) / SAMPLE_RATE


def is_talking(caller: Caller) -> bool:
    """Until half a second after the last word."""
    return caller.stream is not None and caller.stream.buffer.talking


def speech(caller: Caller, limit: float) -> Frames:
    """Silence until the caller knows that somebody speaks, for so many seconds at most."""
    end, heard = caller.seconds + limit, 0
    while heard < SURE and caller.seconds < end:
        yield SILENT_FRAME
        heard += caller.stream is not None and caller.stream.buffer.is_loud_now


def until(caller: Caller, done: Callable[[], bool], limit: float) -> Frames:
    """Silence until that is so, for so many seconds at most."""
    end = caller.seconds + limit
    while not done() and caller.seconds < end:
        yield SILENT_FRAME


def silence(duration: float) -> Frames:
    return (SILENT_FRAME for _ in range(round(duration / FRAME_SECONDS)))


@dataclass(frozen=True, kw_only=True)
class Speech(Expectation):
    """The server says something."""

    SHORTHAND: ClassVar[str] = "within"
    within: Annotated[Seconds, "how long it may take until the first of it is heard", "1s"] = 10

    def what(self) -> str:
        return f"speech within {seconds(self.within)}"

    def wait(self, caller: Caller, at: Moment) -> Frames:
        return speech(caller, self.within + GRACE)

    def judge(self, evidence: Evidence, at: Moment) -> Verdict:
        begun = evidence.begun(at.since_ms)
        if begun is None:
            return Verdict(False, f"heard no speech, {seconds(self.within)} allowed")
        return _in_time("heard speech", begun - at.since_ms, self.within)


@dataclass(frozen=True, kw_only=True)
class Silence(Expectation):
    """The server stops talking, and says nothing for half a second."""

    SHORTHAND: ClassVar[str] = "within"
    within: Annotated[Seconds, "how long it may talk on", "30s"] = 30

    def what(self) -> str:
        return f"silence within {seconds(self.within)}"

    def wait(self, caller: Caller, at: Moment) -> Frames:
        return until(caller, lambda: not is_talking(caller), self.within + GRACE)

    def judge(self, evidence: Evidence, at: Moment) -> Verdict:
        return _in_time("was silent", evidence.talked_on(at.since_ms), self.within)


@dataclass(frozen=True, kw_only=True)
class Nothing(Expectation):
    """The server says nothing for so long."""

    SHORTHAND: ClassVar[str] = "lasting"
    lasting: Annotated[Seconds, "for how long", "3s"]

    def what(self) -> str:
        return f"nothing for {seconds(self.lasting)}"

    def wait(self, caller: Caller, at: Moment) -> Frames:
        return silence(self.lasting)

    def judge(self, evidence: Evidence, at: Moment) -> Verdict:
        begun = evidence.begun(at.since_ms)
        if begun is None or begun >= at.since_ms + self.lasting * 1000:
            return Verdict(True, "heard nothing")
        return Verdict(False, f"heard speech after {ms(begun - at.since_ms)}")


@dataclass(frozen=True, kw_only=True)
class Sound(Expectation):
    """The caller hears this file, however loud: it is compared with everything that is heard."""

    SHORTHAND: ClassVar[str] = "file"
    file: Annotated[Clip, "the sound: a WAV file of 8 kHz, one channel, PCM16 or µ-law", "welcome.wav"]
    within: Annotated[Seconds, "how long it may take until it begins", "5s"] = 10
    likeness: Annotated[Share, "how much alike they have to be; less for a sound that may be cut off", "80%"] = 0.8

    def what(self) -> str:
        return f"{self.file.name} within {seconds(self.within)}"

    def wait(self, caller: Caller, at: Moment) -> Frames:
        """Until something has been heard for as long as the file is."""
        yield from speech(caller, self.within + GRACE)
        yield from until(caller, lambda: not is_talking(caller), len(self.file.audio) / SAMPLE_RATE)

    def judge(self, evidence: Evidence, at: Moment) -> Verdict:
        return sound_found(evidence, self.file, self.likeness, at.since_ms, self.within)


def sound_found(
    evidence: Evidence, clip: Clip, likeness: float, since_ms: float = 0.0, within: float = float("inf")
) -> Verdict:
    """Whether it was heard, and in time if there is one."""
    began, until_ms = max(0.0, since_ms - EARLY_MS), since_ms + (within + GRACE) * 1000
    found = evidence.nearest(clip.audio, began, until_ms)
    if found is None:
        return Verdict(False, f"heard nothing at all, and so not {clip.name}")
    at, alike = found.at_ms, percent(found.likeness)
    if found.likeness < likeness:
        nearest = f"what was most like it ({alike}, {percent(likeness)} wanted) began at {ms(at)}"
        return Verdict(False, f"did not hear {clip.name}; {nearest}")
    if within == float("inf"):
        return Verdict(True, f"heard {clip.name} at {ms(at)} ({alike} like it)")
    return _in_time(f"heard {clip.name} ({alike} like it)", max(0.0, at - since_ms), within)


Outcome = Literal["played", "cleared", "any"]


@dataclass(frozen=True, kw_only=True)
class MarkBack(Expectation):
    """A mark comes back to the server: the next one of that name that no earlier step has waited for."""

    SHORTHAND: ClassVar[str] = "name"
    name: Annotated[str, "the mark's", "greeting"]
    outcome: Annotated[Outcome, "played: everything before it was heard; cleared: it was not"] = "played"
    within: Annotated[Seconds, "how long it may take; a mark that is back already is in time", "10s"] = 10

    def what(self) -> str:
        how = "" if self.outcome == "any" else f" {self.outcome}"
        return f"mark {self.name!r} back{how} within {seconds(self.within)}"

    def wait(self, caller: Caller, at: Moment) -> Frames:
        return until(caller, lambda: len(self._back(caller.events)) >= at.number, self.within + GRACE)

    def judge(self, evidence: Evidence, at: Moment) -> Verdict:
        back = self._back(evidence.report.events)
        if len(back) < at.number:
            others = {str(event.facts["name"]) for event in evidence.of("mark")} - {self.name}
            told = f"; {', '.join(sorted(others))} did" if others else ""
            return Verdict(False, f"mark {self.name!r} did not come back{told}")
        outcome = back[at.number - 1].facts["outcome"]
        came = f"mark {self.name!r} came back {outcome}"
        if self.outcome not in ("any", outcome):
            return Verdict(False, came)
        return _in_time(came, max(0.0, back[at.number - 1].at_ms - at.since_ms), self.within)

    def _back(self, events: Sequence[Event]) -> list[Event]:
        return [event for event in events if event.kind == "mark" and event.facts["name"] == self.name]


@dataclass(frozen=True, kw_only=True)
class Clear(Expectation):
    """The server clears what it wanted to say: counted from where the caller last began to speak, or to press keys."""

    SHORTHAND: ClassVar[str] = "within"
    within: Annotated[Seconds, "how long it may take", "1s"] = 2

    def what(self) -> str:
        return f"a clear within {seconds(self.within)}"

    def wait(self, caller: Caller, at: Moment) -> Frames:
        return until(caller, lambda: bool(self._cleared(caller.events, at)), self.within + GRACE)

    def judge(self, evidence: Evidence, at: Moment) -> Verdict:
        if not (cleared := self._cleared(evidence.report.events, at)):
            return Verdict(False, f"no clear came, {seconds(self.within)} allowed")
        return _in_time("a clear came", cleared[0].at_ms - at.words_ms, self.within)

    def _cleared(self, events: Sequence[Event], at: Moment) -> list[Event]:
        return [event for event in events if event.kind == "clear" and event.at_ms >= at.words_ms]


@dataclass(frozen=True, kw_only=True)
class HangUp(Expectation):
    """The server ends the call."""

    SHORTHAND: ClassVar[str] = "within"
    within: Annotated[Seconds, "how long it may take", "3s"] = 10

    def what(self) -> str:
        return f"the server hangs up within {seconds(self.within)}"

    def wait(self, caller: Caller, at: Moment) -> Frames:
        return until(caller, lambda: False, self.within + GRACE)

    def judge(self, evidence: Evidence, at: Moment) -> Verdict:
        after = evidence.end_ms - at.since_ms
        if evidence.ended_by != "server":
            return Verdict(False, f"the server had not hung up after {ms(after)}, {seconds(self.within)} allowed")
        return _in_time("the server hung up", after, self.within)


def _in_time(what: str, after_ms: float, within: float) -> Verdict:
    return Verdict(after_ms <= within * 1000, f"{what} after {ms(after_ms)}, {seconds(within)} allowed")
