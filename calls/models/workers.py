"""The server processes: how each was at its last heartbeat, what went wrong in it last, and what it was asked to do."""

import datetime as dt
from typing import ClassVar

from django.db import models
from django.db.models import BooleanField, ExpressionWrapper, Q, Value
from django.db.models.functions import Now
from django.utils import timezone


# Who has not been heard of for so long is gone, and so are its leases of streams (calls.recorder.housekeeping).
SILENCE = dt.timedelta(seconds=14)
# What was known of a process is kept for so long after it was last heard of.
KEPT = dt.timedelta(days=7)


class WorkerQuerySet(models.QuerySet["Worker"]):
    def alive(self) -> "WorkerQuerySet":
        """Those that were heard of lately, by the database's clock, and have not ended."""
        return self.filter(ended_at=None, seen_at__gte=Now() - Value(SILENCE))

    def with_silence(self) -> "WorkerQuerySet":
        """`is_silent`: not heard of for longer than a worker that lives is."""
        silent = ExpressionWrapper(Q(seen_at__lt=Now() - Value(SILENCE)), output_field=BooleanField())
        return self.annotate(is_silent=silent)

    def taking_calls(self) -> "WorkerQuerySet":
        """Those that live, and that nobody has asked to drain."""
        return self.alive().filter(draining=False, drain_asked_at=None)

    def forgettable(self) -> "WorkerQuerySet":
        return self.filter(seen_at__lt=Now() - Value(KEPT))


class Worker(models.Model):
    """One server process, from its start to a week after its end. It writes its row itself, with its heartbeat."""

    owner = models.CharField(max_length=64, unique=True, help_text="Its name in the leases of its streams.")
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="By the database's clock.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When it ended in an orderly way.")
    streams = models.PositiveIntegerField(
        default=0, help_text="Those that run here, are carried elsewhere, or are waited for."
    )
    capacity = models.PositiveIntegerField(default=0, help_text="MAX_STREAMS")
    lag = models.FloatField(default=0, help_text="Seconds: the longest that rows have waited for the database lately.")
    queue_bytes = models.PositiveBigIntegerField(default=0, help_text="What waits in memory.")
    spool_bytes = models.PositiveBigIntegerField(default=0, help_text="What waits on disk.")
    dropped_bytes = models.PositiveBigIntegerField(
        default=0, help_text="Audio that found no room, since all that waited was last written."
    )
    draining = models.BooleanField(default=False)
    reasons = models.JSONField(default=list, blank=True, help_text="Why it takes no new calls; empty if it does.")
    does_chores = models.BooleanField(default=False)
    problems = models.JSONField(default=list, blank=True, help_text="The last warnings and errors of its log.")
    drain_asked_at = models.DateTimeField(null=True, blank=True, help_text="Since when it is to take no new calls.")
    drain_asked_by = models.CharField(max_length=150, blank=True)
    drain_seconds = models.FloatField(
        null=True, blank=True, help_text="After how long its calls are handed on; never, if empty."
    )

    objects = WorkerQuerySet.as_manager()

    class Meta:
        ordering = ["host", "pid", "-started_at"]
        indexes = [
            # Who lives, who has died lately, and whose row is old.
            models.Index(name="worker_seen", fields=["-seen_at"]),
        ]
        permissions: ClassVar = [("drain_worker", "Can drain workers")]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"

    @property
    def is_gone(self) -> bool:
        """Whether it is no more, or says nothing any more; from `with_silence`."""
        return self.ended_at is not None or bool(getattr(self, "is_silent", False))

    @property
    def is_to_drain(self) -> bool:
        """Whether it takes no more calls, or has been asked so and will read it at its next heartbeat."""
        return self.draining or self.drain_asked_at is not None

    def ask_to_drain(self, by: str, seconds: float | None) -> None:
        self.drain_asked_at, self.drain_asked_by, self.drain_seconds = timezone.now(), by[:150], seconds
        self.save(update_fields=["drain_asked_at", "drain_asked_by", "drain_seconds"])

    def call_off_drain(self) -> None:
        self.drain_asked_at, self.drain_asked_by, self.drain_seconds = None, "", None
        self.save(update_fields=["drain_asked_at", "drain_asked_by", "drain_seconds"])
