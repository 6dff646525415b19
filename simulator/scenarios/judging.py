"""A script made of steps, and the verdict on a call that it was played in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from simulator.caller import Caller
from simulator.report import Event, Finding, Report
from simulator.scenarios.evidence import Evidence, Moment, Verdict
from simulator.scenarios.expectations import Frames, MarkBack
from simulator.scenarios.problems import Place
from simulator.scenarios.steps import Step
from simulator.scenarios.whole import WholeCall
from simulator.scenarios.words import count


@dataclass(frozen=True)
class Script:
    """`Scenario.script` and `Scenario.judge` of a scenario that was written down."""

    steps: Sequence[Step]
    whole: WholeCall

    def __call__(self, caller: Caller) -> Frames:
        numbers = _numbers(self.steps)
        for index, step in enumerate(self.steps):
            caller.note("step", step=index, says=step.says(), line=step.place.line)
            moment = Moment(caller.seconds * 1000, _words(caller.events), numbers[index])
            yield from step.frames(caller, moment)
        caller.note("step", step=len(self.steps), says="the end")

    def judge(self, report: Report) -> None:
        """Adds what became of every expectation: those of the steps, in their order, and those of the whole call."""
        findings = self.findings(report)
        if self.whole.failure:
            # They are what was expected; if they are not, the finding quotes them.
            report.errors.clear()
        for finding in findings:
            report.add(finding)

    def findings(self, report: Report) -> list[Finding]:
        evidence, findings = Evidence(report), list[Finding]()
        reached = _moments(report.events, _numbers(self.steps))
        if (next_one := len(reached)) < len(self.steps) and self.steps[next_one].expects_the_end:
            # The server was so quick to hang up that the caller had not come to expect it.
            reached[next_one] = Moment(evidence.end_ms)
        for index, step in enumerate(self.steps):
            if (moment := reached.get(index)) is not None:
                for one in step.expectations():
                    findings.append(_finding(one.what(), one.judge(evidence, moment), one.place))
        missed = [step for index, step in enumerate(self.steps) if index not in reached and not step.MAY_BE_MISSED]
        if missed and report.streams:
            findings.append(_missed(missed, evidence))
        for key, (what, verdict) in self.whole.judge(evidence):
            findings.append(_finding(what, verdict, self.whole.places[key]))
        return findings


def _numbers(steps: Sequence[Step]) -> list[int]:
    """Which of the marks of its name each step waits for; the second step that names it wants the second one."""
    seen, numbers = Counter[str](), list[int]()
    for step in steps:
        names = [one.name for one in step.expectations() if isinstance(one, MarkBack)]
        seen.update(names)
        numbers.append(seen[names[0]] if names else 1)
    return numbers


def _moments(events: Sequence[Event], numbers: Sequence[int]) -> dict[int, Moment]:
    """Of each step that was reached."""
    begins = [number for number, event in enumerate(events) if event.kind == "step"]
    moments = {}
    for begin, end in pairwise([*begins, len(events)]):
        index = int(str(events[begin].facts["step"]))
        if index < len(numbers):
            since, own = events[begin].at_ms, tuple(events[begin:end])
            words = _words(own if _words(own) else events[:begin])
            moments[index] = Moment(since, words, numbers[index], own)
    return moments


def _words(events: Sequence[Event]) -> float:
    """When the caller last began to speak, or pressed a key."""
    return next((event.at_ms for event in reversed(events) if event.kind in ("said", "pressed")), 0.0)


def _finding(what: str, verdict: Verdict, place: Place) -> Finding:
    return Finding(what, verdict.ok, f"{verdict.found} ({place.short})", place.line)


def _missed(steps: Sequence[Step], evidence: Evidence) -> Finding:
    first, more = steps[0], len(steps) - 1
    ended = evidence.report.ended or "the call was over"
    told = f", and {count(more, 'more step')}" if more else ""
    found = f"{ended}, before `{first.says()}`{told} ({first.place.short})"
    return Finding("every step is done", False, found, first.place.line)
