"""Filters of the list of calls that somebody has given a name."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone


class SavedViewQuerySet(models.QuerySet["SavedView"]):
    def everybodys(self) -> "SavedViewQuerySet":
        return self.filter(user=None)


class SavedView(models.Model):
    """The list as it was filtered, sorted and searched, for one user or for everybody.

    Times by name ("today") stay what they are: the view shows another day's calls each day.
    """

    name = models.CharField(max_length=60)
    query = models.CharField(max_length=2000, help_text="The list's query string, in the order of its names.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Nobody: it is everybody's.",
    )
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        verbose_name = "saved view"
        # One's own need no permission.
        default_permissions = ()
        permissions: ClassVar = [("share_views", "Can save views for everybody")]
        constraints = [
            models.UniqueConstraint("user", Lower("name"), name="saved_view_own_name"),
            # A user of NULL is never the same as another.
            models.UniqueConstraint(Lower("name"), condition=Q(user=None), name="saved_view_everybodys_name"),
            models.CheckConstraint(name="saved_view_query", condition=~Q(query="")),
        ]

    def __str__(self) -> str:
        return self.name
