"""How many calls each server holds, and what gives out at the next one."""

import statistics
from typing import Any

import msgspec

from benchmark.candidates import CANDIDATES, Candidate
from benchmark.lab import Lab
from benchmark.limits import limit
from benchmark.load import BenchmarkError
from benchmark.ramp import Result, ramp
from benchmark.spread import Ratio


# What each server's calls are told as a ratio to, if it ran: what others would build on, the limit, and what ours
# hold without the C extension.
AGAINST = ("fastapi", "picows", "callstream-python")


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
    found = {name: _summary(CANDIDATES[name], rounds) for name, rounds in results.items()}
    for one in found.values():
        one["ratios"] = {name: _ratio(one, found[name]) for name in AGAINST if name in found}
    return {"servers": found}


def _ratio(one: dict[str, Any], other: dict[str, Any]) -> Any:
    """Of the calls held in the same round."""
    return msgspec.to_builtins(Ratio.of(one["held"], other["held"]))


def _summary(candidate: Candidate, rounds: list[Result]) -> dict[str, Any]:
    best = [result.best for result in rounds if result.best]
    if not best:
        raise BenchmarkError(f"{candidate.title} holds no call here: is something else running on this machine?")
    beyond = [result.beyond for result in rounds if result.beyond]
    waited = [step.waited for step in beyond if step.waited is not None]
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
        "limits": [limit(step) for step in beyond],
        "loop_share": round(statistics.median(step.loop for step in beyond), 3) if beyond else None,
        "thread_share": round(statistics.median(step.cpu - step.loop for step in beyond), 3) if beyond else None,
        "waited_share": round(statistics.median(waited), 3) if waited else None,
        "steps": [[step.calls, round(step.frame_us, 1), step.window.p99_ms] for step in rounds[0].steps],
    }
