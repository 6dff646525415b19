"""Which of two lists of things belong together, in order, when some are missing in one and all have moved. Pure."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar


T = TypeVar("T")
Pair = tuple[T | None, T | None]

# A pair costs 1 at most (`farness`), and two that are left out more than that: what may be a pair is one.
LEFT_OUT = 0.6
# Two that are one on the other side, since a pause was a little longer, rather than one and another that was lost.
TORN = 0.3
# How many of each side a step takes.
_STEPS = ((1, 1), (1, 0), (0, 1), (2, 1), (1, 2))


def farness(ms: int) -> float:
    """What it costs to be so far apart, from 0 to 1: the first second makes more of a difference than the tenth."""
    return abs(ms) / (abs(ms) + 2000)


def aligned(
    before: Sequence[T],
    after: Sequence[T],
    cost: Callable[[T, T], float],
    join: Callable[[T, T], T] | None = None,
) -> list[Pair[T]]:
    """Pairs at the least cost, in the order of both; None on the side where there is none.

    `cost` is from 0 to 1. With `join`, two in a row may be one on the other side if they cost less than TORN.
    """
    return _Alignment(before, after, cost, join).pairs()


class _Alignment(Generic[T]):
    """The textbook's one: what the first n of one side and the first m of the other cost follows from fewer of them."""

    def __init__(
        self,
        before: Sequence[T],
        after: Sequence[T],
        cost: Callable[[T, T], float],
        join: Callable[[T, T], T] | None,
    ) -> None:
        self._before, self._after, self._cost, self._join = before, after, cost, join

    def pairs(self) -> list[Pair[T]]:
        """From the last step back to the first one."""
        steps = self._steps()
        found = []
        one, other = len(self._before), len(self._after)
        while one or other:
            step = steps[one][other]
            found.append(self._taken(one, other, step))
            one, other = one - _STEPS[step][0], other - _STEPS[step][1]
        return found[::-1]

    def _steps(self) -> list[bytearray]:
        """The last step to each (n, m)."""
        width = len(self._after) + 1
        steps, totals = [], [[0.0] * width for _ in range(2)]
        for one in range(len(self._before) + 1):
            row, chosen = [0.0] * width, bytearray(width)
            rows = (row, totals[-1], totals[-2])
            for other in range(width):
                ways = [
                    (rows[_STEPS[step][0]][other - _STEPS[step][1]] + own, step) for step, own in self._ways(one, other)
                ]
                row[other], chosen[other] = min(ways, default=(0.0, 0))
            totals = [totals[-1], row]
            steps.append(chosen)
        return steps

    def _ways(self, one: int, other: int) -> list[tuple[int, float]]:
        """The steps that lead there, each with what it adds."""
        possible = [step for step, (back, forth) in enumerate(_STEPS) if back <= one and forth <= other]
        costs = [(step, self._added(one, other, step)) for step in possible]
        return [(step, added) for step, added in costs if added is not None]

    def _added(self, one: int, other: int, step: int) -> float | None:
        if 0 in _STEPS[step]:
            return LEFT_OUT
        is_torn = 2 in _STEPS[step]
        if is_torn and self._join is None:
            return None
        before, after = self._taken(one, other, step)
        assert before is not None, "a pair has both"
        assert after is not None, "a pair has both"
        cost = self._cost(before, after)
        if is_torn:
            return cost + TORN if cost < TORN else None
        return cost

    def _taken(self, one: int, other: int, step: int) -> Pair[T]:
        back, forth = _STEPS[step]
        return self._one(self._before[one - back : one]), self._one(self._after[other - forth : other])

    def _one(self, items: Sequence[T]) -> T | None:
        if len(items) == 2 and self._join is not None:
            return self._join(*items)
        return items[0] if items else None
