"""How recent calls went, in four queries over the last seven days, each figure with its list."""

import datetime as dt
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import TruncHour
from django.urls import reverse
from django.utils.formats import date_format

from calls.admin.cells import clock
from calls.admin.filters import midnight
from calls.admin.live import running
from calls.admin.responses import WEEK, responses
from calls.media.audio import SAMPLE_RATE
from calls.models import Call


BAR, HEIGHT = 6, 96


@dataclass(frozen=True)
class Figure:
    word: str
    value: str
    link: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Bar:
    """An hour: answered calls below, the others on top of them."""

    x: int
    answered: float
    missed: float
    title: str
    link: str

    @property
    def answered_top(self) -> float:
        return HEIGHT - self.answered

    @property
    def top(self) -> float:
        return HEIGHT - self.answered - self.missed


@dataclass(frozen=True)
class Day:
    """Where a day begins in the chart, and its calls: keyboard users reach them here, rather than through 168 bars."""

    x: int
    name: str
    number: str
    link: str


def overview(*, may_watch: bool) -> dict[str, Any]:
    """`may_watch`: whether what runs now leads to the list of running calls."""
    today = midnight(0)
    start = midnight(1 - WEEK)
    calls = Call.objects.filter(created_at__gte=start)
    hours = _hours(calls)
    week = _sum(hours)
    return {
        "figures": [
            _live(may_watch),
            *_figures(calls, week, _sum(hour for hour in hours if hour["hour"] >= today)),
        ],
        "bars": _bars(hours, start),
        "days": [_day(index) for index in range(WEEK)],
        "width": WEEK * 24 * BAR,
        "height": HEIGHT,
        "most": max((hour["calls"] for hour in hours), default=0),
        "week": week,
        **responses(calls),
    }


def _hours(calls: QuerySet[Call]) -> list[dict[str, Any]]:
    counts = {
        "calls": Count("pk"),
        "answered": Count("pk", filter=Q(answered_at__isnull=False)),
        "warnings": Count("pk", filter=Q(has_warning=True)),
        "recorded": Count("pk", filter=Q(audio_samples__gt=0)),
    }
    by_hour = calls.order_by().annotate(hour=TruncHour("created_at")).values("hour")
    return [dict(row) for row in by_hour.annotate(**counts)]


def _sum(hours: Any) -> dict[str, int]:
    totals = dict.fromkeys(("calls", "answered", "warnings", "recorded"), 0)
    for hour in hours:
        for name in totals:
            totals[name] += hour[name]
    return totals


def _live(may_watch: bool) -> Figure:
    live = len(running()) if may_watch else Call.objects.live().count()
    link = reverse("admin:calls_call_live") if may_watch else _list(status="live")
    return Figure("Live now", str(live), link, "watch and listen in" if may_watch else "", "live" if live else "")


def _figures(calls: QuerySet[Call], week: dict[str, int], today: dict[str, int]) -> list[Figure]:
    lengths = _lengths(calls)
    median, most = (_at(lengths, share) for share in (0.5, 0.95))
    return [
        Figure("Today", str(today["calls"]), _list(when="today"), f"{_share(today, 'answered')} answered"),
        Figure("Last 7 days", str(week["calls"]), _list(when="7d"), f"{_share(week, 'answered')} answered"),
        Figure("Median length", median, _list(when="7d", recording="yes"), f"95 % are shorter than {most}"),
        Figure(
            "With warnings",
            _share(week, "warnings"),
            _list(when="7d", flag="warning"),
            f"{week['warnings']} calls",
            "warn" if week["warnings"] else "",
        ),
    ]


def _bars(hours: list[dict[str, Any]], start: dt.datetime) -> list[Bar]:
    scale = HEIGHT / max((hour["calls"] for hour in hours), default=1)
    return [_bar(hour, start, scale) for hour in hours]


def _bar(hour: dict[str, Any], start: dt.datetime, scale: float) -> Bar:
    since = hour["hour"]
    missed = hour["calls"] - hour["answered"]
    index = int((since - start).total_seconds() // 3600)
    title = f"{date_format(since, 'D j M, H:i')}: {hour['answered']} answered, {missed} not"
    link = _list(since=f"{since:%Y-%m-%dT%H:%M}", until=f"{since:%Y-%m-%dT%H:59}")
    return Bar(index * BAR, round(hour["answered"] * scale, 1), round(missed * scale, 1), title, link)


def _day(index: int) -> Day:
    day = midnight(index + 1 - WEEK)
    link = _list(since=f"{day:%Y-%m-%d}", until=f"{day:%Y-%m-%d}")
    return Day(index * 24 * BAR, date_format(day, "D"), date_format(day, "j"), link)


def _lengths(calls: QuerySet[Call]) -> list[tuple[int, int]]:
    """How many recordings have how many seconds, shortest first: enough for any percentile, without sorting calls."""
    by_second = calls.order_by().annotate(seconds=F("audio_samples") / SAMPLE_RATE).values_list("seconds")
    # Not in WHERE: SQLite would take the index of lengths for it, and read every recorded call there is.
    recorded = Count("pk", filter=Q(audio_samples__gt=0))
    return sorted((seconds, count) for seconds, count in by_second.annotate(calls=recorded) if count)


def _at(lengths: list[tuple[int, int]], share: float) -> str:
    left = share * sum(calls for _, calls in lengths)
    for seconds, calls in lengths:
        left -= calls
        if left <= 0:
            return clock(seconds * SAMPLE_RATE)
    return "–"


def _share(counts: dict[str, int], name: str) -> str:
    return f"{100 * counts[name] / counts['calls']:.0f} %" if counts["calls"] else "–"


def _list(**query: str) -> str:
    return f"{reverse('admin:calls_call_changelist')}?{urlencode(query)}"
