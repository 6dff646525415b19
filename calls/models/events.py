"""What happened in a call, in Twilio's words and in ours."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class CallEvent(models.Model):
    """Something that happened: a callback of Twilio's, a step of a stream, or what staff did."""

    class Source(models.TextChoices):
        CALL_STATUS = "call-status", "call status callback"
        STREAM_STATUS = "stream-status", "stream status callback"
        STREAM = "stream", "media stream"
        CONTROL = "control", "staff"
        SYSTEM = "system", "system"

    call = models.ForeignKey("Call", models.CASCADE, related_name="events")
    stream = models.ForeignKey("Stream", models.SET_NULL, null=True, blank=True, related_name="events")
    source = models.CharField(max_length=16, choices=Source)
    kind = models.CharField(max_length=64)
    key = models.CharField("idempotency key", max_length=200)
    sequence_number = models.PositiveIntegerField(null=True, blank=True)
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField(default=timezone.now)
    data = models.JSONField(default=dict, blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        indexes = [
            # The list's search in what handlers have noted.
            models.Index(name="event_notes", fields=["call"], condition=Q(kind="note")),
        ]
        ordering = ["occurred_at", F("sequence_number").asc(nulls_first=True), "id"]
        constraints = [
            # Callbacks come twice; an event is stored once.
            models.UniqueConstraint(name="event_once", fields=["call", "key"]),
            models.CheckConstraint(
                name="event_source",
                condition=Q(source__in=["call-status", "stream-status", "stream", "control", "system"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source}: {self.kind}"
