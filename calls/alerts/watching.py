"""A look at every rule: whether it is broken, and whether what was broken is over.

Several machines look; each rule is claimed for a round, and a constraint keeps two from opening the same alert. An
alert and the rows that say who is to hear of it are one transaction: a process that dies leaves both or neither.
"""

import datetime as dt
import logging

from django.db import IntegrityError, transaction
from django.utils import timezone

from calls.alerts import wording
from calls.alerts.figures import Figure, figure
from calls.alerts.telling import tell
from calls.models import Alert, AlertMail, AlertRule


logger = logging.getLogger(__name__)

# For how long a rule must not be broken, look after look, before its alert is over: what wavers about the threshold is
# one alert and not twenty.
CALM = dt.timedelta(minutes=5)


def watch() -> bool:
    """A round: looks at the rules that are due. Nothing is left to do before the next one."""
    for rule in AlertRule.objects.due(timezone.now()):
        now = timezone.now()
        if rule.claim(now):
            look(rule, now)
    return False


def look(rule: AlertRule, now: dt.datetime) -> None:
    alert = rule.alerts.open().first()
    if not rule.is_active:
        if alert:
            end(alert, now, Alert.Ending.OFF)
        return
    since = now - rule.window
    found = figure(rule, since, now) if rule.is_awake(since, now) else None
    AlertRule.objects.filter(pk=rule.pk).update(
        value=found.value if found else None, counted=found.counted if found else None
    )
    if found is None or not says_something(rule, found):
        return
    assert found.value is not None, "it says something"
    if not rule.is_broken_by(found.value):
        if alert:
            calm(alert, now, found.value)
    elif alert is None:
        begin(rule, since, now, found)
    elif alert.calm_since:
        Alert.objects.filter(pk=alert.pk).update(calm_since=None)


def says_something(rule: AlertRule, found: Figure) -> bool:
    """Few calls are just what one of the rules is about; for the others they are no reason to wake anybody."""
    return found.value is not None and (rule.metric == AlertRule.Metric.CALLS or found.counted >= rule.least)


def begin(rule: AlertRule, since: dt.datetime, now: dt.datetime, found: Figure) -> None:
    assert found.value is not None, "it says something"
    alert = Alert(rule=rule, said=wording.condition(rule), since=since, began_at=now, by_webhook=rule.by_webhook)
    alert.value, alert.counted = found.value, found.counted
    try:
        with transaction.atomic():
            alert.save()
            tell(alert, AlertMail.Event.FIRED, now)
    except IntegrityError:
        # Another machine has just begun it. Or the rule is gone.
        return
    logger.warning("alert_fired rule=%s value=%g of=%d", rule.pk, found.value, found.counted)


def calm(alert: Alert, now: dt.datetime, value: float) -> None:
    if alert.calm_since is None:
        Alert.objects.filter(pk=alert.pk).update(calm_since=now)
    elif now - alert.calm_since >= CALM:
        end(alert, now, Alert.Ending.BACK, value)


def end(alert: Alert, now: dt.datetime, ending: Alert.Ending, value: float | None = None) -> None:
    with transaction.atomic():
        mine = Alert.objects.open().filter(pk=alert.pk).update(over_at=now, over_value=value, ending=ending)
        if not mine:
            return
        alert.over_at, alert.over_value, alert.ending = now, value, ending
        tell(alert, AlertMail.Event.OVER, now)
    logger.info("alert_over rule=%s after=%.0fs", alert.rule_id, (now - alert.began_at).total_seconds())
