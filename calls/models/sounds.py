"""Sounds that staff have prepared, to be played to callers."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone


class Sound(models.Model):
    """A sound as a telephone carries it, whatever it was when it was uploaded (calls.sounds.conversion)."""

    name = models.CharField(max_length=60, help_text="What it is called where it is chosen, and in calls' timelines.")
    payload = models.BinaryField(help_text="Raw µ-law, 8000 bytes a second.")
    samples = models.PositiveIntegerField(help_text="One for each byte of the payload.")
    uploaded_at = models.DateTimeField(default=timezone.now)
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                Lower("name"), name="sound_name", violation_error_message="There is a sound of this name already."
            ),
            models.CheckConstraint(name="sound_samples", condition=Q(samples__gt=0)),
        ]

    def __str__(self) -> str:
        return self.name
