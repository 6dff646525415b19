"""What a rule looks at, as one figure: each is one query, over the calls of a window."""

import datetime as dt
from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum

from calls.media.audio import SAMPLE_RATE
from calls.models import AlertRule, Call, Stream, Turn


Metric = AlertRule.Metric


@dataclass(frozen=True)
class Figure:
    """`value` in the metric's unit (s, %, calls), None if there is nothing to tell it from."""

    value: float | None
    #: Of how many answers or calls it was told.
    counted: int


def figure(rule: AlertRule, since: dt.datetime, until: dt.datetime) -> Figure:
    """How it stands, from `since` to before `until`."""
    ended = _of_handler(rule, Call.objects.filter(ended_at__gte=since, ended_at__lt=until))
    match Metric(rule.metric):
        case Metric.RESPONSE:
            return _percentile(rule, Turn.objects.filter(stream__call__in=ended), "response_ms")
        case Metric.FIRST_AUDIO:
            return _percentile(rule, ended, "first_audio_ms")
        case Metric.DEAD_AIR:
            return _dead_air(ended)
        case Metric.FAILURES:
            failed = Exists(Stream.objects.filter(call=OuterRef("pk"), handler_failed=True))
            return _share(ended.filter(answered_at__isnull=False), failed)
        case Metric.WARNINGS:
            return _share(ended, Q(has_warning=True))
        case Metric.UNANSWERED:
            return _share(ended, Q(answered_at=None))
        case Metric.CALLS:
            begun = _of_handler(rule, Call.objects.filter(created_at__gte=since, created_at__lt=until)).count()
            return Figure(float(begun), begun)


def _of_handler(rule: AlertRule, calls: QuerySet[Call]) -> QuerySet[Call]:
    return calls.filter(handler=rule.handler) if rule.handler else calls


def _percentile(rule: AlertRule, rows: QuerySet[Turn] | QuerySet[Call], name: str) -> Figure:
    """By the nearest rank: the smallest value that so many percent of those who have one do not exceed."""
    # Asked for those alone, SQLite would walk along an index of the figure, through all calls there ever were.
    counts = sorted(row for row in rows.order_by().values_list(name).annotate(rows=Count("pk")) if row[0] is not None)
    counted = sum(rows for _, rows in counts)
    left = -(-counted * (rule.percentile or 0) // 100)
    for value, rows in counts:
        left -= rows
        if left <= 0:
            return Figure(value / 1000, counted)
    return Figure(None, 0)


def _share(calls: QuerySet[Call], condition: Q | Exists) -> Figure:
    found = calls.aggregate(all=Count("pk"), such=Count("pk", filter=condition))
    return Figure(100 * found["such"] / found["all"] if found["all"] else None, found["all"])


def _dead_air(ended: QuerySet[Call]) -> Figure:
    """Of all the time that was recorded, and is still there."""
    measured = Q(dead_air_ms__isnull=False, audio_samples__gt=0)
    found = ended.aggregate(
        calls=Count("pk", filter=measured),
        dead=Sum("dead_air_ms", filter=measured),
        recorded=Sum("audio_samples", filter=measured),
    )
    if not found["calls"]:
        return Figure(None, 0)
    return Figure(100 * found["dead"] / (found["recorded"] * 1000 / SAMPLE_RATE), found["calls"])
