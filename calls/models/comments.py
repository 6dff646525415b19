"""What staff say to each other about a moment of a call."""

import datetime as dt
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Q
from django.utils import timezone


class CommentQuerySet(models.QuerySet["Comment"]):
    def open(self) -> "CommentQuerySet":
        return self.filter(resolved_at=None)


class Comment(models.Model):
    """A remark on a moment of a call, or on all of it, which anybody who may listen can resolve.

    It may quote what was said, so it goes with the audio.
    """

    # No index of its own: the other one begins with it.
    call = models.ForeignKey("Call", models.CASCADE, related_name="comments", db_index=False)
    at_samples = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Where in the recording, in samples; nothing if it is about the whole call."
    )
    text = models.TextField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    name = models.CharField(max_length=150, help_text="Who wrote it, even when that user is gone.")
    created_at = models.DateTimeField(default=timezone.now)
    edited_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    objects = CommentQuerySet.as_manager()

    class Meta:
        ordering = ["call", "id"]
        # Who may listen may comment; nobody needs a permission to add, change or view them.
        default_permissions = ()
        permissions: ClassVar = [("delete_comment", "Can delete other people's comments")]
        constraints = [
            models.CheckConstraint(name="comment_text", condition=~Q(text="")),
            models.CheckConstraint(
                name="comment_resolved", condition=Q(resolved_by=None) | Q(resolved_at__isnull=False)
            ),
        ]
        indexes = [
            # A call's page: all of them, in order.
            models.Index(name="comment_by_call", fields=["call", "id"]),
            # The list: which calls have open ones, and how many.
            models.Index(name="comment_open", fields=["call"], condition=Q(resolved_at=None)),
        ]

    def __str__(self) -> str:
        # Not what it says: staff see this where they may not listen.
        return f"comment {self.pk}"

    def change(self, text: str, was: str, at: dt.datetime) -> bool:
        """Writes another text, unless it was resolved meanwhile or is no longer what it `was`."""
        return bool(self._if_open().filter(text=was).update(text=text, edited_at=at))

    def withdraw(self) -> bool:
        """Deletes it, unless it was resolved meanwhile."""
        return bool(self._if_open().delete()[0])

    def resolve(self, user: User, at: dt.datetime) -> None:
        """Of two who resolve it, it is the first one's."""
        self._if_open().update(resolved_at=at, resolved_by=user)

    def reopen(self) -> None:
        Comment.objects.filter(pk=self.pk).update(resolved_at=None, resolved_by=None)

    def _if_open(self) -> CommentQuerySet:
        """In one statement with what is done: somebody else may do something else at this moment."""
        return Comment.objects.open().filter(pk=self.pk)
