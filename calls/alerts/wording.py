"""A rule and its figures in words, for the admin and for mails."""

import datetime as dt
from itertools import groupby

from django.utils import timezone
from django.utils.formats import date_format

from calls.models import AlertRule


Metric = AlertRule.Metric

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def condition(rule: AlertRule) -> str:
    """When it is broken: `more than 5 % of the answers of pizza take longer than 2 s, over 15 minutes`."""
    of = f" of {rule.handler}" if rule.handler else ""
    limit, rest = f"{rule.threshold.normalize():f}", 100 - (rule.percentile or 0)
    match Metric(rule.metric):
        case Metric.RESPONSE:
            what = f"more than {rest} % of the answers{of} take longer than {limit} s"
        case Metric.FIRST_AUDIO:
            what = f"in more than {rest} % of the calls{of} our first sound takes longer than {limit} s"
        case Metric.DEAD_AIR:
            what = f"nobody speaks for more than {limit} % of the time of calls{of}"
        case Metric.FAILURES:
            what = f"the handler fails in more than {limit} % of the calls{of}"
        case Metric.WARNINGS:
            what = f"more than {limit} % of the calls{of} have warnings"
        case Metric.UNANSWERED:
            what = f"more than {limit} % of the calls{of} are not answered"
        case Metric.CALLS:
            what = f"{'there are no' if limit == '1' else f'there are fewer than {limit}'} calls{of}"
    least = (
        ""
        if rule.metric == Metric.CALLS or rule.least < 2
        else f", if there are at least {of_count(rule.metric, rule.least)}"
    )
    return f"{what}, over {spoken(rule.window)}{_hours(rule)}{least}"


def sentence(rule: AlertRule) -> str:
    """The whole rule, with whom it tells."""
    told = [*rule.addresses, *(["the webhooks"] if rule.by_webhook else [])]
    whom = f"{', '.join(told[:-1])} and {told[-1]}" if len(told) > 1 else "".join(told) or "nobody"
    return f"Tells {whom} when {condition(rule)}."


def spoken(window: dt.timedelta) -> str:
    """15 minutes, 1 hour, 1 day."""
    minutes = int(window.total_seconds() // 60)
    for unit, length in (("day", 24 * 60), ("hour", 60), ("minute", 1)):
        count, rest = divmod(minutes, length)
        if count and not rest:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "no time"


def _hours(rule: AlertRule) -> str:
    days = _days(rule.weekdays)
    if rule.from_time is None or rule.until_time is None:
        return f", {days}" if days else ""
    hours = f"from {rule.from_time:%H:%M} to {rule.until_time:%H:%M}"
    return f", {days} {hours}" if days else f", {hours}"


def _days(weekdays: str) -> str:
    """`Monday to Friday`, `Monday and Saturday`; nothing for the whole week."""
    if weekdays == "1234567":
        return ""
    numbers = [int(day) for day in weekdays]
    runs = [[day for _, day in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    names = [
        f"{DAYS[run[0] - 1]} to {DAYS[run[-1] - 1]}" if len(run) > 2 else " and ".join(DAYS[day - 1] for day in run)
        for run in runs
    ]
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"


def of_value(metric: str, value: float | None) -> str:
    """A value with its unit: 2.41 s, 3.2 %, 1 call."""
    if value is None:
        return "nothing"
    unit = Metric(metric).unit
    if unit == "calls":
        return "1 call" if value == 1 else f"{value:.0f} calls"
    return f"{value:.2f} s" if unit == "s" else f"{value:.1f} %"


def of_count(metric: str, counted: int) -> str:
    """What it was told from: 34 answers."""
    noun = "answer" if metric == Metric.RESPONSE else "call"
    return f"{counted} {noun}{'' if counted == 1 else 's'}"


def of_figure(metric: str, value: float | None, counted: int) -> str:
    """Both: `2.41 s, 34 answers`; a number of calls is told from nothing else."""
    if metric == Metric.CALLS or value is None:
        return of_value(metric, value) if value is not None else of_count(metric, counted)
    return f"{of_value(metric, value)}, {of_count(metric, counted)}"


def moment(at: dt.datetime) -> str:
    """For whoever is nowhere near the admin: `Sat 14 Mar 2026, 15:09 UTC`."""
    local = timezone.localtime(at)
    return f"{date_format(local, 'D j M Y, H:i')} {local.tzname()}"
