"""Who spoke when, and how long the caller waited for us."""

from django.db import models
from django.db.models import Q


class Turn(models.Model):
    """What one side said in a row: the caller's by what a detector heard, ours by what they heard of us.

    `calls.measuring` makes them once a call is over. They tell when somebody spoke, and nothing of what.
    """

    class Speaker(models.TextChoices):
        CALLER = "caller"
        US = "us"

    # No index of its own: the other one begins with it.
    stream = models.ForeignKey("Stream", models.CASCADE, related_name="turns", db_index=False)
    speaker = models.CharField(max_length=6, choices=Speaker)
    start = models.PositiveBigIntegerField(help_text="In samples on the stream's own clock.")
    length = models.PositiveBigIntegerField(help_text="In samples.")
    response_ms = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Of a turn of ours: ms from the end of the caller's last speech to its first sample that they heard.",
    )
    interrupted = models.BooleanField(default=False, help_text="The other side began to speak before it was over.")
    talked_on_ms = models.PositiveIntegerField(
        null=True, blank=True, help_text="If it was interrupted: ms for which it went on all the same."
    )

    class Meta:
        ordering = ["stream", "start", "speaker"]
        constraints = [
            # A call that is measured twice has each turn once; and a call's page reads all of a stream.
            models.UniqueConstraint(name="turn_once", fields=["stream", "start", "speaker"]),
            models.CheckConstraint(name="turn_speaker", condition=Q(speaker__in=["caller", "us"])),
            models.CheckConstraint(name="turn_length", condition=Q(length__gt=0)),
            models.CheckConstraint(name="turn_response", condition=Q(response_ms=None) | Q(speaker="us")),
        ]

    def __str__(self) -> str:
        return f"{self.speaker} {self.start}+{self.length}"
