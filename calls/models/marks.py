"""The marks that we sent into a stream, and what became of them."""

from django.db import models
from django.db.models import Q


class Mark(models.Model):
    """A mark that we sent, and whether its audio had been heard or cleared when it came back."""

    class Outcome(models.TextChoices):
        PENDING = "pending"
        PLAYED = "played"
        CLEARED = "cleared"

    stream = models.ForeignKey("Stream", models.CASCADE, related_name="marks")
    index = models.PositiveIntegerField(help_text="Its number among the marks of its stream; names may repeat.")
    name = models.CharField(max_length=255)
    sent_at = models.DateTimeField()
    position = models.PositiveBigIntegerField(help_text="In samples on the outbound lane.")
    returned_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=8, choices=Outcome, default=Outcome.PENDING)

    class Meta:
        ordering = ["stream", "index"]
        constraints = [
            models.UniqueConstraint(name="mark_once", fields=["stream", "index"]),
            models.CheckConstraint(name="mark_outcome", condition=Q(outcome__in=["pending", "played", "cleared"])),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.outcome})"
