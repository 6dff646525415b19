"""What a stream recorded: runs of audio, and the reasons why there is none in between."""

from django.db import models
from django.db.models import Q


class Track(models.TextChoices):
    INBOUND = "inbound"
    OUTBOUND = "outbound"


class AudioChunk(models.Model):
    """An unbroken run of one lane: µ-law, 8000 bytes a second.

    What the payload holds may lie in the archive instead: it is empty then, and `offset` and `size` say where.
    """

    # No index of its own: both of the others begin with it.
    stream = models.ForeignKey("Stream", models.CASCADE, related_name="chunks", db_index=False)
    track = models.CharField(max_length=8, choices=Track)
    index = models.PositiveIntegerField(help_text="The recorder's counter.")
    start = models.PositiveBigIntegerField(help_text="In samples on the stream's own clock.")
    length = models.PositiveIntegerField(help_text="In samples: one for each byte of µ-law.")
    payload = models.BinaryField(help_text="µ-law, or that sealed (calls/vault): calls/store reads it.")
    # No index finds them: one would cost every write of a live call. And neither has a check in the database, which
    # would read the whole table while nobody can write to it.
    offset = models.BigIntegerField(
        null=True, blank=True, help_text="Where its bytes begin in the stream's object in the archive."
    )
    size = models.IntegerField(null=True, blank=True, help_text="How many bytes it has there.")
    peaks = models.BinaryField(default=bytes, help_text="The loudest sample of every 20 ms, from 0 to 127.")

    class Meta:
        ordering = ["stream", "track", "index"]
        constraints = [
            # A retried write inserts nothing twice. The track comes last here and below: both lanes of a stream are
            # written together, and so into one page of an index and not into two.
            models.UniqueConstraint(name="chunk_once", fields=["stream", "index", "track"]),
            models.CheckConstraint(name="chunk_track", condition=Q(track__in=["inbound", "outbound"])),
            models.CheckConstraint(name="chunk_length", condition=Q(length__gt=0)),
        ]
        indexes = [
            # Reading a range of the recording back.
            models.Index(name="chunk_by_start", fields=["stream", "start", "track"]),
        ]

    def __str__(self) -> str:
        return f"{self.track} {self.start}+{self.length}"


class Gap(models.Model):
    """Why a piece of a lane holds no audio.

    `cleared` lies where the cut was and is as long as what was thrown away: it takes up no room on the timeline.
    `no_stream` lies after its stream's end.
    """

    class Reason(models.TextChoices):
        TIMESTAMP = "timestamp", "Twilio sent nothing"
        SEQUENCE = "sequence", "messages were lost"
        PAUSED = "paused", "recording paused"
        CLEARED = "cleared", "cleared before it was heard"
        CRASH = "crash", "the process died"
        OVER_CAP = "over_cap", "no room left to keep it"
        REJECTED = "rejected", "unusable message"
        NO_STREAM = "no_stream", "the call had no stream"

    stream = models.ForeignKey("Stream", models.CASCADE, related_name="gaps")
    track = models.CharField(max_length=8, choices=Track)
    start = models.PositiveBigIntegerField(help_text="In samples on the stream's own clock.")
    length = models.PositiveBigIntegerField(help_text="In samples.")
    reason = models.CharField(max_length=10, choices=Reason)

    class Meta:
        ordering = ["stream", "track", "start"]
        constraints = [
            models.UniqueConstraint(name="gap_once", fields=["stream", "track", "start", "reason"]),
            models.CheckConstraint(name="gap_track", condition=Q(track__in=["inbound", "outbound"])),
            models.CheckConstraint(name="gap_length", condition=Q(length__gt=0)),
            models.CheckConstraint(
                name="gap_reason",
                condition=Q(
                    reason__in=[
                        "timestamp", "sequence", "paused", "cleared", "crash", "over_cap", "rejected", "no_stream",
                    ]
                ),
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.track} {self.start}+{self.length} {self.reason}"
