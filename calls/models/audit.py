"""Who came in, who did not, and who gave whom what: for whatever no other table has on record."""

from typing import Any, NoReturn

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def update(self, **fields: Any) -> NoReturn:
        raise TypeError("What is on record is not changed.")

    def delete(self) -> NoReturn:
        raise TypeError("What is on record is not deleted.")


class AuditEntry(models.Model):
    """One thing that happened. Rows are added and never changed, and have no secrets: no password, code or token."""

    class Event(models.TextChoices):
        LOG_IN = "log_in", "logged in"
        LOG_OUT = "log_out", "logged out"
        LOG_IN_FAILED = "log_in_failed", "failed to log in"
        LOG_IN_THROTTLED = "log_in_throttled", "had to wait before another guess"
        SSO_REFUSED = "sso_refused", "refused after single sign-on"
        SESSION_ENDED = "session_ended", "logged out: what they may do has changed"
        FACTOR_SET = "factor_set", "second factor set up"
        FACTOR_USED = "factor_used", "second factor shown"
        FACTOR_FAILED = "factor_failed", "wrong second factor"
        FACTOR_REMOVED = "factor_removed", "second factor removed"
        FACTOR_RESET = "factor_reset", "second factor reset"
        CODES_MADE = "codes_made", "recovery codes made"
        USER_MADE = "user_made", "user made"
        USER_CHANGED = "user_changed", "user changed"
        USER_DELETED = "user_deleted", "user deleted"
        GROUPS_GIVEN = "groups_given", "put into groups"
        GROUPS_TAKEN = "groups_taken", "taken out of groups"
        PERMISSIONS_GIVEN = "permissions_given", "given permissions"
        PERMISSIONS_TAKEN = "permissions_taken", "deprived of permissions"
        GROUP_DELETED = "group_deleted", "group deleted"

    at = models.DateTimeField(default=timezone.now)
    event = models.CharField(max_length=32, choices=Event)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    who = models.CharField(max_length=150, blank=True, help_text="Who did it, as they were called then.")
    about = models.CharField(max_length=254, blank=True, help_text="The account or group that it was done to.")
    address = models.CharField(max_length=64, blank=True)
    detail = models.JSONField(default=dict, blank=True)

    objects = AuditQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                name="audit_event",
                condition=Q(
                    event__in=[
                        *("log_in", "log_out", "log_in_failed", "log_in_throttled", "sso_refused", "session_ended"),
                        *("factor_set", "factor_used", "factor_failed", "factor_removed", "factor_reset", "codes_made"),
                        *("user_made", "user_changed", "user_deleted", "groups_given", "groups_taken"),
                        *("permissions_given", "permissions_taken", "group_deleted"),
                    ]
                ),
            ),
        ]
        indexes = [
            # The list, newest first, and the export, oldest first.
            models.Index(name="audit_newest", fields=["-at", "-id"]),
        ]
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"

    def __str__(self) -> str:
        return f"{self.event} at {self.at:%Y-%m-%d %H:%M}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("What is on record is not changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("What is on record is not deleted.")
