"""How sure a ratio is that was measured in several rounds, both sides in each."""

import math
import statistics
from typing import Self

import msgspec


# Student's t at 97.5 %, for 2 to 10 degrees of freedom; beyond, 1.96 + 2.7 / n is at most 0.01 too much.
T = dict(zip(range(2, 11), (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228), strict=True))


class Ratio(msgspec.Struct):
    """The median of the rounds' ratios, and the 95 % interval: None with fewer than three rounds.

    The interval is Student's on the logarithms. It supposes that a round's noise takes both sides of it alike, and that
    a round is as good as another one; what never changes on this machine it does not know.
    """

    median: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, these: list[float], those: list[float]) -> Self | None:
        """Of the pairs whose second is not 0; None if there is no such pair."""
        ratios = [this / that for this, that in zip(these, those, strict=True) if that]
        if not ratios:
            return None
        median = round(statistics.median(ratios), 3)
        freedom = len(ratios) - 1
        if freedom < 2 or not all(ratios):
            return cls(median)
        logarithms = [math.log(ratio) for ratio in ratios]
        centre = statistics.fmean(logarithms)
        reach = T.get(freedom, 1.96 + 2.7 / freedom) * statistics.stdev(logarithms) / math.sqrt(len(ratios))
        return cls(median, round(math.exp(centre - reach), 3), round(math.exp(centre + reach), 3))

    def __str__(self) -> str:
        return f"{self.median:.2f}" + ("" if self.low is None else f" ({self.low:.2f} to {self.high:.2f})")
