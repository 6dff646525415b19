"""Who hears of an alert: rows for its mails, a notice for the webhooks; and what both say."""

import datetime as dt
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from calls.addresses import absolute
from calls.alerts import wording
from calls.models import Alert, AlertMail, AlertRule
from calls.notices.facts import moment
from calls.notices.outbox import notify


Event = AlertMail.Event
Metric = AlertRule.Metric
# Whose calls the list can show alone.
_WITH_WARNINGS = (Metric.FAILURES, Metric.WARNINGS)


def tell(alert: Alert, event: AlertMail.Event, now: dt.datetime) -> None:
    """Stores whom to tell, in the transaction of what they are told."""
    told = [*alert.rule.addresses]
    if event == Event.OVER:
        # Whoever heard of its beginning hears of its end, even if the rule names others since.
        told = list(alert.mails.filter(event=Event.FIRED).values_list("address", flat=True))
    AlertMail.objects.bulk_create(
        AlertMail(alert=alert, event=event, address=address, created_at=now, due_at=now) for address in told
    )
    if alert.by_webhook:
        notify(f"alert.{event}", facts(alert), f"{alert.pk}")


def facts(alert: Alert) -> dict[str, Any]:
    """An alert as a notice tells it (docs/webhooks.md)."""
    rule = alert.rule
    return {
        "alert": {
            "id": alert.pk,
            "url": absolute(alert_path(alert)),
            "calls_url": absolute(calls_path(alert)),
            "rule": rule.name,
            "condition": alert.said,
            "metric": rule.metric,
            "handler": rule.handler,
            "unit": Metric(rule.metric).unit,
            "threshold": float(rule.threshold),
            "value": alert.value,
            "counted": alert.counted,
            "since": moment(alert.since),
            "began_at": moment(alert.began_at),
            "over_at": moment(alert.over_at),
            "over_value": alert.over_value,
            "ending": alert.ending,
        }
    }


def subject(alert: Alert, event: str) -> str:
    name = " ".join(alert.rule.name.split())
    return f"Over: {name}" if event == Event.OVER else f"Alert: {name}"


def body(alert: Alert, event: str) -> str:
    """Complete in itself: of two mails the second one may come first."""
    rule = alert.rule
    began = f"Since {wording.moment(alert.began_at)}: {wording.of_figure(rule.metric, alert.value, alert.counted)}."
    lines = [began]
    if alert.over_at:
        lines.append(f"Over since {wording.moment(alert.over_at)}: {over(alert)}.")
    elif event == Event.FIRED:
        lines.append("You get one more mail when it is over.")
    lines += ["", f"The rule: {alert.said}.", "", "The calls:", absolute(calls_path(alert))]
    lines += ["", "The alert:", absolute(alert_path(alert))]
    return "\n".join(lines) + "\n"


def over(alert: Alert) -> str:
    """How it ended, in words."""
    if alert.ending == Alert.Ending.OFF:
        return str(Alert.Ending.OFF.label)
    return wording.of_value(alert.rule.metric, alert.over_value)


def calls_path(alert: Alert) -> str:
    """The list of the calls that it began with."""
    rule = alert.rule
    span = {"since": alert.since.isoformat(), "until": alert.began_at.isoformat()}
    if rule.metric != Metric.CALLS:
        span = {"ended": "/".join(span.values())}
    query = {**span, "handler": rule.handler, "flag": "warning" if rule.metric in _WITH_WARNINGS else ""}
    wanted = {name: value for name, value in query.items() if value}
    return f"{reverse('admin:calls_call_changelist')}?{urlencode(wanted)}"


def alert_path(alert: Alert) -> str:
    return reverse("admin:calls_alert_change", args=[alert.pk])
