"""What a thousand calls an hour cost: cores of ours, cores of PostgreSQL, rows and audio."""

import math
import statistics
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from benchmark.callers import CONNECTED, complete, place
from benchmark.lab import Lab
from benchmark.postgres import watched
from benchmark.ramp import Bench
from benchmark.servers import cursor


AN_HOUR = 1000
# Seconds of a call that is only there to begin and to end, and in which the recorder writes what is left of it.
SHORT, WRITTEN = 1.0, 1.0
FRAMES_A_SECOND = 50
STORED = "SELECT COUNT(*), COALESCE(SUM(length), 0) FROM calls_audiochunk"

T = TypeVar("T")
#: Seconds of CPU of each side; not a number where PostgreSQL does not run on this machine.
Spent = dict[str, float]


def cost(lab: Lab, calls: int, minutes: float) -> dict[str, Any]:
    """Two figures make a call: what a second of talking costs among that many, and what beginning and ending does.

    What merges rows, archives, measures and erases later is the chores', and not in it.
    """
    seconds, turns = list[Spent](), list[Spent]()
    rows, size, slow = list[float](), list[float](), 0
    with lab.bench("callstream-postgres") as bench:
        _turn(bench, calls)
        for number in range(lab.rounds):
            bench.grow(calls)
            before = _stored(bench)
            window, spent = _spending(bench, lambda: bench.load.measure(lab.seconds))
            talked, after = calls * window.seconds, _stored(bench)
            seconds.append({side: used / talked for side, used in spent.items()})
            rows.append((after[0] - before[0]) / talked)
            size.append((after[1] - before[1]) / talked)
            slow += window.is_generators
            bench.hang_up()
            time.sleep(WRITTEN)
            talked, spent = _spending(bench, lambda: _turn(bench, calls))
            turns.append({side: max(used - talked * seconds[-1][side], 0.0) / calls for side, used in spent.items()})
            lab.say(f"  Round {number + 1}: {_ms(seconds[-1])} a second of call, {_ms(turns[-1])} to begin and end one")
    at_once = AN_HOUR * minutes / 60
    talking = {side: at_once * used for side, used in _medians(seconds).items()}
    turning = {side: AN_HOUR / 3600 * used for side, used in _medians(turns).items()}
    cores = {side: talking[side] + turning[side] for side in talking}
    return {
        "calls": calls,
        "calls_an_hour": AN_HOUR,
        "minutes": minutes,
        "at_once": round(at_once, 1),
        "cores": _known(cores),
        "of_which_to_begin_and_end": _known(turning),
        "rows_of_audio_a_second": round(statistics.median(rows) * at_once),
        "gb_of_audio_a_day": round(statistics.median(size) * at_once * 86_400 / 1e9, 1),
        "generator_was_slow": slow,
        "in_words": in_words(minutes, cores),
    }


def in_words(minutes: float, cores: Spent) -> str:
    theirs = f" and {cores['postgres']:.2f} of PostgreSQL"
    if math.isnan(cores["postgres"]):
        theirs = "; what PostgreSQL takes is not to be seen from here"
    return f"{AN_HOUR} calls an hour of {minutes:g} minutes take {cores['callstream']:.2f} cores of Callstream{theirs}."


def _medians(several: list[Spent]) -> Spent:
    return {side: statistics.median(one[side] for one in several) for side in several[0]}


def _known(spent: Spent) -> dict[str, float | None]:
    return {side: None if math.isnan(used) else round(used, 3) for side, used in spent.items()}


def _ms(spent: Spent) -> str:
    return " and ".join(f"{1000 * used:.2f} ms of {side}" for side, used in spent.items())


def _stored(bench: Bench) -> tuple[int, int]:
    with cursor(bench.server.database_url) as rows:
        rows.execute(STORED)
        [[count, samples]] = rows.fetchall()
    return int(count), int(samples)


def _turn(bench: Bench, calls: int) -> float:
    """Calls that begin, say a little and end, with all of their webhooks. Seconds that they talked together."""
    placed = place(bench.server, calls)
    for call in placed:
        bench.load.open(call, CONNECTED)
    bench.load.measure(SHORT)
    ended = bench.hang_up()
    complete(bench.server, placed, SHORT)
    time.sleep(WRITTEN)
    return sum(sent for _, sent, _, _ in ended.streams) / FRAMES_A_SECOND


def _spending(bench: Bench, act: Callable[[], T]) -> tuple[T, Spent]:
    began = bench.server.usage().cpu
    with watched(urlsplit(bench.server.database_url).path[1:]) as used:
        answer = act()
    postgres = math.nan if used.seconds is None else used.seconds
    return answer, {"callstream": bench.server.usage().cpu - began, "postgres": postgres}
