"""Bulk calling: a file of numbers that are called one after the other, and what has become of each of its rows."""

import datetime as dt
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


# A process that runs a campaign says so that often, and is taken for gone after that much silence.
SEEN_EVERY, GONE_AFTER = dt.timedelta(seconds=2), dt.timedelta(seconds=15)
# Asking Twilio for a call takes at most 10 s (`calls.rest.client.TIMEOUT`): whoever has not said by then how it went,
# never will.
ANSWER_BY = dt.timedelta(seconds=30)
# Of a call that it carried out Twilio tells within seconds: one of which it has not said a word is on no line.
UNSURE = dt.timedelta(minutes=2)


class Campaign(models.Model):
    """A file of numbers, and how it is called. Who runs it is a process of `manage.py place_calls`, or several."""

    name = models.CharField(max_length=200, help_text="The file's.")
    digest = models.CharField(max_length=64, editable=False, help_text="Of what is in the file and of the handler.")
    size = models.PositiveIntegerField(help_text="How many rows it has.")
    columns = models.JSONField(default=list, blank=True, help_text="The file's other columns, in its order.")
    handler = models.CharField(max_length=100)
    from_number = models.CharField("from", max_length=255)
    machine_detection = models.BooleanField(default=False)
    rate = models.FloatField(help_text="Calls that are placed in a second, at most.")
    at_once = models.PositiveIntegerField(help_text="Calls that run at the same time, at most.")
    quiet_from = models.TimeField(null=True, blank=True, help_text="Nobody is called from then on, by their own clock")
    quiet_to = models.TimeField(null=True, blank=True, help_text="... until then.")
    created_at = models.DateTimeField("made", default=timezone.now)
    created_by = models.CharField(
        max_length=150, blank=True, help_text="Whose command it was, as the machine knew them."
    )
    next_at = models.DateTimeField(
        default=timezone.now, help_text="No call is placed before: that is how the rate is kept."
    )
    seen_at = models.DateTimeField(null=True, blank=True, help_text="When a process that runs it last said so.")
    stopped_at = models.DateTimeField(null=True, blank=True)
    stopped_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    stop_reason = models.CharField(max_length=500, blank=True, help_text="Why it has stopped by itself.")
    finished_at = models.DateTimeField(null=True, blank=True, help_text="When none of its rows was left to be called.")

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        constraints = [
            # Of two commands that begin the same file at once, the second one joins the first.
            models.UniqueConstraint(name="campaign_once", fields=["digest"], condition=Q(finished_at=None)),
            models.CheckConstraint(name="campaign_rate", condition=Q(rate__gt=0)),
            models.CheckConstraint(name="campaign_at_once", condition=Q(at_once__gt=0)),
            models.CheckConstraint(
                name="campaign_quiet",
                condition=Q(quiet_from=None, quiet_to=None) | Q(quiet_from__isnull=False, quiet_to__isnull=False),
            ),
        ]
        indexes = [
            # Whether a file was called before.
            models.Index(name="campaign_by_name", fields=["name", "-id"]),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.pk})"

    @property
    def is_seen(self) -> bool:
        """Whether a process runs it, as far as is known."""
        return self.seen_at is not None and self.seen_at > timezone.now() - GONE_AFTER

    @property
    def resume(self) -> str:
        """The command that goes on with it."""
        return f"manage.py place_calls --resume {self.pk}"

    def stop(self, by: Any = None, reason: str = "") -> bool:
        """From now on nobody places another call of it, whichever process runs it. False if it was stopped already."""
        going = Campaign.objects.filter(pk=self.pk, stopped_at=None, finished_at=None)
        return bool(going.update(stopped_at=timezone.now(), stopped_by=by, stop_reason=reason[:500]))

    def go_on(self) -> None:
        """Undoes a stop."""
        Campaign.objects.filter(pk=self.pk).update(stopped_at=None, stopped_by=None, stop_reason="")

    def say_seen(self) -> None:
        Campaign.objects.filter(pk=self.pk).update(seen_at=timezone.now())

    def say_gone(self) -> None:
        Campaign.objects.filter(pk=self.pk).update(seen_at=None)


# Rows that Twilio was asked for, and of which there may be news.
OPEN = ["calling", "placed", "unknown"]


class CampaignCallQuerySet(models.QuerySet["CampaignCall"]):
    def due(self, now: dt.datetime) -> "CampaignCallQuerySet":
        """Rows that wait, and whose quiet hours were over by then, those first that have waited longest."""
        return self.filter(status=CampaignCall.Status.WAITING, not_before__lte=now).order_by("not_before", "line")

    def open(self) -> "CampaignCallQuerySet":
        """Rows of which there may be news. Said for the index, which an OR of statuses does not use."""
        return self.filter(status__in=OPEN)

    def alive(self, now: dt.datetime) -> "CampaignCallQuerySet":
        """Rows whose call may be on a line: each takes one of those that may run at once."""
        status = CampaignCall.Status
        heard = Q(status=status.PLACED, call__ended_at=None, call__isnull=False)
        return self.open().filter(
            heard | Q(status=status.CALLING) | Q(status=status.UNKNOWN, claimed_at__gt=now - UNSURE)
        )

    def note_placed(self, call_id: int) -> None:
        """Twilio has that call, as it has answered or as a callback shows, however late."""
        asked = [CampaignCall.Status.CALLING, CampaignCall.Status.UNKNOWN]
        self.filter(call=call_id, status__in=asked).update(status=CampaignCall.Status.PLACED, error="")

    def note_unanswered(self, now: dt.datetime) -> int:
        """Rows for which a process was asking when it died: nobody will ever know from it. Returns how many."""
        lost = self.open().filter(status=CampaignCall.Status.CALLING, claimed_at__lt=now - ANSWER_BY)
        return lost.update(
            status=CampaignCall.Status.UNKNOWN, error="The process that asked Twilio was gone before the answer."
        )

    def note_heard(self) -> None:
        """The same for all whose call has its SID, where a worker of an older version took the callback."""
        asked = [CampaignCall.Status.CALLING, CampaignCall.Status.UNKNOWN]
        for call in self.open().filter(status__in=asked, call__sid__isnull=False).values_list("call", flat=True):
            self.note_placed(call)

    def note_over(self) -> None:
        """Calls that are over need not be looked at again. Two statements: SQLite takes no join in an UPDATE."""
        over = self.open().filter(Q(call=None) | Q(call__ended_at__isnull=False), status=CampaignCall.Status.PLACED)
        if keys := list(over.values_list("pk", flat=True)):
            self.filter(pk__in=keys, status=CampaignCall.Status.PLACED).update(status=CampaignCall.Status.OVER)


class CampaignCall(models.Model):
    """A row of the file. It is called once: what is claimed and committed before Twilio is asked stays claimed."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Not called yet"
        #: Claimed: Twilio is being asked, or whoever asked it has died.
        CALLING = "calling", "Being called"
        PLACED = "placed", "On the line"
        OVER = "over", "Called"
        #: Twilio has refused it for what it is: nobody was called.
        FAILED = "failed", "Refused"
        #: Twilio was asked, and has not answered. Nobody calls it again but by its line.
        UNKNOWN = "unknown", "Unknown"

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="rows", db_index=False)
    line = models.PositiveIntegerField(help_text="Where it is in the file; the header is line 1.")
    number = models.CharField(max_length=255, blank=True, help_text="Empty once its call was erased.")
    columns = models.JSONField(default=dict, blank=True, help_text="The other columns: the handler's parameters.")
    status = models.CharField(max_length=8, choices=Status, default=Status.WAITING)
    not_before = models.DateTimeField(default=timezone.now, help_text="Until then it is quiet where the number is.")
    call = models.ForeignKey("Call", models.SET_NULL, null=True, blank=True, related_name="campaign_calls")
    claimed_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)

    objects = CampaignCallQuerySet.as_manager()

    class Meta:
        ordering = ["line"]
        default_permissions = ()
        constraints = [
            # Also a campaign's rows in the file's order: its page, and its results.
            models.UniqueConstraint(name="campaign_call_line", fields=["campaign", "line"]),
            models.CheckConstraint(
                name="campaign_call_status",
                condition=Q(status__in=["waiting", "calling", "placed", "over", "failed", "unknown"]),
            ),
            models.CheckConstraint(
                name="campaign_call_claimed",
                condition=Q(status__in=["waiting", "failed"]) | Q(claimed_at__isnull=False),
            ),
        ]
        indexes = [
            # What is called next.
            models.Index(
                name="campaign_call_due", fields=["campaign", "not_before", "line"], condition=Q(status="waiting")
            ),
            # Which of its calls are on a line, which have been lost, and how many have come to what. Not partial: of an
            # IN with parameters SQLite does not see that it is within another one.
            models.Index(name="campaign_call_by_status", fields=["campaign", "status"]),
        ]
        verbose_name = "row of a campaign"
        verbose_name_plural = "rows of campaigns"

    def __str__(self) -> str:
        return f"line {self.line}"

    def claim(self, call_id: int, now: dt.datetime) -> None:
        """Within the transaction that makes the call's row."""
        self.status, self.call_id, self.claimed_at, self.error = self.Status.CALLING, call_id, now, ""
        self.save(update_fields=["status", "call", "claimed_at", "error"])

    def give_back(self, why: str) -> None:
        """Twilio has surely done nothing, for a reason that is not this number's: it waits again.

        One that has been given up meanwhile was refused, and waits no more.
        """
        status = self.Status
        if not self._conclude([status.CALLING], status=status.WAITING, claimed_at=None, error=""):
            self.refuse(why)

    def refuse(self, why: str) -> None:
        """Twilio does not call this number."""
        self._conclude([self.Status.CALLING, self.Status.UNKNOWN], status=self.Status.FAILED, error=why[:500])

    def lose(self, why: str) -> None:
        """Twilio was asked, and nobody knows what it did; a callback may have told since."""
        self._conclude([self.Status.CALLING], status=self.Status.UNKNOWN, error=why[:500])

    def _conclude(self, before: list[Status], **facts: Any) -> int:
        """What another process or a callback has found out since stays; so does a claim that was made anew since."""
        mine = CampaignCall.objects.filter(pk=self.pk, claimed_at=self.claimed_at)
        return mine.filter(status__in=before).update(**facts)
