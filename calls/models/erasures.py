"""What was erased, and that it must stay so."""

from django.conf import settings
from django.db import models
from django.db.models import OuterRef
from django.utils import timezone


class Erased(Exception):
    """This call was erased: whatever still arrives for it, late or out of a spool, must not bring it back."""


class ErasureQuerySet(models.QuerySet["Erasure"]):
    def of_audio(self, call_sid: str | OuterRef) -> "ErasureQuerySet":
        """Those of the audio alone, of a call that is still there."""
        return self.filter(call_sid=call_sid, audio_only=True)


class Erasure(models.Model):
    """That a call was erased, by whom and why; nothing of its content."""

    at = models.DateTimeField(default=timezone.now)
    call_sid = models.CharField(max_length=34, blank=True)
    audio_only = models.BooleanField(default=False)
    reason = models.CharField(max_length=200)
    bytes = models.PositiveBigIntegerField(default=0)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    objects = ErasureQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            # "Was this call erased?", for every new call and stream.
            models.Index(name="erasure_by_call", fields=["call_sid"]),
        ]

    def __str__(self) -> str:
        return f"{self.call_sid} at {self.at:%Y-%m-%d %H:%M}"
