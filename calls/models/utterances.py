"""What was said, as a transcriber understood it."""

from django.db import connections, models
from django.db.models import Q

from calls.models.audio import Track


# Trigrams find nothing shorter inside of a text: all of it is read.
SHORT = 3
# How many utterances, the newest ones, are read where no index finds them: on SQLite, and short words anywhere. SQLite
# reads a million in a second.
MOST_READ = 500_000


class UtteranceQuerySet(models.QuerySet["Utterance"]):
    def saying(self, words: str) -> "UtteranceQuerySet":
        """Those in which these words stand in a row, in any case, also as a part of longer ones: "refund" in "refunds".

        Without an index (`MOST_READ`) only the newest are looked through.
        """
        found = self.filter(text__icontains=words)
        if connections[self.db].vendor == "postgresql" and len(words) >= SHORT:
            return found
        newest = self.order_by("-pk").values_list("pk", flat=True).first() or 0
        return found.filter(pk__gt=newest - MOST_READ)


class Utterance(models.Model):
    """A sentence or less of one side, between two pauses."""

    # No index of its own: the other one begins with it.
    stream = models.ForeignKey("Stream", models.CASCADE, related_name="utterances", db_index=False)
    track = models.CharField(max_length=8, choices=Track)
    start = models.PositiveBigIntegerField(help_text="In samples on the stream's own clock.")
    length = models.PositiveBigIntegerField(help_text="In samples.")
    text = models.TextField()
    words = models.JSONField(
        default=list, blank=True, help_text="[word, start, length] of each in samples, if the transcriber said so."
    )

    objects = UtteranceQuerySet.as_manager()

    class Meta:
        ordering = ["stream", "start", "track"]
        constraints = [
            # A retried write inserts nothing twice; and a call's page reads all of a stream.
            models.UniqueConstraint(name="utterance_once", fields=["stream", "track", "start"]),
            models.CheckConstraint(name="utterance_track", condition=Q(track__in=["inbound", "outbound"])),
            models.CheckConstraint(name="utterance_length", condition=Q(length__gt=0)),
            models.CheckConstraint(name="utterance_text", condition=~Q(text="")),
        ]

    def __str__(self) -> str:
        # Not what was said: staff see this where they may not listen.
        return f"{self.track} {self.start}+{self.length}"
