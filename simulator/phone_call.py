"""What came of a call, as plain facts to assert on: what was heard, when, how long it took, and how it ended."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isnan, nan
from pathlib import Path
from statistics import median
from traceback import format_exception

from simulator import hearing
from simulator.audio import SAMPLE_RATE
from simulator.hearing import Response, Span
from simulator.playbuffer import Outcome
from simulator.report import Event, Report
from simulator.saying import Sound, sound
from simulator.scenario import Scenario


@dataclass(repr=False, eq=False)
class PhoneCall:
    """One call that is over. Times are ms since the first sample of its first stream, audio is µ-law."""

    report: Report
    scenario: Scenario
    #: What the application has raised, and what it was asked then.
    failures: Sequence[tuple[str, BaseException]] = ()
    #: The simulator's own lines.
    log: list[str] = field(default_factory=list)
    #: Why it went by real time, though it was to go faster.
    held_by: str = ""

    @property
    def sid(self) -> str:
        return self.report.call_sid

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong: neither by Twilio's protocol nor inside the application."""
        return not self.errors

    @cached_property
    def errors(self) -> list[str]:
        """What went wrong, in words; an exception with its traceback."""
        raised = [f"{what} raised:\n{''.join(format_exception(error)).rstrip()}" for what, error in self.failures]
        return [*self.report.errors, *raised]

    @property
    def seconds(self) -> float:
        """How long the caller was on a stream."""
        return self.report.seconds

    @property
    def twiml(self) -> list[str]:
        """Every document that the server has answered."""
        return self.report.twiml

    # --- what was said

    @cached_property
    def heard(self) -> bytes:
        """What the caller heard, from the first sample of the call to the last; silence where there was nothing."""
        return self.report.heard_audio

    @cached_property
    def said(self) -> bytes:
        """What the caller said."""
        return self.report.sent

    def heard_at_ms(self, what: Sound, *, after_ms: float = 0.0) -> float:
        """When the caller began to hear this sound: µ-law, a WAV file, or a text for espeak-ng.

        To the sample if it was played as it is, else where something is that is very much like it. If there is nothing
        it is nan, which is neither more nor less than anything, so that every assert on it fails.
        """
        audio, begin = sound(what), round(after_ms * SAMPLE_RATE / 1000)
        if audio and (at := self.heard.find(audio, begin)) >= 0:
            return at * 1000 / SAMPLE_RATE
        found = hearing.find(audio, self.heard[begin:]) if audio else None
        return nan if found is None else after_ms + found.at_ms

    def has_heard(self, what: Sound) -> bool:
        return not isnan(self.heard_at_ms(what))

    @cached_property
    def speech(self) -> list[Span]:
        """What was loud in `heard`: Span(start_ms, end_ms)."""
        return hearing.speech(self.heard)

    @cached_property
    def responses(self) -> list[Response]:
        """Each time that the server began to speak after the caller's words: Response(at_ms, after_ms)."""
        return hearing.responses(self.report.said_audio, self.heard)

    @property
    def response_ms(self) -> float:
        """How long the caller waited for an answer, as a median; nan, as above, if nothing was ever answered."""
        return median(response.after_ms for response in self.responses) if self.responses else nan

    # --- what was done

    @property
    def marks(self) -> list[tuple[str, Outcome]]:
        """Every mark that came back: (name, "played" or "cleared")."""
        return self.report.marks

    @property
    def clears(self) -> int:
        """How often the server has thrown away what was not heard yet."""
        return self.report.clears

    @property
    def keys(self) -> str:
        """What the caller has pressed."""
        return "".join(str(event.facts["digit"]) for event in self.events("pressed"))

    def events(self, kind: str = "") -> list[Event]:
        """What came about, of that kind or all: see simulator.report.Event."""
        return [event for event in self.report.events if kind in ("", event.kind)]

    @property
    def ended_by(self) -> str:
        """ "caller", "server" or "error"."""
        if not self.ok:
            return "error"
        return "caller" if self.report.ended.startswith("the caller") else "server"

    # --- for whoever reads it

    def save(self, path: str | Path) -> Path:
        """A WAV file: left what the caller said, right what they heard."""
        Path(path).write_bytes(self.report.wav())
        return Path(path)

    def __repr__(self) -> str:
        how = "" if self.ok else f", {_short(self.errors[0])!r}"
        heard = ", ".join(f"{span.start_ms / 1000:.2f}-{span.end_ms / 1000:.2f} s" for span in self.speech[:4])
        more = ", …" if len(self.speech) > 4 else ""
        return f"<PhoneCall {self.seconds:.1f} s, heard {heard or 'nothing'}{more}, ended by {self.ended_by}{how}>"

    def story(self) -> str:
        """The whole call, a line for each thing that happened."""
        told = [(event.at_ms, _told(event)) for event in self.report.events if event.kind not in ("said", "hang_up")]
        told += [(span.start_ms, f"the caller speaks until {_at(span.end_ms)}") for span in hearing.speech(self.said)]
        told += [(span.start_ms, f"the caller hears something until {_at(span.end_ms)}") for span in self.speech]
        lines = [f"{_at(at)}  {what}" for at, what in sorted(told, key=lambda line: line[0])]
        timed = bool(self.events("mark"))
        marks = [f"mark {name!r} came back {outcome}" for name, outcome in self.marks if not timed]
        rest = [f"did not go well: {error}" for error in self.errors] + [f"warning: {w}" for w in self.report.warnings]
        rest += [f"it went by real time: {self.held_by}"] if self.held_by else []
        end = self.report.ended or "the call failed"
        return "\n".join([f"{self.scenario.from_number} calls {self._whom}", *lines, *marks, end, *rest])

    @property
    def _whom(self) -> str:
        return f"{self.scenario.to_number} ({self.scenario.voice_url})"


def _at(ms: float) -> str:
    return f"{ms / 1000:7.3f} s"


def _told(event: Event) -> str:
    facts = " ".join(f"{name}={value}" for name, value in event.facts.items() if name != "sid")
    return f"{event.kind.replace('_', ' ')} {facts}".rstrip()


def _short(text: str) -> str:
    return re.sub(r"\s+", " ", text.splitlines()[-1] if "\n" in text else text)[:100]
