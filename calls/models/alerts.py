"""What rules over many calls have led to, and whom each alert was told to."""

import datetime as dt

from django.db import models
from django.db.models import Q


# For how long a mail that cannot be sent is tried; what waits between two tries grows from the first to the second.
MAIL_PATIENCE = dt.timedelta(days=1)
FIRST_WAIT, LONGEST_WAIT = dt.timedelta(minutes=2), dt.timedelta(hours=1)


class AlertQuerySet(models.QuerySet["Alert"]):
    def open(self) -> "AlertQuerySet":
        return self.filter(over_at=None)


class Alert(models.Model):
    """That a rule was broken, from when until when. Whoever is to be told of it has a row that says so."""

    class Ending(models.TextChoices):
        BACK = "back", "back to normal"
        OFF = "off", "the rule was switched off"

    rule = models.ForeignKey("AlertRule", models.CASCADE, related_name="alerts")
    said = models.CharField("the rule then", max_length=500)
    since = models.DateTimeField(help_text="Where the window began in which it was broken.")
    began_at = models.DateTimeField()
    value = models.FloatField(help_text="What it was then, in the rule's unit.")
    counted = models.PositiveIntegerField(help_text="Of how many answers or calls.")
    by_webhook = models.BooleanField(default=False, help_text="Whether the webhooks are told of it.")
    calm_since = models.DateTimeField(null=True, blank=True, help_text="Since when it has not been broken any more.")
    over_at = models.DateTimeField(null=True, blank=True)
    over_value = models.FloatField(null=True, blank=True)
    ending = models.CharField(max_length=4, choices=Ending, blank=True)

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["-began_at", "-id"]
        constraints = [
            # Two machines that see the same open no second alert.
            models.UniqueConstraint(name="alert_open_once", fields=["rule"], condition=Q(over_at=None)),
            models.CheckConstraint(name="alert_ending", condition=Q(ending__in=["", "back", "off"])),
            models.CheckConstraint(
                name="alert_over", condition=Q(over_at=None, ending="") | (Q(over_at__isnull=False) & ~Q(ending=""))
            ),
        ]
        indexes = [
            # The list, newest first.
            models.Index(name="alert_newest", fields=["-began_at", "-id"]),
        ]

    def __str__(self) -> str:
        return f"{self.rule} at {self.began_at:%Y-%m-%d %H:%M} UTC"


class AlertMailQuerySet(models.QuerySet["AlertMail"]):
    def waiting(self, now: dt.datetime) -> "AlertMailQuerySet":
        """Mails that are still to be sent, and not given up, oldest first."""
        return self.filter(sent_at=None, created_at__gt=now - MAIL_PATIENCE).order_by("pk")

    def due(self, now: dt.datetime) -> "AlertMailQuerySet":
        return self.waiting(now).filter(due_at__lte=now)


class AlertMail(models.Model):
    """One address that is to hear of an alert's beginning or end, and whether it has.

    It is stored in the transaction that begins or ends the alert: nothing that is told depends on a process that may
    die. One that dies between the sending and the note of it sends again: twice is better than never.
    """

    class Event(models.TextChoices):
        FIRED = "fired", "began"
        OVER = "over", "over"

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="mails", db_index=False)
    event = models.CharField(max_length=5, choices=Event)
    address = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField(help_text="Not before then, or again: whoever sends it moves this first.")
    tries = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True, help_text="Why it could not be sent the last time.")

    objects = AlertMailQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            # Nobody is told twice by two rows; and an alert's page reads its own.
            models.UniqueConstraint(name="alert_mail_once", fields=["alert", "event", "address"]),
            models.CheckConstraint(name="alert_mail_event", condition=Q(event__in=["fired", "over"])),
        ]
        indexes = [
            # What is still to be sent.
            models.Index(name="alert_mail_waiting", fields=["created_at"], condition=Q(sent_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.address}"

    def claim(self, now: dt.datetime) -> bool:
        """Takes it for this try, and sets when the next one is due. False if another machine was faster."""
        due = now + min(FIRST_WAIT * 2 ** min(self.tries, 10), LONGEST_WAIT)
        mine = AlertMail.objects.filter(pk=self.pk, sent_at=None, due_at=self.due_at)
        taken = mine.update(due_at=due, tries=self.tries + 1)
        self.due_at, self.tries = due, self.tries + 1
        return bool(taken)
