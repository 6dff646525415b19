"""What is measured beside a comparison: calls for long, one after the other, beside listeners, with what behind."""

import os
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmark import measuring, playing, servers, supervising, talking
from benchmark.candidates import CANDIDATES
from benchmark.lab import Lab
from benchmark.load import BenchmarkError, Load, build
from benchmark.ramp import Bench, Step
from benchmark.servers import manage


# CPU of a frame that is echoed and recorded, as a multiple of what a bare echo on the same server costs.
GATE = 1.25


def gate(lab: Lab, calls: int) -> dict[str, Any]:
    """Echo and recording against a bare echo on the same server, at one load; BenchmarkError past GATE."""
    costs: dict[str, list[float]] = {"callstream": [], "bare": []}
    for _ in range(lab.rounds):
        for name, measured in costs.items():
            with lab.bench(name) as bench:
                bench.grow(calls)
                step = bench.measure(lab.seconds)
                lost = bench.end()
            measured.append(step.frame_us)
            lab.say(f"{CANDIDATES[name].title}:")
            lab.tell(step)
            if lost:
                raise BenchmarkError(f"{lost} bytes are not recorded.")
    ours, bare = (statistics.median(measured) for measured in costs.values())
    if ours > GATE * bare:
        raise BenchmarkError(f"A frame costs {ours / bare:.2f} times a bare echo; {GATE} is the limit.")
    return {"calls": calls, "frame_us": ours, "bare_us": bare, "ratio": round(ours / bare, 2), "limit": GATE}


def soak(lab: Lab, name: str, calls: int, minutes: float) -> dict[str, Any]:
    """One load for minutes on end: what a frame costs in each, and what is lost (nothing may be)."""
    steps = []
    with lab.bench(name) as bench:
        bench.grow(calls)
        for _ in range(max(1, round(minutes * 2))):
            steps.append(bench.measure(30))
            lab.tell(steps[-1])
        lost = bench.end()
    window = [step.window for step in steps]
    if lost or bench.unanswered or any(one.garbled or one.dropped or one.refused for one in window):
        raise BenchmarkError(f"{lost} bytes not recorded, {bench.unanswered} frames not echoed: {window[-1]}")
    return {
        "server": name,
        "calls": calls,
        "minutes": minutes,
        "frames": sum(one.sent for one in window),
        "frames_lost": bench.unanswered,
        "bytes_lost": lost,
        "frame_us": [round(step.frame_us, 1) for step in steps],
        "p99_ms": [one.p99_ms for one in window],
        "memory_mb": [round((step.call_kb * step.calls) / 1024, 1) for step in steps],
    }


def turnover(lab: Lab, name: str, calls: int, at_once: int = 50) -> dict[str, Any]:
    """Calls by the thousand, some at once: the memory after the first hundred, and after the last."""
    memory = []
    lost = 0
    with lab.bench(name) as bench:
        for begun in range(0, calls, at_once):
            bench.grow(at_once)
            bench.load.measure(1)
            lost += bench.end(verify=begun + at_once >= calls) or 0
            memory.append(bench.server.usage().memory)
            if begun % 200 == 0:
                lab.say(f"  {begun + at_once:5} calls  {memory[-1] / 1024:.1f} MB")
    settled, after = memory[max(1, 100 // at_once) - 1], memory[-1]
    return {
        "server": name,
        "calls": calls,
        "after_100_mb": round(settled / 1024, 1),
        "after_all_mb": round(after / 1024, 1),
        "growth": round(after / settled - 1, 3),
        "bytes_lost": lost,
    }


def history(lab: Lab, calls: int, sizes: list[int]) -> dict[str, Any]:
    """The same load on top of longer and longer histories of calls."""
    rows = []
    for size in sizes:
        with lab.bench("callstream") as bench:
            if size:
                lab.say(f"Making {size:,} calls of the past")
                manage("seed_calls", str(size), "--live", "0", database_url=bench.server.database_url)
            bench.grow(calls)
            step = bench.measure(lab.seconds)
            lab.tell(step)
            bench.end(verify=False)
        rows.append(
            {"history": size, "frame_us": round(step.frame_us, 1), "p99_ms": step.window.p99_ms, "lag_s": step.lag}
        )
    return {"calls": calls, "rows": rows}


def listening(lab: Lab, calls: int, listeners: int) -> dict[str, Any]:
    """A recording of two hours: how soon it plays, and what its listeners cost the calls that are live meanwhile."""
    with lab.bench("callstream") as bench:
        pk = playing.make_long_call(bench)
        with playing.Staff(bench.server) as staff:
            alone = {str(minutes): playing.times(staff, pk, minutes) for minutes in playing.LENGTHS}
            for minutes, times in alone.items():
                lab.say(
                    f"  {minutes:>4} min  " + "  ".join(f"{what} {ms:.1f}" for what, ms in times.items()) + "  (ms)"
                )
            bench.grow(calls)
            before = bench.measure(lab.seconds)
            lab.tell(before)
            with playing.listeners(staff, pk, listeners) as answered:
                during = bench.measure(lab.seconds * 3)
            lab.tell(during)
        return {
            "calls": calls,
            "listeners": listeners,
            "alone_ms": alone,
            "p99_ms_before": before.window.p99_ms,
            "p99_ms_during": during.window.p99_ms,
            "requests_answered": len(answered),
            "median_request_ms": round(statistics.median(answered), 1) if answered else None,
        }


def talk(lab: Lab, calls: int, talkers: int) -> dict[str, Any]:
    """What callers notice whose handlers only echo while others talk, and have their turns told from their frames.

    The others are there in either case, and their handlers take frames first and then turns: so the ratio is what the
    telling costs, and not what more calls cost.
    """
    steps: dict[str, list[Step]] = {"frames": [], "turns": []}
    answers = 0
    with lab.bench("callstream") as bench:
        bench.grow(calls)
        for _ in range(lab.rounds):
            for handler, measured in steps.items():
                with talking.talkers(lab.folder, bench.server, lab.cores[1], talkers, handler) as others:
                    measured.append(_without_lag(bench.measure(lab.seconds)))
                    answers += sum(heard for _, _, heard, _ in others.close().streams)
                lab.say(f"{talkers} others, by their {handler}:")
                lab.tell(measured[-1])
        memory = bench.server.usage().memory
    p99 = {name: _median(measured, lambda step: step.window.p99_ms) for name, measured in steps.items()}
    cpu = {name: _median(measured, lambda step: step.cpu) for name, measured in steps.items()}
    return {
        "calls": calls,
        "talkers": talkers,
        "p99_ms": p99,
        "p99_ratio": round(p99["turns"] / p99["frames"], 2),
        "cpu": {name: round(share, 3) for name, share in cpu.items()},
        "cpu_ms_a_second_and_talker": round(1000 * (cpu["turns"] - cpu["frames"]) / talkers, 2),
        "answers": answers,
        "memory_mb": round(memory / 1024, 1),
        "generator_was_slow": {name: sum(one.window.is_generators for one in taken) for name, taken in steps.items()},
    }


def converse(lab: Lab, calls: int, at_once: int = 50) -> dict[str, Any]:
    """How long callers wait for an answer, whether they are one or fifty; and the memory after many of them.

    They say one sentence of 8 s again and again; 0.7 s of the wait is the silence that ends a turn.
    """
    waits: dict[str, dict[str, float]] = {}
    memory = []
    with lab.bench("callstream") as bench:
        for count in (1, 2, at_once):
            with talking.talkers(lab.folder, bench.server, lab.cores[1], count, "conversation") as callers:
                window = callers.measure(talking.ROUND * lab.rounds)
                waits[str(count)] = {"p50_ms": window.p50_ms, "p99_ms": window.p99_ms, "max_ms": window.max_ms}
                callers.close()
            lab.say(
                f"  {count:5} calls  " + "  ".join(f"{name} {wait:.0f}" for name, wait in waits[str(count)].items())
            )
        for begun in range(0, calls, at_once):
            with talking.talkers(lab.folder, bench.server, lab.cores[1], at_once, "conversation") as callers:
                callers.measure(talking.ROUND)
                answered = sum(heard for _, _, heard, _ in callers.close().streams)
            memory.append(bench.server.usage().memory)
            lab.say(f"  {begun + at_once:5} calls  {memory[-1] / 1024:.1f} MB  {answered} frames of answers")
    settled = memory[max(1, 100 // at_once) - 1]
    return {
        "waits": waits,
        "calls": calls,
        "after_100_mb": round(settled / 1024, 1),
        "after_all_mb": round(memory[-1] / 1024, 1),
        "growth": round(memory[-1] / settled - 1, 3),
    }


def measure(lab: Lab, calls: int) -> dict[str, Any]:
    """What measuring an hour of conversation costs, and what callers notice of it who are live meanwhile.

    It goes on without a pause, on the very core of the server: worse than the chores ever are.
    """
    steps: dict[str, list[Step]] = {"before": [], "meanwhile": []}
    with lab.bench("callstream") as bench:
        measuring.make_conversation(lab.folder, bench.server, lab.cores[1])
        costs = [measuring.measure(bench.server) for _ in range(lab.rounds)]
        cpu, memory = min(cost.cpu for cost in costs), max(cost.memory for cost in costs)
        lab.say(f"  an hour of call: {cpu:.1f} s of CPU, {memory:.0f} MB, {3600 / cpu:.0f} times real time")
        bench.grow(calls)
        for _ in range(lab.rounds):
            steps["before"].append(bench.measure(lab.seconds))
            lab.tell(steps["before"][-1])
            with measuring.measuring(bench.server):
                steps["meanwhile"].append(bench.measure(lab.seconds))
            lab.say("  and while calls are measured:")
            lab.tell(steps["meanwhile"][-1])
        lost = bench.end(verify=False)
    p99 = {name: _median(measured, lambda step: step.window.p99_ms) for name, measured in steps.items()}
    return {
        "cpu_s_an_hour": round(cpu, 2),
        "times_real_time": round(3600 / cpu),
        "memory_mb": round(memory),
        "calls": calls,
        "p99_ms": p99,
        "p99_ratio": round(p99["meanwhile"] / p99["before"], 2),
        "bytes_lost": lost,
        "generator_was_slow": {name: sum(one.window.is_generators for one in taken) for name, taken in steps.items()},
    }


def supervise(lab: Lab, calls: int, listened: int) -> dict[str, Any]:
    """What callers notice whom nobody listens to while others are listened to, by way of another process and Redis.

    The others are there in either case: so the ratio is what supervising costs, and not what more calls cost.
    """
    steps: dict[str, list[Step]] = {"alone": [], "supervised": []}
    pieces = 0
    name, core = "callstream-postgres" if lab.postgres else "callstream", lab.cores[1]
    os.sched_setaffinity(0, {core})
    with (
        servers.own_redis(core) as redis_url,
        lab.bench(name, redis_url) as bench,
        supervising.heard_calls(lab.folder, bench.server, core, listened) as pks,
        servers.beside(bench.server, core) as other,
        playing.Staff(other) as staff,
    ):
        bench.grow(calls - listened)
        for _ in range(lab.rounds):
            steps["alone"].append(_without_lag(bench.measure(lab.seconds)))
            lab.say(f"{listened} others, whom nobody hears:")
            lab.tell(steps["alone"][-1])
            with supervising.listeners(other, staff.cookie, pks) as heard:
                before = sum(heard)
                steps["supervised"].append(_without_lag(bench.measure(lab.seconds)))
                pieces += sum(heard) - before
            lab.say(f"{listened} others, each of whom somebody hears:")
            lab.tell(steps["supervised"][-1])
    p50 = {name: _median(measured, lambda step: step.window.p50_ms) for name, measured in steps.items()}
    p99 = {name: _median(measured, lambda step: step.window.p99_ms) for name, measured in steps.items()}
    cpu = {name: _median(measured, lambda step: step.cpu) for name, measured in steps.items()}
    return {
        "calls": calls,
        "listened_to": listened,
        "p50_ms": p50,
        "p99_ms": p99,
        "p99_ratio": round(p99["supervised"] / p99["alone"], 2),
        "cpu": {name: round(share, 3) for name, share in cpu.items()},
        "seconds_of_audio_a_second": round(pieces / 8000 / lab.seconds / lab.rounds, 1),
        "generator_was_slow": {name: sum(one.window.is_generators for one in taken) for name, taken in steps.items()},
    }


def scale(lab: Lab, calls: int) -> dict[str, Any]:
    """How many times the calls of one worker two of them carry, on one database and one Redis, each on its own core.

    A worker is full when its core is. So it is the CPU of a frame that tells: what it costs alone, over what it costs
    each of both at the same time. The generators share the cores, which both ways does the same.
    """
    alone: list[Step] = []
    together: list[tuple[Step, Step]] = []
    first, second = lab.cores
    with (
        servers.own_redis(second) as redis_url,
        lab.bench("callstream-postgres", redis_url) as one,
        servers.beside(one.server, second) as server,
        Load(build(lab.folder), server.port, first) as load,
        ThreadPoolExecutor(2) as pool,
    ):
        other = Bench(server, load)
        one.grow(calls)
        for _ in range(lab.rounds):
            alone.append(_without_lag(one.measure(lab.seconds)))
            lab.say("One worker:")
            lab.tell(alone[-1])
        other.grow(calls)
        for _ in range(lab.rounds):
            both = [pool.submit(bench.measure, lab.seconds) for bench in (one, other)]
            together.append((_without_lag(both[0].result()), _without_lag(both[1].result())))
            lab.say("Two workers:")
            for step in together[-1]:
                lab.tell(step)
    cost = statistics.median(step.frame_us for step in alone)
    costs = [statistics.median(pair[at].frame_us for pair in together) for at in (0, 1)]
    return {
        "calls_of_each": calls,
        "frame_us_alone": round(cost, 1),
        "frame_us_together": [round(each, 1) for each in costs],
        "p99_ms_alone": statistics.median(step.window.p99_ms for step in alone),
        "p99_ms_together": [statistics.median(pair[at].window.p99_ms for pair in together) for at in (0, 1)],
        "times_the_calls_of_one": round(sum(cost / each for each in costs), 2),
    }


def _without_lag(step: Step) -> Step:
    """The database has the audio of others too."""
    step.lag = None
    return step


def _median(steps: list[Step], ask: Callable[[Step], float]) -> float:
    """Of what was measured while the machine had no other work, if there was such a time."""
    quiet = [step for step in steps if not step.window.is_generators]
    return statistics.median(ask(step) for step in quiet or steps)
