"""The keys that callers pressed."""

from django.db import models


class Dtmf(models.Model):
    """A key that the caller pressed."""

    stream = models.ForeignKey("Stream", models.CASCADE, related_name="dtmf")
    index = models.PositiveIntegerField(help_text="Its number among the keys of its stream.")
    digit = models.CharField(max_length=8, help_text="One key, or • where digits are masked.")
    timestamp_ms = models.PositiveBigIntegerField(help_text="On the stream's own clock.")

    class Meta:
        ordering = ["stream", "index"]
        constraints = [models.UniqueConstraint(name="dtmf_once", fields=["stream", "index"])]
        verbose_name = "key press"
        verbose_name_plural = "key presses"

    def __str__(self) -> str:
        return self.digit
