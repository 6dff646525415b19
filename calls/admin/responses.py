"""How long callers waited for answers this week, by handler and day: a small chart for each of the busiest handlers.

One query counts the calls in steps of their median response; the percentiles are read off these counts.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from django.db.models import Case, Count, F, IntegerField, QuerySet, Value, When
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils.formats import date_format

from calls.admin.cells import wait
from calls.admin.filters import midnight
from calls.models import Call


WEEK, BUSIEST = 7, 5
# Percent of a chart's width in which its scale is written.
LEFT = 12
DAY = (100 - LEFT) / WEEK
# Ms: a percentile is that exact, and the database returns that few rows.
STEP = 20
# Where lines of a chart may end, in ms.
SCALES = (
    *(500, 1000, 1500, 2000, 3000, 4000, 5000, 6000, 8000, 10_000),
    *(20_000, 30_000, 60_000, 120_000, 300_000, 600_000),
)
SHARES = {"half": 0.5, "most": 0.95}
Steps = Counter[int]
Week = dict[int, Steps]


@dataclass(frozen=True)
class Point:
    """A percentile of a day in ms, at percents of the chart's width and height from its top left corner.

    Its link is as wide as the day, and reaches from `top` as far as it is `tall`: to half the way to the other point.
    """

    ms: int
    x: float
    y: float
    top: float
    tall: float
    title: str
    link: str

    @property
    def left(self) -> float:
        return round(self.x - DAY / 2, 2)

    @property
    def wait(self) -> str:
        return wait(self.ms)


@dataclass(frozen=True)
class Chart:
    """A handler's week. `days` has none of a day's points if none of its calls was measured."""

    name: str
    link: str
    calls: int
    half: str
    most: str
    days: list[dict[str, Point]]

    @property
    def lines(self) -> list[tuple[str, Point, Point]]:
        """From a day to the next one that has points, by share."""
        of_share = {share: [day[share] for day in self.days if day] for share in SHARES}
        return [(share, *ends) for share, points in of_share.items() for ends in pairwise(points)]


def responses(calls: QuerySet[Call]) -> dict[str, Any]:
    """For the overview, of the calls of the last seven days."""
    weeks = busiest(counted(calls))
    most = (percentile(steps, SHARES["most"]) for _, week in weeks for steps in week.values())
    longest = max(most, default=0)
    top = next((scale for scale in SCALES if scale >= longest), longest)
    return {
        "charts": [_chart(name, week, top) for name, week in weeks],
        "chart_days": [midnight(number + 1 - WEEK) for number in range(WEEK)],
        "chart_day": round(DAY, 2),
        "chart_lines": [{"y": 100 - percent, "word": f"{top * percent / 100_000:g} s"} for percent in (50, 100)],
    }


def counted(calls: QuerySet[Call]) -> dict[str, Week]:
    """Of each handler and day (0 is six days ago), how many calls have their median response in which step."""
    # Comparing with seven midnights costs a tenth of what SQLite's TruncDay does, a Python function for every row.
    whens = (When(created_at__gte=midnight(number + 1 - WEEK), then=Value(number)) for number in reversed(range(WEEK)))
    day = Case(*whens, default=Value(0), output_field=IntegerField())
    # Grouped by the field itself, SQLite would rather read the index of handlers, and with it every call there is.
    facts = {"name": Coalesce("handler", Value("")), "day": day, "step": F("response_ms") / STEP}
    rows = calls.filter(response_ms__isnull=False).order_by().annotate(**facts).values_list(*facts)
    found: dict[str, Week] = defaultdict(lambda: defaultdict(Counter))
    for handler, number, step, count in rows.annotate(Count("pk")):
        found[handler][number][step] += count
    return found


def busiest(weeks: dict[str, Week]) -> list[tuple[str | None, Week]]:
    """Those with most calls, and all others as one without a name."""
    order = sorted(weeks, key=lambda name: (-_total(weeks[name]), name))
    others: Week = defaultdict(Counter)
    for name in order[BUSIEST:]:
        for number, steps in weeks[name].items():
            others[number].update(steps)
    return [*((name, weeks[name]) for name in order[:BUSIEST]), *([(None, others)] if others else [])]


def percentile(steps: Steps, share: float) -> int:
    """Ms below which that share of the calls lies; within a step, as if they lay evenly."""
    left = share * steps.total()
    for step, count in sorted(steps.items()):
        if left <= count:
            return round((step + left / count) * STEP)
        left -= count
    raise AssertionError("no share is more than all of them, and no day without calls is asked for")


def _chart(name: str | None, week: Week, top: int) -> Chart:
    all_days = sum(week.values(), Counter())
    half, most = (wait(percentile(all_days, share)) for share in SHARES.values())
    days = [_points(name, number, week[number], top) if week.get(number) else {} for number in range(WEEK)]
    word = "other handlers" if name is None else name or "no handler"
    return Chart(word, _link(name, when="7d"), all_days.total(), half, most, days)


def _points(name: str | None, number: int, steps: Steps, top: int) -> dict[str, Point]:
    day, x = midnight(number + 1 - WEEK), round(LEFT + (number + 0.5) * DAY, 2)
    times = {"since": f"{day:%Y-%m-%d}", "until": f"{day:%Y-%m-%d}"}
    half, most = (percentile(steps, share) for share in SHARES.values())
    below, above = (round(100 - 100 * ms / top, 2) for ms in (half, most))
    middle = round((below + above) / 2, 2)
    said = f"{date_format(day, 'D j M')}: half of {steps.total()} calls {wait(half)}, 95 % at most {wait(most)}"
    said += "" if name else "; among those of all handlers"
    slowest = _link(name, **times, median=f"{most / 1000:.3f}")
    return {
        "half": Point(half, x, below, middle, round(100 - middle, 2), said, _link(name, **times)),
        "most": Point(most, x, above, 0, middle, f"{said}. The slowest", slowest),
    }


def _total(week: Week) -> int:
    return sum(steps.total() for steps in week.values())


def _link(name: str | None, **query: str) -> str:
    """To the calls of a handler; the list has no filter for those of several, or of none: they are among all then."""
    query |= {"handler": name} if name else {}
    return f"{reverse('admin:calls_call_changelist')}?{urlencode(query)}"
