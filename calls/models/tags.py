"""The words by which staff find calls again."""

from django.db import models


class Tag(models.Model):
    """A word of the staff's own, to find calls by."""

    name = models.CharField(max_length=50, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
