"""The media streams of calls: which are live, which were lost, and how one is closed whose process has died."""

import datetime as dt

from django.db import models
from django.db.models import Exists, F, Max, OuterRef, Q, Sum, Value
from django.db.models.functions import Now
from django.utils import timezone

from calls.media import placement
from calls.media.audio import FRAME_SAMPLES
from calls.media.placement import Spell
from calls.models.audio import AudioChunk, Gap
from calls.twiml import START_SUFFIX


# How often in a row a broken stream is replaced, and below how many seconds a stream counts as broken at once.
RECONNECTS = 5
SHORT_STREAM = 10


class StreamQuerySet(models.QuerySet["Stream"]):
    def live(self) -> "StreamQuerySet":
        return self.filter(ended_at__isnull=True)

    def held(self, within: dt.timedelta) -> "StreamQuerySet":
        """Streams that run, and whose process has said so lately."""
        return self.live().filter(lease_at__gte=Now() - Value(within))

    def lost(self, since: dt.datetime) -> "StreamQuerySet":
        """<Start> streams that have ended since then while their call goes on, and that no other has replaced."""
        newer = Stream.objects.filter(call=OuterRef("call"), name=OuterRef("name"), bidirectional=False)
        return self.filter(
            ~Exists(newer.filter(Q(started_at__gt=OuterRef("started_at")) | Q(ended_at=None))),
            call__ended_at=None,
            bidirectional=False,
            ended_at__gt=since,
            end_reason__in=["shutdown", "disconnect", "interrupted"],
            handler_finished_at=None,
        )

    def orphaned(self, after: dt.timedelta) -> "StreamQuerySet":
        """Streams whose process has not renewed its lease for that long."""
        # By the database's clock, as it was renewed: those of two hosts may differ by more than a lease.
        return self.live().filter(lease_at__lt=Now() - Value(after))


class Stream(models.Model):
    """One media WebSocket of a call; a call that was reconnected has several."""

    class EndReason(models.TextChoices):
        STOP = "stop", "Twilio said stop"
        DISCONNECT = "disconnect", "the socket closed"
        HANDLER = "handler", "the handler finished"
        SHUTDOWN = "shutdown", "the server was shut down"
        INTERRUPTED = "interrupted", "the process died"
        ERROR = "error", "an error"
        DIAL = "dial", "another number was dialled"

    call = models.ForeignKey("Call", models.CASCADE, related_name="streams")
    sid = models.CharField("StreamSid", max_length=34, unique=True)
    name = models.CharField(max_length=255, blank=True)
    bidirectional = models.BooleanField(
        default=True, help_text="Opened by <Connect>, so that we speak too; <Start> opens one on which we only listen."
    )
    tracks = models.JSONField(default=list)
    custom_parameters = models.JSONField(default=dict, blank=True)
    media_format = models.JSONField(default=dict)
    nonce = models.CharField("token nonce", max_length=32, unique=True)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=16, choices=EndReason, blank=True)
    handler_finished_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Set before the socket closes: tells a finished conversation from a broken one.",
    )
    dial = models.JSONField(
        null=True, blank=True, editable=False, help_text="Whom its caller was sent to, and who waits for them."
    )
    handler_failed = models.BooleanField(default=False)
    close_code = models.PositiveIntegerField(null=True, blank=True)
    lease_owner = models.CharField(max_length=64, blank=True)
    lease_at = models.DateTimeField(default=timezone.now)
    transcribed_at = models.DateTimeField(
        null=True, blank=True, help_text="When the words of all that is recorded were known, of both lanes."
    )
    # The database's default too: workers of the version before know no such column.
    sealing_key = models.CharField(
        max_length=160,
        blank=True,
        db_default="",
        default="",
        editable=False,
        help_text="What its audio is sealed with, wrapped by a key of RECORDING_KEYS; empty if it is plain.",
    )
    archive = models.CharField(
        max_length=100, blank=True, default="", db_default="", help_text="The object in the archive that has its audio."
    )
    archive_sha256 = models.CharField(max_length=64, blank=True, default="", db_default="", help_text="Of that object.")
    archive_spare = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text="An object that no audio is read from: one that is being written, or is to be removed.",
    )
    archiving_at = models.DateTimeField(
        null=True, blank=True, help_text="When whoever moves its audio has last said so; empty once that is done."
    )
    merging_since = models.DateTimeField(
        null=True, editable=False, help_text="When somebody began to merge its rows of audio into longer ones."
    )
    merged_at = models.DateTimeField(null=True, editable=False, help_text="When all of them were.")
    length = models.PositiveBigIntegerField(default=0, help_text="Samples on the stream's own clock.")
    absent = models.PositiveBigIntegerField(
        default=0, help_text="Samples after its end during which the call had no stream."
    )
    heard = models.PositiveBigIntegerField(default=0, help_text="Samples of ours that the caller heard.")
    first_timestamp = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Twilio's first timestamp, in ms."
    )
    frames_received = models.PositiveBigIntegerField(default=0)
    frames_missing = models.PositiveBigIntegerField(
        default=0, help_text="Holes in the caller's audio, in frames of 20 ms."
    )
    frames_rejected = models.PositiveBigIntegerField(default=0, help_text="Messages that broke the protocol.")
    sequence_gaps = models.PositiveBigIntegerField(default=0, help_text="Sequence numbers that never came.")
    duplicates = models.PositiveBigIntegerField(default=0, help_text="Sequence numbers that came again or late.")
    timestamp_jumps = models.PositiveBigIntegerField(default=0, help_text="How often the audio's timestamp jumped.")
    overlap_samples = models.PositiveBigIntegerField(
        default=0, help_text="Samples that came twice; the first copy was kept."
    )
    jitter_ms = models.FloatField(default=0, help_text="Jitter of the frames' arrival, as RFC 3550 defines it.")
    handler_overruns = models.PositiveBigIntegerField(
        default=0, help_text="Frames dropped because the handler was too slow."
    )

    objects = StreamQuerySet.as_manager()

    class Meta:
        ordering = ["started_at", "id"]
        constraints = [
            models.CheckConstraint(
                name="stream_end_reason",
                condition=Q(
                    end_reason__in=["", "stop", "disconnect", "handler", "shutdown", "interrupted", "error", "dial"]
                ),
            ),
        ]
        indexes = [
            # The heartbeat's renewal and the search for orphans.
            models.Index(name="stream_live", fields=["lease_at"], condition=Q(ended_at__isnull=True)),
            # Review queues: calls whose handler failed.
            models.Index(name="stream_failed", fields=["started_at", "call"], condition=Q(handler_failed=True)),
            # Streams whose rows of audio are still to be merged, by when they ended.
            models.Index(
                name="stream_unmerged", fields=["ended_at"], condition=Q(merged_at=None, ended_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.sid

    @property
    def handler(self) -> str:
        """The handler that it was opened for."""
        return self.name if self.bidirectional else self.name.removesuffix(START_SUFFIX)

    @property
    def line(self) -> str:
        """Different for two streams that run at once, the same for two of which one replaces the other."""
        return placement.line(self.name, bidirectional=self.bidirectional)

    def spell(self, *ends: int) -> Spell:
        """What placing it on the call's timeline takes; `ends` are those of its lanes, which may be past its length."""
        return Spell(self.pk, self.line, self.started_at, max([self.length, *ends]), self.absent)

    @property
    def broke_at_once(self) -> bool:
        """Whether it has lived too short for anybody to have talked; one that runs counts until now."""
        if self.end_reason == self.EndReason.DIAL:
            return False
        lived = (self.ended_at or timezone.now()) - self.started_at
        return lived.total_seconds() < SHORT_STREAM

    def is_to_be_replaced(self, since: dt.datetime) -> bool:
        """Whether its caller may be on the way to another stream, if that takes no longer than since then.

        What a dead process held is over: whoever comes back from there has a new stream.
        """
        broken = self.end_reason in ("disconnect", "shutdown", "error", "dial") and self.handler_finished_at is None
        return broken and self.ended_at is not None and self.ended_at > since

    def close_orphan(self, lost: int) -> None:
        """Ends a stream whose process is gone: what it had not written, at most `lost` samples, is a gap.

        What the call adds up to is not renewed, here and in `explain_crash`: that is for `calls.summaries` to do.
        """
        self.ended_at = timezone.now()
        self.end_reason = self.EndReason.INTERRUPTED
        self.release_call()
        self.explain_crash(lost)

    def release_call(self) -> None:
        """Ends the wait of a call that this stream's end may have ended, since Twilio need not tell us of that.

        A <Start> stream lives as long as its call: where Twilio says stop, the <Dial> beside it is over too. A drain,
        a broken socket or a handler that has heard enough ends the stream and not the call. A <Connect> stream ends
        when its call is transferred, or goes on to another document of ours.
        """
        if self.bidirectional or self.end_reason == self.EndReason.STOP:
            self.call.stop_dialing()

    def explain_crash(self, lost: int) -> None:
        """Fills with gaps what is missing of an orphan; once more when a spool has brought more of it."""
        self.gaps.filter(reason__in=[Gap.Reason.CRASH, Gap.Reason.NO_STREAM]).delete()
        end = Max(F("start") + F("length"), default=0)
        stored = self.chunks.aggregate(end=end)["end"]
        explained = self.gaps.exclude(reason=Gap.Reason.CLEARED).aggregate(end=end)["end"]
        self.length = max(stored, explained) + lost
        self.gaps.bulk_create(
            [
                Gap(stream=self, track=track, start=start, length=end - start, reason=Gap.Reason.CRASH)
                for track in placement.tiled(self.tracks)
                for start, end in self.find_unexplained(track)
            ],
            ignore_conflicts=True,
        )
        # Its last counters were never written, or are behind what was.
        self.frames_missing = self.count_missing_samples() // FRAME_SAMPLES
        if "outbound" not in self.tracks:
            self.heard = self.count_heard_samples()
        self.save(update_fields=["length", "ended_at", "end_reason", "frames_missing", "heard"])

    def find_unexplained(self, track: str) -> list[tuple[int, int]]:
        """The pieces (start, end) of a lane up to the stream's length that no chunk and no gap accounts for."""
        gaps = self.gaps.filter(track=track).exclude(reason=Gap.Reason.CLEARED)
        spans = [
            *self.chunks.filter(track=track).values_list("start", "length"),
            *gaps.values_list("start", "length"),
        ]
        holes, at = [], 0
        for start, length in sorted(spans):
            if start > at:
                holes.append((at, start))
            at = max(at, start + length)
        if at < self.length:
            holes.append((at, self.length))
        return holes

    def count_missing_samples(self) -> int:
        """What is missing of the lanes that are filled: Twilio sent nothing, messages were lost, or the process died.

        From the gaps; `frames_missing` was counted while the stream ran.
        """
        reasons = [Gap.Reason.TIMESTAMP, Gap.Reason.SEQUENCE, Gap.Reason.CRASH]
        gaps = self.gaps.filter(track__in=placement.tiled(self.tracks), reason__in=reasons)
        return _sum_of_lengths(gaps)

    def count_heard_samples(self) -> int:
        """What the caller heard of us: what is stored of it, and what is left out on purpose or known to be lost.

        From the rows; `heard` was counted while the stream ran.
        """
        reasons = [Gap.Reason.PAUSED, Gap.Reason.OVER_CAP, Gap.Reason.REJECTED]
        gaps = self.gaps.filter(track="outbound", reason__in=reasons)
        return _sum_of_lengths(self.chunks.filter(track="outbound")) + _sum_of_lengths(gaps)


def _sum_of_lengths(rows: "models.QuerySet[AudioChunk] | models.QuerySet[Gap]") -> int:
    return int(rows.aggregate(sum=Sum("length", default=0))["sum"])
