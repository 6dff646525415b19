"""What is expected of a call as a whole."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Annotated, ClassVar, Literal

from simulator.scenarios.evidence import Evidence, Moment, Verdict
from simulator.scenarios.expectations import Outcome, Speech, sound_found
from simulator.scenarios.kinds import Clip, Count, Seconds, Share
from simulator.scenarios.shapes import Shape
from simulator.scenarios.words import count, ms, seconds, shown


Judged = tuple[str, Verdict]


@dataclass(frozen=True, kw_only=True)
class ResponseTime(Shape):
    """How long the caller waits: from the end of their words to the first of what is heard next."""

    SHORTHAND: ClassVar[str] = "each"
    each: Annotated[Seconds | None, "none takes longer", "1.5s"] = None
    median: Annotated[Seconds | None, "half of them take no longer", "800ms"] = None

    def __post_init__(self) -> None:
        if self.each is None and self.median is None:
            raise ValueError("needs `each` or `median`")

    def judge(self, evidence: Evidence) -> Iterator[Judged]:
        times = [response.after_ms for response in evidence.responses]
        for which, allowed, pick in (("each", self.each, max), ("the median", self.median, median)):
            if allowed is not None:
                found = f"{count(len(times), 'response')}, {which.replace('each', 'the slowest')} after "
                ok = bool(times) and pick(times) <= allowed * 1000
                text = f"{found}{ms(pick(times))}, {seconds(allowed)} allowed" if times else _unanswered(evidence)
                yield f"response within {seconds(allowed)} ({which})", Verdict(ok, text)


def _unanswered(evidence: Evidence) -> str:
    """Why there is no response to be timed."""
    if not evidence.has_words:
        return "no words were answered: the caller said none"
    if not evidence.speech:
        return "no words were answered: nothing was heard"
    return "no words were answered: all that was heard began before the caller's words, or while they were said"


@dataclass(frozen=True, kw_only=True)
class Extent(Shape):
    """A length of time."""

    SHORTHAND: ClassVar[str] = "at_most"
    at_least: Annotated[Seconds | None, "no shorter", "2s"] = None
    at_most: Annotated[Seconds | None, "no longer", "20s"] = None

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise ValueError("needs `at_least` or `at_most`")

    def judge(self, what: str, found: str, length_ms: float) -> Judged:
        least, most = self.at_least or 0.0, self.at_most if self.at_most is not None else float("inf")
        bounds = [f"at least {seconds(least)}"] * (self.at_least is not None)
        bounds += [f"at most {seconds(most)}"] * (self.at_most is not None)
        ok = least * 1000 <= length_ms <= most * 1000
        return f"{what} {' and '.join(bounds)}", Verdict(ok, f"{found} {ms(length_ms)}, {' and '.join(bounds)} wanted")


@dataclass(frozen=True, kw_only=True)
class HeardFile(Shape):
    """A sound that is heard at some time."""

    SHORTHAND: ClassVar[str] = "file"
    file: Annotated[Clip, "the sound: a WAV file of 8 kHz, one channel, PCM16 or µ-law", "welcome.wav"]
    likeness: Annotated[Share, "how much alike they have to be", "80%"] = 0.8


@dataclass(frozen=True, kw_only=True)
class WholeCall(Shape):
    """What is expected of the call as a whole, judged when it is over."""

    speech: Annotated[Seconds | None, "the first of what the server says is heard within", "1s"] = None
    nothing_heard: Annotated[bool, "the server says nothing in the whole call", "true"] = False
    heard: Annotated[Extent | None, "for how long the server talks, all in all", "20s"] = None
    sounds: Annotated[tuple[HeardFile, ...], "files that are heard, at whatever time", "[welcome.wav]"] = ()
    response: Annotated[ResponseTime | None, "how quickly the caller is answered", "1.5s"] = None
    marks: Annotated[Mapping[str, Outcome] | None, "marks that come back, and how", "{greeting: played}"] = None
    ended_by: Annotated[Literal["server", "caller"] | None, "who ends the call"] = None
    duration: Annotated[Extent | None, "how long the call takes", "{at_least: 2s, at_most: 20s}"] = None
    twiml: Annotated[tuple[str, ...], "texts that a document of the server's contains", "[<Connect>]"] = ()
    streams: Annotated[Count | None, "how many streams the server opens", "1"] = None
    dialled: Annotated[tuple[str, ...], "the numbers that it dials, in this order", "['+14155550100']"] = ()
    warnings: Annotated[Literal["none", "any"], "none: nothing of what Twilio's debugger would warn of"] = "any"
    failure: Annotated[str, "the call has to fail, with this in the reason: for what must not work", "rejected"] = ""

    def judge(self, evidence: Evidence) -> Iterator[tuple[str, Judged]]:
        """(key, (what, verdict)) of everything that is expected."""
        for name, judge in self._judges().items():
            if name in self.places:
                for judged in judge(evidence):
                    yield name, judged

    def _judges(self) -> dict[str, Callable[[Evidence], Iterator[Judged]]]:
        return {
            "speech": self._speech,
            "nothing_heard": self._nothing_heard,
            "heard": self._heard,
            "sounds": self._sounds,
            "response": self.response.judge if self.response else lambda _: iter(()),
            "marks": self._marks,
            "ended_by": self._ended_by,
            "duration": self._duration,
            "twiml": self._twiml,
            "streams": self._streams,
            "dialled": self._dialled,
            "warnings": self._warnings,
            "failure": self._failure,
        }

    def _speech(self, evidence: Evidence) -> Iterator[Judged]:
        first = Speech(within=self.speech or 0.0)
        yield first.what(), first.judge(evidence, Moment())

    def _nothing_heard(self, evidence: Evidence) -> Iterator[Judged]:
        if self.nothing_heard:
            begun = evidence.begun(0.0)
            text = "heard nothing" if begun is None else f"heard speech at {ms(begun)}"
            yield "nothing heard", Verdict(begun is None, text)

    def _heard(self, evidence: Evidence) -> Iterator[Judged]:
        if self.heard:
            talked = sum(span.end_ms - span.start_ms for span in evidence.speech)
            yield self.heard.judge("talk of", "the server talked for", talked)

    def _sounds(self, evidence: Evidence) -> Iterator[Judged]:
        for sound in self.sounds:
            yield f"{sound.file.name} heard", sound_found(evidence, sound.file, sound.likeness)

    def _marks(self, evidence: Evidence) -> Iterator[Judged]:
        back = evidence.report.marks
        for name, wanted in (self.marks or {}).items():
            outcomes = [outcome for other, outcome in back if other == name]
            text = (
                f"mark {name!r} came back {' and '.join(outcomes)}" if outcomes else f"mark {name!r} did not come back"
            )
            ok = bool(outcomes) and (wanted == "any" or all(outcome == wanted for outcome in outcomes))
            yield f"mark {name!r} back" + (f" {wanted}" if wanted != "any" else ""), Verdict(ok, text)

    def _ended_by(self, evidence: Evidence) -> Iterator[Judged]:
        ended = evidence.report.ended or "the call failed"
        yield f"the {self.ended_by} ends the call", Verdict(evidence.ended_by == self.ended_by, ended)

    def _duration(self, evidence: Evidence) -> Iterator[Judged]:
        if self.duration:
            yield self.duration.judge("a call of", "the call took", evidence.end_ms)

    def _twiml(self, evidence: Evidence) -> Iterator[Judged]:
        documents = [" ".join(document.split()) for document in evidence.report.twiml]
        for text in self.twiml:
            ok = any(" ".join(text.split()) in document for document in documents)
            last = f"the last document is {shown(documents[-1], 300)}" if documents else "there was no document"
            yield f"TwiML with {shown(text)}", Verdict(ok, "a document has it" if ok else f"no document has it; {last}")

    def _streams(self, evidence: Evidence) -> Iterator[Judged]:
        found, wanted = len(evidence.report.streams), self.streams or 0
        text = f"the server opened {count(found, 'stream')}"
        yield count(wanted, "stream"), Verdict(found == wanted, text)

    def _dialled(self, evidence: Evidence) -> Iterator[Judged]:
        found = tuple(evidence.report.dialled)
        text = f"dialled was {', '.join(found) or 'nobody'}"
        yield f"{', '.join(self.dialled)} dialled", Verdict(found == self.dialled, text)

    def _warnings(self, evidence: Evidence) -> Iterator[Judged]:
        if self.warnings == "none":
            found = evidence.report.warnings
            text = "; ".join(shown(warning, 200) for warning in found) or "there was none"
            yield "no warnings", Verdict(not found, text)

    def _failure(self, evidence: Evidence) -> Iterator[Judged]:
        errors = evidence.report.errors
        ok = any(self.failure in error for error in errors)
        yield f"a failure with {self.failure!r}", Verdict(ok, "; ".join(errors) or "the call went well")
