"""Legal holds: which calls may not be erased, who said so, and why."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class LegalHoldQuerySet(models.QuerySet["LegalHold"]):
    def standing(self) -> "LegalHoldQuerySet":
        return self.filter(lifted_at=None)


class LegalHold(models.Model):
    """Keeps a call from being erased until it is lifted. A call may have several, and each is lifted by itself.

    It is evidence: it outlives the call, and nothing of it is ever changed but that it was lifted.
    """

    call = models.ForeignKey("Call", models.SET_NULL, null=True, related_name="holds", db_index=False)
    call_sid = models.CharField("CallSid", max_length=34, blank=True)
    placed_at = models.DateTimeField("placed", default=timezone.now)
    placed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    reason = models.CharField(max_length=200, help_text="Why the call may not be erased.")
    lifted_at = models.DateTimeField("lifted", null=True, blank=True)
    lifted_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    lift_reason = models.CharField("why it was lifted", max_length=200, blank=True)

    objects = LegalHoldQuerySet.as_manager()

    class Meta:
        ordering = ["-placed_at", "-id"]
        indexes = [
            # "May this call be erased?", for every call that erasing and pruning look at; and the list's filter.
            models.Index(name="hold_standing", fields=["call"], condition=Q(lifted_at=None)),
            # The holds of a call, on its page and when it is erased.
            models.Index(name="hold_by_call", fields=["call", "-placed_at"]),
        ]

    def __str__(self) -> str:
        return f"legal hold of {self.call_sid}, placed at {self.placed_at:%Y-%m-%d %H:%M}"
