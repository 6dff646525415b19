"""How many calls each server holds, and what gives out at the next one."""

import statistics
from typing import Any

from benchmark.candidates import CANDIDATES, Candidate
from benchmark.lab import Lab
from benchmark.load import BenchmarkError
from benchmark.ramp import Result, ramp


def compare(lab: Lab, names: list[str]) -> dict[str, Any]:
    """The calls that each server holds, in rounds through all of them."""
    results: dict[str, list[Result]] = {name: [] for name in names}
    for number in range(lab.rounds):
        for name in names:
            lab.say(f"Round {number + 1}: {CANDIDATES[name].title}")
            with lab.bench(name) as bench:
                result = ramp(bench, lab.seconds, lab.tell)
            results[name].append(result)
            lab.say(
                f"  held {result.held}" + ("" if result.bytes_lost is None else f", {result.bytes_lost} bytes lost")
            )
    return {"servers": {name: _summary(CANDIDATES[name], rounds) for name, rounds in results.items()}}


def _summary(candidate: Candidate, rounds: list[Result]) -> dict[str, Any]:
    best = [result.best for result in rounds if result.best]
    if not best:
        raise BenchmarkError(f"{candidate.title} holds no call here: is something else running on this machine?")
    lags = [step.lag for step in best if step.lag is not None]
    return {
        "title": candidate.title,
        "held": [result.held for result in rounds],
        "held_median": round(statistics.median(result.held for result in rounds)),
        "frame_us": round(statistics.median(step.frame_us for step in best), 1),
        "call_kb": round(statistics.median(step.call_kb for step in best)),
        "lag_s": round(statistics.median(lags), 2) if lags else None,
        "bytes_lost": sum(result.bytes_lost or 0 for result in rounds) if candidate.records else None,
        "generator_was_slow": any(step.window.is_generators for step in best),
        "steps": [[step.calls, round(step.frame_us, 1), step.window.p99_ms] for step in rounds[0].steps],
    }
