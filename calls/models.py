"""The tables. Statuses and field names are Twilio's own words; every field that Twilio may not send has a default."""

import datetime as dt
from typing import Any, ClassVar

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Exists, F, Max, OuterRef, Q, Sum, Value
from django.db.models.functions import Now
from django.utils import timezone

from calls.media import placement
from calls.media.audio import FRAME_SAMPLES
from calls.media.placement import Spell
from calls.twiml import START_SUFFIX


# Twilio ends every call by then.
LONGEST_CALL = dt.timedelta(hours=24)
# The parameter of a voice request that says that it comes from our simulator.
SIMULATED = "Simulated"


class Track(models.TextChoices):
    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Tag(models.Model):
    """A word of the staff's own, to find calls by."""

    name = models.CharField(max_length=50, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Erased(Exception):
    """This call was erased: what still comes of it, late or out of a spool, must not bring it back."""


class CallQuerySet(models.QuerySet["Call"]):
    def live(self) -> "CallQuerySet":
        """Calls that have not ended, whatever Twilio last said of them."""
        return self.filter(ended_at__isnull=True)

    def ended(self) -> "CallQuerySet":
        return self.filter(ended_at__isnull=False)

    def abandoned(self, now: dt.datetime, after: dt.timedelta) -> "CallQuerySet":
        """Answered calls without a stream, a <Dial> or a wait for that long, which nobody will ever end.

        Twilio ends every call after 24 h, also one that we last left with a <Dial> or in a queue
        (https://www.twilio.com/docs/voice/api/call-resource, TimeLimit).

        A call that is still to be answered has Twilio's own timeout and callbacks.
        """
        recent = Stream.objects.filter(call=OuterRef("pk")).filter(
            Q(ended_at__isnull=True) | Q(ended_at__gt=now - after)
        )
        # One that we placed may have waited and rung for longer than that before it was answered.
        answered = Q(answered_at=None) | Q(answered_at__lt=now - after)
        alone = Q(dialing=False) | Q(created_at__lt=now - LONGEST_CALL)
        old_enough = self.live().filter(answered, alone, created_at__lt=now - after, sid__isnull=False)
        return old_enough.exclude(direction="outbound-api", answered_at=None).exclude(Exists(recent))

    def quiet(self, now: dt.datetime, after: dt.timedelta, again: dt.timedelta) -> "CallQuerySet":
        """Calls that may be over without our knowing: live, and for that long without a stream and without an event.

        One that Twilio was asked about comes up again after `again`.
        """
        due = Q(asked_at=None) | Q(asked_at__lt=now - again)
        stream = Stream.objects.filter(Q(ended_at__isnull=True) | Q(ended_at__gt=now - after), call=OuterRef("pk"))
        event = CallEvent.objects.filter(call=OuterRef("pk"), received_at__gt=now - after)
        old_enough = self.live().filter(due, created_at__lt=now - after, sid__isnull=False)
        return old_enough.exclude(Exists(stream)).exclude(Exists(event)).order_by(F("asked_at").asc(nulls_first=True))

    def asked_in_vain(self, now: dt.datetime, patience: dt.timedelta, trust: dt.timedelta) -> "CallQuerySet":
        """Those that Twilio was asked about that long ago without saying, within `trust`, that they go on."""
        silent = Q(alive_at=None) | Q(alive_at__lt=now - trust)
        return self.filter(silent, asked_at__lt=now - patience)

    def unheard(self, now: dt.datetime, after: dt.timedelta) -> "CallQuerySet":
        """Calls that we placed, or may have, of which Twilio has said neither that they were answered nor their end.

        It says nothing of one that is canceled in its queue, and keeps none there for more than a day.
        """
        return self.live().filter(direction="outbound-api", answered_at=None, created_at__lt=now - after)

    def note(self, sid: str, *, at: dt.datetime | None = None, **facts: Any) -> "tuple[Call, bool]":
        """The one call of this SID, made by whichever signed request comes first, and whether it is new.

        `at` is when that request came, which may be long before it is written; now if that is unknown.
        Later requests fill what is still empty and move the status up, never down (`Call.advance`). The row is locked:
        of two callbacks at once, the later one must see what the first one has said. Erased if the call was erased.
        """
        with transaction.atomic(using=self.db):
            known = {name: value for name, value in facts.items() if name != "status"}
            call, created = self.select_for_update().get_or_create(
                sid=sid, defaults={**known, "created_at": at or timezone.now()}
            )
            if created and Erasure.objects.using(self.db).filter(call_sid=sid, audio_only=False).exists():
                raise Erased(sid)
            filled = [] if created else call.fill(facts)
            moved = call.advance(facts.get("status", ""), duration=facts.get("duration"), at=at)
            if filled or moved:
                call.save(update_fields=[*filled, *moved])
        return call, created

    def claim(self, pk: int, sid: str) -> None:
        """Gives the row of a call that we placed its SID: whichever is first, Twilio's reply or a request with its ref.

        A row that a request without ref has made meanwhile keeps its key, which others know, and takes over what the
        pending row holds.
        """
        try:
            with transaction.atomic(using=self.db):
                self._claim(pk, sid)
        except IntegrityError:  # that request came just now; its row is there
            with transaction.atomic(using=self.db):
                self._claim(pk, sid)

    def _claim(self, pk: int, sid: str) -> None:
        pending = self.select_for_update().filter(pk=pk, sid=None).first()
        if pending is None:
            return
        if known := self.select_for_update().filter(sid=sid).first():
            known.absorb(pending)
        else:
            pending.sid = sid
            pending.save(using=self.db, update_fields=["sid"])


class Call(models.Model):
    """One phone call: created by the first signed request that names it (or before Twilio is asked to place it)."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        INITIATED = "initiated"
        RINGING = "ringing"
        IN_PROGRESS = "in-progress"
        COMPLETED = "completed"
        BUSY = "busy"
        NO_ANSWER = "no-answer"
        FAILED = "failed"
        CANCELED = "canceled"

        @property
        def rank(self) -> int:
            """queued 0 < initiated 1 < ringing 2 < in-progress 3 < every terminal status 4 (twilio.md §5.2)."""
            return min(list(type(self)).index(self), 4)

        @property
        def terminal(self) -> bool:
            return self.rank == 4

        @classmethod
        def is_terminal(cls, status: str) -> bool:
            """Whether this word of Twilio's says that the call is over."""
            return status in cls and cls(status).terminal

    sid = models.CharField("CallSid", max_length=34, unique=True, null=True, blank=True)
    account_sid = models.CharField(max_length=34, blank=True)
    from_number = models.CharField("from", max_length=255, blank=True)
    to_number = models.CharField("to", max_length=255, blank=True)
    direction = models.CharField(max_length=32, default="inbound")
    status = models.CharField(max_length=16, choices=Status, default=Status.QUEUED)
    handler = models.CharField(max_length=100, blank=True)
    caller_name = models.CharField(max_length=255, blank=True)
    forwarded_from = models.CharField(max_length=255, blank=True)
    answered_by = models.CharField(max_length=32, blank=True, help_text="What answering machine detection found.")
    parameters = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField("when", default=timezone.now)
    answered_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    duration = models.PositiveIntegerField(
        null=True, blank=True, help_text="Seconds, as Twilio counts them (CallDuration)."
    )
    dialing = models.BooleanField(
        default=False, help_text="The last document keeps the call without a stream: a <Dial>, a queue, a wait."
    )
    audio_samples = models.PositiveBigIntegerField(
        default=0, help_text="Length of the recording at 8000 samples a second."
    )
    has_warning = models.BooleanField(default=False, help_text="Frames missing, a failed handler, or cut short.")
    was_interrupted = models.BooleanField(default=False, help_text="The caller spoke or pressed a key into playback.")
    asked_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When Twilio was last asked what became of it."
    )
    alive_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When Twilio last said, being asked, that it goes on."
    )
    notes = models.TextField(blank=True)
    reviewed = models.BooleanField(default=False)
    reviewed_at = models.DateTimeField(null=True, blank=True, editable=False)
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    tags = models.ManyToManyField(Tag, blank=True, related_name="calls")

    objects = CallQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="call_status",
                condition=Q(
                    status__in=[
                        "queued", "initiated", "ringing", "in-progress",
                        "completed", "busy", "no-answer", "failed", "canceled",
                    ]
                ),
            ),
        ]  # fmt: skip
        indexes = [
            # The admin's list, newest first.
            models.Index(name="call_newest", fields=["-created_at", "-id"]),
            # "Live now", and the sweep for calls that nobody ends.
            models.Index(name="call_live", fields=["created_at"], condition=Q(ended_at__isnull=True)),
            # The list's filters, each with its newest first (and the key, or SQLite would rather sort or scan).
            models.Index(name="call_by_status", fields=["status", "-created_at", "-id"]),
            models.Index(name="call_by_handler", fields=["handler", "-created_at", "-id"]),
            models.Index(name="call_by_direction", fields=["direction", "-created_at", "-id"]),
            models.Index(name="call_by_length", fields=["-audio_samples", "-id"]),
            # The longest of one status: without it PostgreSQL walks all lengths down to the unanswered calls' zeros.
            models.Index(name="call_by_status_length", fields=["status", "-audio_samples", "-id"]),
            models.Index(name="call_with_warning", fields=["-created_at", "-id"], condition=Q(has_warning=True)),
            models.Index(name="call_interrupted", fields=["-created_at", "-id"], condition=Q(was_interrupted=True)),
            models.Index(name="call_without_audio", fields=["-created_at", "-id"], condition=Q(audio_samples=0)),
            models.Index(name="call_reviewed", fields=["-created_at", "-id"], condition=Q(reviewed=True)),
            # Search by a whole number, and the numbers' own history.
            models.Index(name="call_by_from", fields=["from_number", "-created_at"]),
            models.Index(name="call_by_to", fields=["to_number", "-created_at"]),
        ]
        permissions: ClassVar = [
            ("listen_call", "Can listen to recordings"),
            ("download_call", "Can download recordings"),
            ("export_call", "Can export calls"),
            ("erase_call", "Can erase calls"),
            ("place_call", "Can place and end calls"),
            ("point_numbers", "Can point phone numbers at handlers"),
            ("see_numbers", "Can see whole phone numbers"),
        ]

    def __str__(self) -> str:
        return self.sid or f"call {self.pk}, not yet placed"

    @property
    def is_simulated(self) -> bool:
        """Whether `simulate_call` placed it: Twilio knows nothing of it. Its requests say so, and are signed."""
        return bool(self.parameters.get(SIMULATED))

    def fill(self, facts: dict[str, Any]) -> list[str]:
        """Takes facts that are still unknown, and returns the fields that changed."""
        changed = []
        for name, value in facts.items():
            # A stream's callback does not say the direction, and made the row with the default.
            unknown = not getattr(self, name) or (name == "direction" and self.direction == "inbound" != value)
            # What the last document of ours does, unlike everything else.
            turned = name == "dialing" and value != self.dialing
            if name not in ("status", "duration") and ((value and unknown) or turned):
                setattr(self, name, value)
                changed.append(name)
        return changed

    def absorb(self, pending: "Call") -> None:
        """Takes over the row that was made before Twilio was asked to place this very call."""
        using = pending._state.db
        facts = {field.attname: getattr(pending, field.attname) for field in pending._meta.concrete_fields}
        own = ("id", "sid", "status", "direction", "dialing", "created_at", "answered_at", "ended_at")
        changed = self.fill({name: value for name, value in facts.items() if name not in own})
        self.direction, self.created_at = pending.direction, min(self.created_at, pending.created_at)
        changed += ["direction", "created_at", *self.advance(pending.status)]
        for related in (CallEvent, RecordingAccess):
            related._default_manager.using(using).filter(call=pending).update(call=self)
        self.tags.add(*pending.tags.all())
        pending.delete(using=using)
        self.save(using=using, update_fields=changed)

    def revive(self, since: dt.datetime) -> list[str]:
        """Undoes a guess that the call was over, if it was no more than that: a stream has begun since.

        Returns the fields that changed, unsaved.
        """
        guess = self.events.filter(kind="presumed-over").first() if self.ended_at else None
        said = self.events.filter(source=CallEvent.Source.CALL_STATUS, kind__in=[s for s in self.Status if s.terminal])
        if guess is None or said.exists():
            return []
        # Another guess may follow, and is another event.
        guess.kind, guess.key = "presumed-over-wrongly", f"presumed-over:{guess.pk}"
        guess.data = {**guess.data, "but": f"A stream began at {since:%H:%M:%S} UTC: the call was not over."}
        guess.save(using=self._state.db, update_fields=["kind", "key", "data"])
        self.status, self.ended_at = self.Status.IN_PROGRESS, None
        self.answered_at = self.answered_at or since
        return ["status", "ended_at", "answered_at"]

    def stop_dialing(self) -> None:
        """Its <Dial>, queue or wait is over, unless another document of ours has taken its place since."""
        later = ["transfer", "transfer-unknown", "stream-ended"]
        replaced = CallEvent.objects.filter(call=self.pk, kind__in=later)
        # In one statement: the row may have changed since it was read.
        dialing = Call.objects.using(self._state.db).filter(~Exists(replaced), pk=self.pk, dialing=True)
        dialing.update(dialing=False)

    def advance(self, status: str, *, duration: int | None = None, at: dt.datetime | None = None) -> list[str]:
        """Moves the status up, never down; a terminal one sticks. Returns the fields that changed, unsaved.

        Callbacks arrive late, twice and in any order (https://www.twilio.com/docs/voice/api/call-resource).
        """
        before = {name: getattr(self, name) for name in ("status", "answered_at", "ended_at", "duration")}
        now = at or timezone.now()
        if status in self.Status and self.Status(status).rank > self.Status(self.status).rank:
            self.status = status
        if status == self.Status.IN_PROGRESS and not self.answered_at:
            self.answered_at = min(now, self.ended_at or now)
        if self.Status(self.status).terminal and not self.ended_at:
            self.ended_at = now
        if duration is not None and self.duration is None:
            self.duration = duration
        return [name for name, value in before.items() if getattr(self, name) != value]


class StreamQuerySet(models.QuerySet["Stream"]):
    def live(self) -> "StreamQuerySet":
        return self.filter(ended_at__isnull=True)

    def lost(self, since: dt.datetime) -> "StreamQuerySet":
        """<Start> streams that ended since then while their call went on, and that no other one has replaced."""
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

    call = models.ForeignKey(Call, models.CASCADE, related_name="streams")
    sid = models.CharField("StreamSid", max_length=34, unique=True)
    name = models.CharField(max_length=255, blank=True)
    bidirectional = models.BooleanField(
        default=True, help_text="Behind <Connect>, where we speak too; behind <Start> we only listen."
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
    handler_failed = models.BooleanField(default=False)
    close_code = models.PositiveIntegerField(null=True, blank=True)
    lease_owner = models.CharField(max_length=64, blank=True)
    lease_at = models.DateTimeField(default=timezone.now)
    length = models.PositiveBigIntegerField(default=0, help_text="Samples on the stream's own clock.")
    absent = models.PositiveBigIntegerField(
        default=0, help_text="Samples after its end during which the call had no stream."
    )
    heard = models.PositiveBigIntegerField(default=0, help_text="Samples of ours that the caller heard.")
    first_timestamp = models.PositiveBigIntegerField(null=True, blank=True, help_text="Twilio's first timestamp, ms.")
    frames_received = models.PositiveBigIntegerField(default=0)
    frames_missing = models.PositiveBigIntegerField(default=0, help_text="Holes in the caller's audio, in 20 ms.")
    frames_rejected = models.PositiveBigIntegerField(default=0, help_text="Messages that broke the protocol.")
    sequence_gaps = models.PositiveBigIntegerField(default=0, help_text="Sequence numbers that never came.")
    duplicates = models.PositiveBigIntegerField(default=0, help_text="Sequence numbers that came again or late.")
    timestamp_jumps = models.PositiveBigIntegerField(default=0, help_text="Times the audio's timestamp jumped.")
    overlap_samples = models.PositiveBigIntegerField(default=0, help_text="Samples that came twice; the first stayed.")
    jitter_ms = models.FloatField(default=0, help_text="Smoothed deviation of the frames' arrival, as RFC 3550 has it.")
    handler_overruns = models.PositiveBigIntegerField(default=0, help_text="Frames that the handler was too slow for.")

    objects = StreamQuerySet.as_manager()

    class Meta:
        ordering = ["started_at", "id"]
        constraints = [
            models.CheckConstraint(
                name="stream_end_reason",
                condition=Q(end_reason__in=["", "stop", "disconnect", "handler", "shutdown", "interrupted", "error"]),
            ),
        ]
        indexes = [
            # The heartbeat's renewal and the search for orphans.
            models.Index(name="stream_live", fields=["lease_at"], condition=Q(ended_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.sid

    @property
    def handler(self) -> str:
        """The handler that it was opened for."""
        return self.name if self.bidirectional else self.name.removesuffix(START_SUFFIX)

    @property
    def line(self) -> str:
        """What of two streams at once is different, and of two that replace each other the same."""
        return placement.line(self.name, bidirectional=self.bidirectional)

    def spell(self, *ends: int) -> Spell:
        """What placing it on the call's timeline needs; `ends` are its lanes', which are ahead of its length."""
        return Spell(self.pk, self.line, self.started_at, max([self.length, *ends]), self.absent)

    def close_orphan(self, lost: int) -> None:
        """Ends a stream whose process is gone: what it had not written, at most `lost` samples, is a gap."""
        self.ended_at = timezone.now()
        self.end_reason = self.EndReason.INTERRUPTED
        self.release_call()
        self.explain_crash(lost)

    def release_call(self) -> None:
        """A call whose stream has ended may be over, and Twilio need not tell us.

        A <Start> stream lives as long as its call: where Twilio says stop, the <Dial> beside it is over too. A drain,
        a broken socket or a handler that has heard enough ends the stream and not the call. A <Connect> stream ends
        when its call is transferred, or goes on to another document of ours.
        """
        if self.bidirectional or self.end_reason == self.EndReason.STOP:
            self.call.stop_dialing()

    def explain_crash(self, lost: int) -> None:
        """Makes gaps of what is missing of an orphan; again when a spool has brought more of it."""
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

        Counted from the gaps: `frames_missing` is what was counted while it ran.
        """
        reasons = [Gap.Reason.TIMESTAMP, Gap.Reason.SEQUENCE, Gap.Reason.CRASH]
        gaps = self.gaps.filter(track__in=placement.tiled(self.tracks), reason__in=reasons)
        return _sum_of_lengths(gaps)

    def count_heard_samples(self) -> int:
        """What is stored of our side of a conversation, and what was heard of it and is meant or known not to be.

        Counted from the rows: `heard` is what was counted while it ran.
        """
        reasons = [Gap.Reason.PAUSED, Gap.Reason.OVER_CAP, Gap.Reason.REJECTED]
        gaps = self.gaps.filter(track="outbound", reason__in=reasons)
        return _sum_of_lengths(self.chunks.filter(track="outbound")) + _sum_of_lengths(gaps)


def _sum_of_lengths(rows: "models.QuerySet[AudioChunk] | models.QuerySet[Gap]") -> int:
    return int(rows.aggregate(sum=Sum("length", default=0))["sum"])


class AudioChunk(models.Model):
    """A run of one lane without a hole: raw µ-law, 8000 bytes a second."""

    # No index of its own: both of the others begin with it.
    stream = models.ForeignKey(Stream, models.CASCADE, related_name="chunks", db_index=False)
    track = models.CharField(max_length=8, choices=Track)
    index = models.PositiveIntegerField(help_text="The recorder's counter.")
    start = models.PositiveBigIntegerField(help_text="In samples on the stream's own clock.")
    length = models.PositiveIntegerField(help_text="In samples, which are the payload's bytes.")
    payload = models.BinaryField(help_text="Raw µ-law.")
    peaks = models.BinaryField(default=bytes, help_text="Loudest sample of every 20 ms, 0-127 (calls.audio.peaks).")

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

    `cleared` lies where the cut was and is as long as what was thrown away: it takes no room on the timeline.
    `no_stream` lies behind its stream's end.
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

    stream = models.ForeignKey(Stream, models.CASCADE, related_name="gaps")
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


class Mark(models.Model):
    """A mark that we sent, and whether its audio was heard or cleared when it came back."""

    class Outcome(models.TextChoices):
        PENDING = "pending"
        PLAYED = "played"
        CLEARED = "cleared"

    stream = models.ForeignKey(Stream, models.CASCADE, related_name="marks")
    index = models.PositiveIntegerField(help_text="The how-manieth mark of its stream; names may repeat.")
    name = models.CharField(max_length=255)
    sent_at = models.DateTimeField()
    position = models.PositiveBigIntegerField(help_text="In samples on the outbound lane.")
    returned_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=8, choices=Outcome, default=Outcome.PENDING)

    class Meta:
        ordering = ["stream", "index"]
        constraints = [
            models.UniqueConstraint(name="mark_once", fields=["stream", "index"]),
            models.CheckConstraint(name="mark_outcome", condition=Q(outcome__in=["pending", "played", "cleared"])),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.outcome})"


class Dtmf(models.Model):
    """A key that the caller pressed."""

    stream = models.ForeignKey(Stream, models.CASCADE, related_name="dtmf")
    index = models.PositiveIntegerField(help_text="The how-manieth key of its stream.")
    digit = models.CharField(max_length=8, help_text="One key, or • where digits are masked.")
    timestamp_ms = models.PositiveBigIntegerField(help_text="On the stream's own clock.")

    class Meta:
        ordering = ["stream", "index"]
        constraints = [models.UniqueConstraint(name="dtmf_once", fields=["stream", "index"])]
        verbose_name = "key press"
        verbose_name_plural = "key presses"

    def __str__(self) -> str:
        return self.digit


class CallEvent(models.Model):
    """Something that happened: a callback of Twilio's, a step of a stream, or what staff did."""

    class Source(models.TextChoices):
        CALL_STATUS = "call-status", "call status callback"
        STREAM_STATUS = "stream-status", "stream status callback"
        STREAM = "stream", "media stream"
        CONTROL = "control", "staff"
        SYSTEM = "system", "system"

    call = models.ForeignKey(Call, models.CASCADE, related_name="events")
    stream = models.ForeignKey(Stream, models.SET_NULL, null=True, blank=True, related_name="events")
    source = models.CharField(max_length=16, choices=Source)
    kind = models.CharField(max_length=64)
    key = models.CharField("idempotency key", max_length=200)
    sequence_number = models.PositiveIntegerField(null=True, blank=True)
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField(default=timezone.now)
    data = models.JSONField(default=dict, blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ["occurred_at", F("sequence_number").asc(nulls_first=True), "id"]
        constraints = [
            # Callbacks come twice; an event is stored once.
            models.UniqueConstraint(name="event_once", fields=["call", "key"]),
            models.CheckConstraint(
                name="event_source",
                condition=Q(source__in=["call-status", "stream-status", "stream", "control", "system"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source}: {self.kind}"


class RecordingAccess(models.Model):
    """Who heard or took what. Written before the first byte is sent; afterwards only its ranges grow.

    It is evidence, and outlives the call: then `call_sid` tells which one it was. An export of many has no call.
    """

    class Kind(models.TextChoices):
        LISTEN = "listen"
        DOWNLOAD = "download"
        EXPORT = "export"

    call = models.ForeignKey(Call, models.SET_NULL, null=True, related_name="accesses")
    call_sid = models.CharField("CallSid", max_length=34, blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    kind = models.CharField(max_length=8, choices=Kind)
    at = models.DateTimeField(default=timezone.now)
    address = models.CharField(max_length=64, blank=True)
    detail = models.CharField(max_length=200, blank=True, help_text="The format, or the filters of an export.")
    ranges = models.JSONField(
        default=list, blank=True, help_text="What was sent to be heard: seconds from and to, of the call's recording."
    )
    played = models.JSONField(
        default=list, blank=True, help_text="What was played of it, as the browser says: seconds from and to."
    )

    class Meta:
        ordering = ["-at", "-id"]
        constraints = [
            models.CheckConstraint(name="access_kind", condition=Q(kind__in=["listen", "download", "export"])),
        ]
        indexes = [
            # "Has this user been listening to this call a moment ago?"
            models.Index(name="access_recent", fields=["call", "user", "-at"]),
            # The list of all of them, newest first.
            models.Index(name="access_newest", fields=["-at", "-id"]),
            # ... of one call, also when it is erased.
            models.Index(name="access_by_call_sid", fields=["call_sid"]),
        ]
        verbose_name = "recording access"
        verbose_name_plural = "recording accesses"

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%Y-%m-%d %H:%M}"

    def extend(self, name: str, start: int, stop: int) -> None:
        """Adds seconds to what was sent or played; neighbours become one. Of very many, the first grow together."""
        merged: list[list[int]] = []
        for low, high in sorted([*getattr(self, name), [start, stop]]):
            if merged and low <= merged[-1][1]:
                merged[-1][1] = max(high, merged[-1][1])
            else:
                merged.append([low, high])
        while len(merged) > 100:
            merged[:2] = [[merged[0][0], merged[1][1]]]
        setattr(self, name, merged)


class QuarantinedRow(models.Model):
    """A row that the database refused, kept with its reason so that it holds nothing else back."""

    created_at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=32)
    reason = models.TextField()
    data = models.BinaryField(help_text="The row as msgpack.")

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


class ErasureQuerySet(models.QuerySet["Erasure"]):
    def of_audio(self, call_sid: str | OuterRef) -> "ErasureQuerySet":
        """Whether the audio of a call that is still there was erased."""
        return self.filter(call_sid=call_sid, audio_only=True)


class Erasure(models.Model):
    """That a call was erased, by whom and why; nothing of its content."""

    at = models.DateTimeField(default=timezone.now)
    call_sid = models.CharField(max_length=34, blank=True)
    audio_only = models.BooleanField(default=False)
    reason = models.CharField(max_length=200)
    bytes = models.PositiveBigIntegerField(default=0)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    objects = ErasureQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            # "Was this call erased?", for every new call and stream.
            models.Index(name="erasure_by_call", fields=["call_sid"]),
        ]

    def __str__(self) -> str:
        return f"{self.call_sid} at {self.at:%Y-%m-%d %H:%M}"


class LoginLimit(models.Model):
    """How far one limit of the login is used up (`calls.access.logins`); rows of the past say nothing and go."""

    key = models.CharField(max_length=64, unique=True)
    due = models.DateTimeField(help_text="When all guesses have come back.")

    class Meta:
        # The deletion of what is past.
        indexes = [models.Index(name="login_limit_due", fields=["due"])]

    def __str__(self) -> str:
        return f"{self.key[:8]} until {self.due:%Y-%m-%d %H:%M:%S}"
