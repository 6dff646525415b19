"""The programs that may read calls over the API."""

import datetime as dt
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


# How often at most it is written that a client was there.
NOTE_USE_EVERY = dt.timedelta(minutes=1)


class ApiClient(models.Model):
    """A program with a token of its own (`calls.access.programs`), of which only a digest is kept.

    It is revoked and not deleted: what it read is on record under its name.
    """

    name = models.CharField(
        max_length=100, unique=True, help_text="Which program it is, and whose: every access is on record under this."
    )
    key = models.CharField(max_length=16, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    may_listen = models.BooleanField("read words", default=False, help_text="Also turns, marks and keys.")
    may_download = models.BooleanField("download recordings", default=False)
    may_see_numbers = models.BooleanField(
        "see numbers", default=False, help_text="Whole ones, and callers' names; and search by a number."
    )
    is_active = models.BooleanField(
        "active", default=True, help_text="Uncheck to revoke its token: it is refused from the next request on."
    )
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="From then on its token is refused. Empty: never."
    )
    last_used_at = models.DateTimeField("last used", null=True, blank=True, editable=False)
    created_at = models.DateTimeField("made", default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+", verbose_name="made by"
    )

    class Meta:
        ordering = ["name"]
        default_permissions = ()
        permissions: ClassVar = [("manage_apiclients", "Can make and revoke API clients")]
        constraints = [models.CheckConstraint(name="api_client_digest", condition=~Q(digest=""))]
        verbose_name = "API client"

    def __str__(self) -> str:
        return self.name

    @property
    def permissions(self) -> list[str]:
        """What it may do with calls, as staff's permissions are called."""
        chosen = {
            "listen_call": self.may_listen,
            "download_call": self.may_download,
            "see_numbers": self.may_see_numbers,
        }
        return ["view_call", *(name for name, may in chosen.items() if may)]

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def is_good(self) -> bool:
        """Whether its token lets it in."""
        return self.is_active and not self.has_expired

    def note_use(self, now: dt.datetime) -> None:
        """Notes that it was there, unless that was noted a moment ago, by whichever worker."""
        if self.last_used_at is None or self.last_used_at < now - NOTE_USE_EVERY:
            stale = Q(last_used_at=None) | Q(last_used_at__lt=now - NOTE_USE_EVERY)
            ApiClient.objects.filter(stale, pk=self.pk).update(last_used_at=now)
