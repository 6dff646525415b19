"""A scenario written from a call that ran: what the caller did and when, and what they heard, as expectations."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import yaml

from simulator.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE, mono_wav
from simulator.hearing import find, speech
from simulator.report import Report
from simulator.scenario import Scenario
from simulator.scenarios.evidence import Evidence


SCHEMA = Path(__file__).with_name("scenario.schema.json")
# Words of the caller's that are not further apart are one file.
PAUSE_MS = 700
# From the end of its words to where a caller notices that the server is silent.
NOTICED_MS = 500
# Of a sound that is kept: enough to know it by. And the shortest one that can be known.
LONGEST_MS, SHORTEST_MS = 10_000, 200
FRAME_MS = 20
# A mark that somebody named; those that a program numbers have other names in the next call.
_NAME = re.compile(r"[A-Za-z][A-Za-z _.-]*\d{0,2}")


@dataclass(frozen=True)
class Deed:
    """Something that the caller did; `step` as it stands in a file."""

    begin_ms: float
    end_ms: float
    step: dict[str, Any] | str

    @property
    def is_telling(self) -> bool:
        return isinstance(self.step, dict) and ("play" in self.step or "press" in self.step)


def write_scenario(report: Report, scenario: Scenario, path: Path) -> None:
    """Writes the file, and the WAV files beside it that it names: what was said, and what was heard.

    Played against the same server it passes; a response may take half as long again, and half a second. The token is
    not in it. ValueError for a call without a stream, and one that the server placed; OSError if it cannot be written.
    """
    if scenario.direction != "inbound":
        raise ValueError("only a call that comes in can be written as a scenario")
    if not report.streams:
        raise ValueError("a call that opened no stream cannot be written as a scenario")
    recording = _Recording(report, scenario, path)
    schema = os.path.relpath(SCHEMA, path.resolve().parent)
    text = f"# yaml-language-server: $schema={schema}\n{recording.text()}"
    for name, audio in recording.files.items():
        path.with_name(name).write_bytes(mono_wav(audio))
    path.write_text(text)


class _Recording:
    def __init__(self, report: Report, scenario: Scenario, path: Path) -> None:
        self.report, self.scenario, self.stem = report, scenario, path.stem
        self.evidence = Evidence(report)
        self.files: dict[str, bytes] = {}
        #: What the server said; pauses of less than half a second are none.
        self.talk = speech(self.evidence.heard, pause_ms=NOTICED_MS)
        self.said = self._said()

    def text(self) -> str:
        deeds = self._deeds()
        lines = [*self._head(), "steps:", *(f"  - {_inline(step)}" for step in self._steps(deeds))]
        lines += ["expect:", *(f"  {_inline({key: value})}" for key, value in self._whole(deeds))]
        return "\n".join(lines) + "\n"

    def _head(self) -> Iterator[str]:
        scenario = self.scenario
        yield _inline({"name": scenario.name or self.stem})
        yield "variables:"
        yield f"  {_inline({'voice_url': scenario.voice_url})}"
        yield "server:"
        yield "  voice_url: ${voice_url}"
        if scenario.server:
            yield f"  {_inline({'address': scenario.server})}"
        if scenario.status_callback:
            yield f"  {_inline({'status_callback': scenario.status_callback_url})}"
        if scenario.insecure:
            yield "  insecure: true"
        yield f"from: '{scenario.from_number}'"
        yield f"to: '{scenario.to_number}'"
        if line := self._line():
            yield _inline({"line": line})
        if scenario.dial:
            yield _inline({"dial": [_dial(one.status, one.seconds) for one in scenario.dial]})
        if scenario.callee_audio:
            yield _inline({"callee": {"play": self._keep("callee", scenario.callee_audio)}})

    def _line(self) -> dict[str, Any]:
        """Losses are in what a script said already; what was to be said by a caller without one is as it was."""
        scenario = self.scenario
        faults = {"burst": scenario.burst if scenario.burst > 1 else 0}
        texts = {"jitter": _duration(scenario.jitter) if scenario.jitter else ""}
        if scenario.script is None and scenario.drop:
            texts["loss"] = f"{scenario.drop * 100:g}%"
        return {name: value for name, value in {**texts, **faults}.items() if value}

    def _said(self) -> bytes:
        sent = self.report.sent
        if self.scenario.script is not None or not self.scenario.drop:
            return sent
        return (self.scenario.audio + SILENCE * len(sent))[: len(sent)]

    # --- what the caller did

    def _deeds(self) -> list[Deed]:
        """In order. What was done while a sentence was said comes behind it."""
        deeds = [*self._sentences(), *self._keys(), *self._others()]
        return sorted(deeds, key=lambda deed: deed.begin_ms)

    def _sentences(self) -> Iterator[Deed]:
        for number, span in enumerate(speech(self.said, pause_ms=PAUSE_MS), 1):
            begin = int(span.start_ms // FRAME_MS) * FRAME_SAMPLES
            end = ceil(span.end_ms / FRAME_MS) * FRAME_SAMPLES
            file = self._keep(f"said-{number}", self.said[begin:end])
            yield Deed(begin * 1000 / SAMPLE_RATE, end * 1000 / SAMPLE_RATE, {"play": file})

    def _keys(self) -> Iterator[Deed]:
        for event in self.evidence.of("pressed"):
            yield Deed(event.at_ms, event.at_ms + FRAME_MS, {"press": str(event.facts["digit"])})

    def _others(self) -> Iterator[Deed]:
        for event in self.evidence.of("hold"):
            lasting = float(str(event.facts["ms"]))
            yield Deed(event.at_ms, event.at_ms + lasting, {"hold": _duration(lasting / 1000)})
        for event in self.evidence.of("closed"):
            if (event.facts.get("by"), event.facts.get("code")) == ("caller", 1006):
                yield Deed(event.at_ms, event.at_ms + FRAME_MS, "cut")

    # --- and what went on meanwhile

    def _steps(self, deeds: list[Deed]) -> Iterator[dict[str, Any] | str]:
        now, by_caller = 0.0, self.evidence.ended_by == "caller"
        for deed in deeds:
            yield from self._before(deed, now)
            now = max(now, deed.end_ms)
        if by_caller:
            yield from self._meanwhile(now, self.evidence.end_ms)
            yield "hang_up"
        else:
            yield {"expect": {"hang_up": _allowed(self.evidence.end_ms - now)}}

    def _before(self, deed: Deed, now: float) -> Iterator[dict[str, Any] | str]:
        talk = next((span for span in self.talk if span.start_ms < deed.begin_ms < span.end_ms), None)
        if talk is None or talk.start_ms < now or not deed.is_telling:
            yield from self._meanwhile(now, deed.begin_ms)
            yield deed.step
        else:
            assert isinstance(deed.step, dict), "who tells something says or presses it"
            yield from self._meanwhile(now, talk.start_ms + 1)
            yield {"interrupt": {"after": _duration((deed.begin_ms - talk.start_ms) / 1000), **deed.step}}

    def _meanwhile(self, now: float, until: float) -> Iterator[dict[str, Any] | str]:
        """Waits for what the server said then, and for the rest of the time."""
        for span in self.talk:
            if now <= span.start_ms < until:
                yield {"expect": {"speech": _allowed(span.start_ms - now)}}
                now = span.start_ms
            if now < span.end_ms <= until and now >= span.start_ms:
                yield {"wait_for": "silence"}
                now = max(now, min(until, span.end_ms + NOTICED_MS))
        if until - now >= FRAME_MS:
            yield {"wait": _duration((until - now) / 1000)}

    def _whole(self, deeds: list[Deed]) -> Iterator[tuple[str, Any]]:
        yield "streams", len(self.report.streams)
        yield "ended_by", self.evidence.ended_by
        outcomes: dict[str, set[str]] = {}
        for name, outcome in filter(lambda mark: _NAME.fullmatch(mark[0]), self.report.marks):
            outcomes.setdefault(name, set()).add(outcome)
        if outcomes:
            yield "marks", {name: one.pop() if len(one) == 1 else "any" for name, one in outcomes.items()}
        if self.report.dialled:
            yield "dialled", list(self.report.dialled)
        if sounds := list(self._sounds(deeds)):
            yield "sounds", sounds
        if not self.talk:
            yield "nothing_heard", True

    def _sounds(self, deeds: list[Deed]) -> Iterator[str]:
        """Each once. Of what was interrupted, what was heard before: how quickly a server stops is never the same."""
        tellings, kept = [deed.begin_ms for deed in deeds if deed.is_telling], list[bytes]()
        for span in self.talk:
            into = [at for at in tellings if span.start_ms < at < span.end_ms]
            end = min([span.end_ms, span.start_ms + LONGEST_MS, *into])
            audio = self.evidence.sound(span.start_ms, end)
            if end - span.start_ms >= SHORTEST_MS and not any(find(audio, other) for other in kept):
                kept.append(audio)
                yield self._keep(f"heard-{len(kept)}", audio)

    def _keep(self, what: str, audio: bytes) -> str:
        name = f"{self.stem}-{what}.wav"
        self.files[name] = audio
        return name


def _allowed(ms: float) -> str:
    """With some tolerance, in tenths of a second; a second at least."""
    return f"{max(1.0, ceil((ms * 1.5 + 500) / 100) / 10):g}s"


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms" if seconds < 1 else f"{round(seconds, 2):g}s"


def _dial(status: str, seconds: float | None) -> str | dict[str, str]:
    return status if seconds is None else {"outcome": status, "lasting": _duration(seconds)}


def _inline(value: object) -> str:
    """A key with its value on one line, or a word."""
    if isinstance(value, dict) and len(value) == 1:
        (key, inner), *_ = value.items()
        return f"{key}: {_flow(inner)}"
    return _flow(value)


def _flow(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return str(text).removesuffix("\n").removesuffix("\n...")
