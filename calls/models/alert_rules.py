"""Rules over many calls: what must not be, over which window, in which hours, and who is to hear of it."""

import datetime as dt

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator, validate_email
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from calls.models.alerts import Alert


# A rule that one machine has looked at is due again after this many seconds.
AGAIN = 25
# The longest window: a day. It is looked at every half minute.
LONGEST_WINDOW = 24 * 60
MOST_ADDRESSES = 20


class AlertRuleQuerySet(models.QuerySet["AlertRule"]):
    def due(self, now: dt.datetime) -> "AlertRuleQuerySet":
        """Rules that nobody has looked at just now: those that are on, and those that were switched off alerting."""
        rested = Q(checked_at=None) | Q(checked_at__lt=now - dt.timedelta(seconds=AGAIN))
        alerting = Exists(Alert.objects.open().filter(rule=OuterRef("pk")))
        return self.filter(rested).filter(Q(is_active=True) | alerting)


class AlertRule(models.Model):
    """What must not be, over a window of time: `calls.alerts` looks every 30 s whether it is."""

    class Metric(models.TextChoices):
        RESPONSE = "response", "Response: what callers wait for an answer"
        FIRST_AUDIO = "first-audio", "First audio: from the answer to our first sound"
        DEAD_AIR = "dead-air", "Dead air: while nobody speaks"
        FAILURES = "failures", "Handler failures"
        WARNINGS = "warnings", "Calls with warnings"
        UNANSWERED = "unanswered", "Calls that were not answered"
        CALLS = "calls", "Too few calls"

        @property
        def is_percentile(self) -> bool:
            return self in (self.RESPONSE, self.FIRST_AUDIO)

        @property
        def unit(self) -> str:
            """Of its threshold and its values."""
            return "s" if self.is_percentile else "calls" if self == self.CALLS else "%"

    name = models.CharField(max_length=100, help_text="The subject of its mails.")
    metric = models.CharField("What it watches", max_length=16, choices=Metric)
    handler = models.CharField(max_length=100, blank=True, help_text="Only calls of this handler.")
    percentile = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        default=95,
        validators=[MinValueValidator(1), MaxValueValidator(99)],
        help_text="95: the rule looks at what 95 % of the answers, or of the calls, stay within.",
    )
    threshold = models.DecimalField(
        max_digits=8,
        decimal_places=2,
        validators=[MinValueValidator(0)],
        help_text="Response and first audio: more than this many seconds. Too few calls: fewer than this many (1: none "
        "at all). All others: more than this many percent.",
    )
    window_minutes = models.PositiveIntegerField(
        "Over how many minutes",
        default=15,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_WINDOW)],
        help_text="It looks at the calls that have ended within the last so many minutes, whenever they began. Too few "
        "calls: at those that have begun.",
    )
    least = models.PositiveIntegerField(
        "At least how many",
        default=10,
        help_text="With fewer answers or calls than this it says nothing: it neither begins an alert nor ends one.",
    )
    from_time = models.TimeField(
        "From", null=True, blank=True, help_text="Leave both times empty for the whole day. 22:00 to 6:00 is a night."
    )
    until_time = models.TimeField(
        "Until",
        null=True,
        blank=True,
        help_text="Only what happens within these hours counts: a rule over 60 minutes first speaks an hour after they "
        "begin. Outside of them it sleeps, and begins and ends no alert.",
    )
    weekdays = models.CharField(
        max_length=7,
        default="1234567",
        validators=[RegexValidator(r"\A1?2?3?4?5?6?7?\Z", "Digits from 1 (Monday) to 7 (Sunday), in order.")],
        help_text="The days on which these hours begin.",
    )
    mail_to = models.TextField("Mail to", blank=True, help_text="Addresses, one a line. Each gets a mail of its own.")
    by_webhook = models.BooleanField(
        "Tell the webhooks too",
        default=False,
        help_text="As alert.fired and alert.over, to those webhook receivers that want these.",
    )
    is_active = models.BooleanField(
        "On", default=True, help_text="A rule that is switched off while it alerts says that this is over."
    )
    checked_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When it was last looked at.")
    value = models.FloatField(null=True, blank=True, editable=False, help_text="What it was then, in its unit.")
    counted = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="Of how many answers or calls. None: the rule was asleep."
    )

    objects = AlertRuleQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(
                name="alert_rule_metric",
                condition=Q(
                    metric__in=[
                        "response", "first-audio", "dead-air", "failures", "warnings", "unanswered", "calls",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="alert_rule_percentile",
                condition=Q(
                    metric__in=["response", "first-audio"], percentile__isnull=False, percentile__range=(1, 99)
                )
                | (~Q(metric__in=["response", "first-audio"]) & Q(percentile=None)),
            ),
            models.CheckConstraint(name="alert_rule_threshold", condition=Q(threshold__gte=0)),
            models.CheckConstraint(
                name="alert_rule_window", condition=Q(window_minutes__gte=1, window_minutes__lte=LONGEST_WINDOW)
            ),
            models.CheckConstraint(
                name="alert_rule_hours",
                condition=Q(from_time=None, until_time=None)
                | (Q(from_time__isnull=False, until_time__isnull=False) & ~Q(from_time=models.F("until_time"))),
            ),
            models.CheckConstraint(name="alert_rule_weekdays", condition=~Q(weekdays="")),
        ]  # fmt: skip

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Raises ValidationError by field. Takes away what the metric does not need."""
        metric = self.Metric(self.metric) if self.metric in self.Metric else None
        problems: dict[str, str] = {}
        if metric and metric.is_percentile and self.percentile is None:
            problems["percentile"] = "Which one? 95 is usual."
        elif metric and not metric.is_percentile:
            self.percentile = None
        problems |= self._threshold_problem(metric) | self._hours_problem()
        try:
            self.mail_to = "\n".join(addresses(self.mail_to))
        except ValidationError as error:
            problems["mail_to"] = error.messages[0]
        else:
            if not self.mail_to and not self.by_webhook:
                problems["mail_to"] = "Whom does it tell? Name an address, or tell the webhooks."
        if problems:
            raise ValidationError(problems)

    def _threshold_problem(self, metric: "AlertRule.Metric | None") -> dict[str, str]:
        if self.threshold is None or metric is None:
            return {}
        if metric == self.Metric.CALLS and (self.threshold < 1 or self.threshold % 1):
            return {"threshold": "A whole number of calls, 1 or more: with 1 it tells you when there is none."}
        if metric.unit == "%" and self.threshold >= 100:
            return {"threshold": "No share is above 100 %."}
        return {}

    def _hours_problem(self) -> dict[str, str]:
        begin, end = self.from_time, self.until_time
        if (begin is None) != (end is None):
            return {"until_time" if end is None else "from_time": "Give both times, or neither."}
        if begin is not None and begin == end:
            return {"until_time": "The hours end when they begin. Leave both empty for the whole day."}
        # Fields with mistakes of their own come here all the same.
        if 0 < (self.window_minutes or 0) <= LONGEST_WINDOW and self.window > self.length:
            return {"window_minutes": "These hours are shorter: the rule would never speak."}
        return {}

    @property
    def window(self) -> dt.timedelta:
        return dt.timedelta(minutes=self.window_minutes)

    @property
    def addresses(self) -> list[str]:
        return self.mail_to.split()

    @property
    def length(self) -> dt.timedelta:
        """For how long it is awake on one of its days, by the clock on the wall."""
        begin, end = (dt.datetime.combine(dt.date.min, at or dt.time()) for at in (self.from_time, self.until_time))
        return end - begin if begin < end else end - begin + dt.timedelta(days=1)

    def _span(self, day: dt.date) -> tuple[dt.datetime, dt.datetime] | None:
        """From when until when it is awake if that begins on this day, by the clock on the wall."""
        if str(day.isoweekday()) not in self.weekdays:
            return None
        begin, end = self.from_time or dt.time(), self.until_time or dt.time()
        last = day if begin < end else day + dt.timedelta(days=1)
        return dt.datetime.combine(day, begin), dt.datetime.combine(last, end)

    def is_awake(self, since: dt.datetime, until: dt.datetime) -> bool:
        """Whether all of that lies within its hours, in TIME_ZONE; where clocks change, as they then show."""
        day, last = (timezone.localdate(at) for at in (since, until))
        # One night before: hours may go past midnight.
        day -= dt.timedelta(days=1)
        covered = since
        while covered < until and day <= last:
            if span := self._span(day):
                begin, end = (timezone.make_aware(at) for at in span)
                covered = end if begin <= covered < end else covered
            day += dt.timedelta(days=1)
        return covered >= until

    def is_broken_by(self, value: float) -> bool:
        if self.metric == self.Metric.CALLS:
            return value < self.threshold
        return value > self.threshold

    def claim(self, now: dt.datetime) -> bool:
        """Takes it for this round. False if another machine was faster."""
        mine = AlertRule.objects.filter(pk=self.pk, checked_at=self.checked_at).update(checked_at=now)
        self.checked_at = now
        return bool(mine)


def addresses(text: str) -> list[str]:
    """Mail addresses between commas, semicolons or blanks, each once. ValidationError names the first that is none."""
    found = list(dict.fromkeys(text.replace(",", " ").replace(";", " ").split()))
    for address in found:
        try:
            validate_email(address)
        except ValidationError:
            raise ValidationError(f"{address[:100]!r} is not a mail address.") from None
        if len(address) > 254:
            raise ValidationError(f"{address[:100]!r}… is too long for a mail address.")
    if len(found) > MOST_ADDRESSES:
        raise ValidationError(f"At most {MOST_ADDRESSES} addresses: use a mailing list for more.")
    return found
