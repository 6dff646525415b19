"""The words that staff give to calls."""

from django.db import models


class Tag(models.Model):
    """A word of the staff's own, by which they find calls again."""

    name = models.CharField(max_length=50, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
