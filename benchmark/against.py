"""What a frame costs here beside what it costs at another revision of ours, on one machine in the same minutes."""

import re
from typing import Any

import msgspec

from benchmark import revisions
from benchmark.candidates import APPLICATION, HERE, OURS, UVICORN, Candidate, Checkout
from benchmark.lab import Lab
from benchmark.load import BenchmarkError
from benchmark.ramp import Step
from benchmark.spread import Ratio


def against(lab: Lab, revision: str, calls: int) -> dict[str, Any]:
    """One load here and there, in rounds through both that begin with either in turn. `here` has what is not committed.

    With --postgres both are on PostgreSQL.
    """
    if not revision:
        raise BenchmarkError("Against which revision? Name a tag, a branch or a commit: bench_streams against v0.1.0")
    commit = revisions.resolve(HERE.home, revision)
    theirs = revisions.prepare(HERE.home, revision, commit, lab.folder, lab.say)
    sides = {"here": _candidate(lab, "here", HERE), "there": _candidate(lab, revision, theirs)}
    steps: dict[str, list[Step]] = {side: [] for side in sides}
    lost = dict.fromkeys(sides, 0)
    for number in range(lab.rounds):
        for side in list(sides) if number % 2 == 0 else reversed(sides):
            lab.say(f"Round {number + 1}, {sides[side].title}:")
            with lab.bench(sides[side]) as bench:
                bench.grow(calls)
                steps[side].append(bench.measure(lab.seconds))
                lab.tell(steps[side][-1])
                lost[side] += bench.end(verify=False) or 0
    ratio = Ratio.of(*([step.frame_us for step in taken] for taken in steps.values()))
    return {
        "revision": revision,
        "commit": commit,
        "calls": calls,
        "frame_us": {side: [round(step.frame_us, 1) for step in taken] for side, taken in steps.items()},
        "ratio": msgspec.to_builtins(ratio),
        "p99_ms": {side: [step.window.p99_ms for step in taken] for side, taken in steps.items()},
        "rounds_held": {side: sum(step.window.is_held for step in taken) for side, taken in steps.items()},
        "bytes_lost": lost,
        "generator_was_slow": {side: sum(step.window.is_generators for step in taken) for side, taken in steps.items()},
        "in_words": f"With {calls} calls a frame costs here {ratio} times what it costs at {revision}.",
    }


def _candidate(lab: Lab, title: str, checkout: Checkout) -> Candidate:
    """As that revision's image serves: its Dockerfile says what carries the media."""
    dockerfile = checkout.home / "Dockerfile"
    said = re.search(r'"--ws", "([^"]+)"', dockerfile.read_text() if dockerfile.exists() else "")
    command = f"{UVICORN}{said[1] if said else OURS.strip()} {APPLICATION}"
    name = revisions.in_a_path(title)
    return Candidate(name, title, command, records=True, is_sqlite=not lab.postgres, checkout=checkout)
