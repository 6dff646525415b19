"""Who listened to which recording, read its words, or took it away."""

import datetime as dt

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class RecordingAccess(models.Model):
    """Who heard, read or took what. Written before the first byte is sent; afterwards only its ranges grow.

    It is evidence, and outlives the call: then `call_sid` tells which one it was. An export of many has no call.
    """

    class Kind(models.TextChoices):
        LISTEN = "listen"
        READ = "read"
        DOWNLOAD = "download"
        EXPORT = "export"

    #: A player asks in many ranges, pauses and seeks back, and a live one loses its connection: all of that within this
    #: time is one listen.
    ONE_LISTEN = dt.timedelta(minutes=30)
    #: The detail of a listen to a running call, beside which its recording may be listened to as well.
    LIVE = "live"

    call = models.ForeignKey("Call", models.SET_NULL, null=True, related_name="accesses")
    call_sid = models.CharField("CallSid", max_length=34, blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    client = models.ForeignKey("ApiClient", models.SET_NULL, null=True, related_name="+")
    client_name = models.CharField(
        max_length=100, blank=True, db_default="", help_text="As the program was called that read it over the API."
    )
    kind = models.CharField(max_length=8, choices=Kind)
    at = models.DateTimeField(default=timezone.now)
    address = models.CharField(max_length=64, blank=True)
    detail = models.CharField(max_length=200, blank=True, help_text="The format, or the filters of an export.")
    ranges = models.JSONField(
        default=list, blank=True, help_text="What was sent of the recording, to be heard: seconds from and to."
    )
    played = models.JSONField(
        default=list,
        blank=True,
        help_text="What was played of the recording, as the browser says: seconds from and to.",
    )

    class Meta:
        ordering = ["-at", "-id"]
        constraints = [
            models.CheckConstraint(name="access_kind", condition=Q(kind__in=["listen", "read", "download", "export"])),
        ]
        indexes = [
            # "Has this user been listening to this call a moment ago?"
            models.Index(name="access_recent", fields=["call", "user", "-at"]),
            # The list of all of them, newest first.
            models.Index(name="access_newest", fields=["-at", "-id"]),
            # ... of one call, even after it is erased.
            models.Index(name="access_by_call_sid", fields=["call_sid"]),
        ]
        verbose_name = "recording access"
        verbose_name_plural = "recording accesses"

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%Y-%m-%d %H:%M}"

    @property
    def who(self) -> str:
        """A member of staff or a program by its name, even if it is gone."""
        if self.client_name:
            return f"{self.client_name} (API)"
        return self.user.get_username() if self.user else "a deleted user"

    def extend(self, name: str, start: int, stop: int) -> None:
        """Adds seconds to what was sent or played, and joins spans that touch; of more than 100, the first ones too."""
        merged: list[list[int]] = []
        for low, high in sorted([*getattr(self, name), [start, stop]]):
            if merged and low <= merged[-1][1]:
                merged[-1][1] = max(high, merged[-1][1])
            else:
                merged.append([low, high])
        while len(merged) > 100:
            merged[:2] = [[merged[0][0], merged[1][1]]]
        setattr(self, name, merged)
