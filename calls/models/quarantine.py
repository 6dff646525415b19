"""Rows that the database would not take."""

from django.db import models
from django.utils import timezone


class QuarantinedRow(models.Model):
    """A row that the database refused, kept with its reason so that no other has to wait for it."""

    created_at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=32)
    reason = models.TextField()
    data = models.BinaryField(help_text="The row as msgpack, or that sealed (calls/vault).")

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"
