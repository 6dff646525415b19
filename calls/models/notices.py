"""What others are told of calls: whom, of what, and how far it has come with each of them."""

import datetime as dt
import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import get_random_string


# A delivery is tried for that long; then it is given up, and somebody may send it again.
PATIENCE = dt.timedelta(days=1)
# For that long a receiver has to learn a new secret: until then both of them sign.
ROTATION = dt.timedelta(days=1)


def new_secret() -> str:
    """As Standard Webhooks writes one: 24 random bytes in base64. https://www.standardwebhooks.com"""
    return "whsec_" + get_random_string(32, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def in_a_day() -> dt.datetime:
    return timezone.now() + PATIENCE


class ReceiverQuerySet(models.QuerySet["Receiver"]):
    def active(self) -> "ReceiverQuerySet":
        return self.filter(is_active=True)

    def awake(self, now: dt.datetime) -> "ReceiverQuerySet":
        """Those that are not resting because they did not answer."""
        return self.active().filter(Q(rests_until=None) | Q(rests_until__lte=now))


class Receiver(models.Model):
    """An address of somebody's own that wants to be told."""

    name = models.CharField(max_length=100, unique=True)
    url = models.CharField("URL", max_length=500, help_text="Where the webhooks are sent, by POST.")
    kinds = models.JSONField(default=list, help_text="What it is told of.")
    with_numbers = models.BooleanField(
        "with phone numbers",
        default=False,
        help_text="Whole numbers and names. Without them it is told what staff see who may not see numbers.",
    )
    is_active = models.BooleanField(
        "active", default=True, help_text="What happens while it is not is never told to it."
    )
    secret = models.CharField(max_length=100, default=new_secret, editable=False)
    old_secret = models.CharField(max_length=100, blank=True, editable=False)
    old_secret_until = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    since = models.DateTimeField(
        default=timezone.now, editable=False, help_text="It is told of nothing that was over before."
    )
    failures = models.PositiveIntegerField(default=0, editable=False, help_text="How often in a row it was away.")
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    rests_until = models.DateTimeField(null=True, blank=True, editable=False)
    switched_off = models.CharField(
        max_length=200, blank=True, editable=False, help_text="Why it was switched off, if nobody of the staff did it."
    )

    objects = ReceiverQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        verbose_name = "webhook receiver"

    def __str__(self) -> str:
        return self.name

    def secrets(self, now: dt.datetime) -> list[str]:
        """Those that sign, the new one first."""
        rotating = self.old_secret and self.old_secret_until and self.old_secret_until > now
        return [self.secret, self.old_secret] if rotating else [self.secret]

    def change_secret(self) -> None:
        self.old_secret, self.old_secret_until = self.secret, timezone.now() + ROTATION
        self.secret = new_secret()
        self.save(update_fields=["secret", "old_secret", "old_secret_until"])

    def wake(self) -> list[str]:
        """It answers, or shall be tried as if it did. Returns the fields that changed, unsaved."""
        self.failures, self.failing_since, self.rests_until = 0, None, None
        return ["failures", "failing_since", "rests_until"]


class Notice(models.Model):
    """Something that happened, as it is told. Its `uuid` is what a receiver knows it by."""

    class Kind(models.TextChoices):
        CALL_ENDED = "call.ended", "A call ended"
        RECORDING_READY = "recording.ready", "A recording is whole"
        RECORDING_INCOMPLETE = "recording.incomplete", "A recording has parts missing"
        REVIEW_DONE = "review.done", "A review was handed in"
        ALERT_FIRED = "alert.fired", "An alert rule is broken"
        ALERT_OVER = "alert.over", "... and kept again"

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    key = models.CharField(max_length=100, help_text="Says which of its kind this is, so that it is told once.")
    call = models.ForeignKey("Call", models.CASCADE, null=True, blank=True, related_name="notices")
    at = models.DateTimeField(default=timezone.now, help_text="When it happened.")
    created_at = models.DateTimeField(default=timezone.now)
    data = models.JSONField(default=dict, help_text="With whole numbers; who may not have them gets others.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            # Whoever looks for news twice, or on two machines at once, tells each once.
            models.UniqueConstraint(name="notice_once", fields=["kind", "key"]),
            models.CheckConstraint(
                name="notice_kind",
                condition=Q(
                    kind__in=[
                        "call.ended", "recording.ready", "recording.incomplete",
                        "review.done", "alert.fired", "alert.over",
                    ]
                ),
            ),
        ]  # fmt: skip
        indexes = [
            # What has been kept long enough.
            models.Index(name="notice_oldest", fields=["created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.uuid}"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def waiting(self) -> "DeliveryQuerySet":
        return self.filter(status=Delivery.Status.WAITING)

    def due(self, now: dt.datetime) -> "DeliveryQuerySet":
        """Those to be sent now, the oldest first."""
        return self.waiting().filter(next_at__lte=now).order_by("next_at", "pk")


class Delivery(models.Model):
    """A notice on its way to one receiver."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DELIVERED = "delivered", "Delivered"
        GIVEN_UP = "given_up", "Given up"

    notice = models.ForeignKey(Notice, models.CASCADE, related_name="deliveries", db_index=False)
    receiver = models.ForeignKey(Receiver, models.CASCADE, related_name="deliveries", db_index=False)
    kind = models.CharField(
        max_length=20,
        choices=Notice.Kind,
        help_text="The notice's: the list is filtered by it alone.",
    )
    status = models.CharField(max_length=9, choices=Status, default=Status.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(
        "next try", default=timezone.now, help_text="Moved on before each try, so that no other machine makes it too."
    )
    give_up_at = models.DateTimeField("given up after", default=in_a_day)
    last_at = models.DateTimeField("last try", null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    answer_status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="The last answer's status.")
    error = models.CharField(max_length=300, blank=True, help_text="Why the last try failed.")
    answers = models.JSONField(default=list, blank=True, help_text="What came of each try; of very many, the last.")

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "webhook"
        constraints = [
            # Also the deliveries of a notice.
            models.UniqueConstraint(name="delivery_once", fields=["notice", "receiver"]),
            models.CheckConstraint(
                name="delivery_status", condition=Q(status__in=["waiting", "delivered", "given_up"])
            ),
        ]
        indexes = [
            # What a receiver is to be sent next.
            models.Index(name="delivery_due", fields=["receiver", "next_at", "id"], condition=Q(status="waiting")),
            # The list's filters, each with its newest first.
            models.Index(name="delivery_by_status", fields=["status", "-id"]),
            models.Index(name="delivery_by_kind", fields=["kind", "-id"]),
            models.Index(name="delivery_by_receiver", fields=["receiver", "-id"]),
        ]
        permissions: ClassVar = [("send_delivery", "Can send webhooks again")]

    def __str__(self) -> str:
        return f"{self.kind} to {self.receiver}"

    def send_again(self) -> None:
        """Has it sent at once, for another day, under the same id, whatever came of it before."""
        now = timezone.now()
        self.status, self.next_at, self.give_up_at = self.Status.WAITING, now, now + PATIENCE
        self.save(update_fields=["status", "next_at", "give_up_at"])
