"""Calls: what Twilio said of each, what was measured, and what handlers and staff have noted."""

import datetime as dt
import logging
from typing import Any, ClassVar

from django.conf import settings
from django.db import models, transaction
from django.db.models import Exists, Q
from django.utils import timezone

from calls import metrics, tracing
from calls.models.call_queries import CallQuerySet
from calls.models.events import CallEvent
from calls.models.tags import Tag
from calls.security import SIMULATED


logger = logging.getLogger(__name__)

# How often a page that is open says so: at most.
FOLLOWED_EVERY = dt.timedelta(seconds=10)


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
            """queued 0 < initiated 1 < ringing 2 < in-progress 3 < every terminal status 4."""
            return min(list(type(self)).index(self), 4)

        @property
        def terminal(self) -> bool:
            return self.rank == 4

        @classmethod
        def is_terminal(cls, status: str) -> bool:
            """Whether this word of Twilio's says that the call is over."""
            return status in cls and cls(status).terminal

    class Told(models.IntegerChoices):
        """How much of a call others were told, or need not be."""

        NOTHING = 0
        END = 1
        #: ... and what has become of its recording.
        ALL = 2

    sid = models.CharField("CallSid", max_length=34, unique=True, null=True, blank=True)
    account_sid = models.CharField(max_length=34, blank=True)
    from_number = models.CharField("from", max_length=255, blank=True)
    to_number = models.CharField("to", max_length=255, blank=True)
    direction = models.CharField(max_length=32, default="inbound")
    status = models.CharField(max_length=16, choices=Status, default=Status.QUEUED)
    handler = models.CharField(max_length=100, blank=True)
    caller_name = models.CharField(max_length=255, blank=True)
    forwarded_from = models.CharField(max_length=255, blank=True)
    answered_by = models.CharField(
        max_length=32, blank=True, help_text="What Twilio's answering machine detection found."
    )
    parameters = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField("when", default=timezone.now)
    answered_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    duration = models.PositiveIntegerField(
        null=True, blank=True, help_text="Seconds, as Twilio counts them (CallDuration)."
    )
    dialing = models.BooleanField(
        default=False, help_text="Our last TwiML keeps the call going without a stream: a <Dial>, a queue or a wait."
    )
    audio_samples = models.PositiveBigIntegerField(
        default=0, help_text="Length of the recording, in samples: 8000 a second."
    )
    has_warning = models.BooleanField(
        default=False, help_text="Audio is missing, the handler failed, or the call was cut short."
    )
    was_interrupted = models.BooleanField(default=False, help_text="The caller spoke or pressed a key during playback.")
    first_audio_ms = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="From the answer to the first sample of ours that was heard."
    )
    response_ms = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="What the caller waited for our answers: the median of them."
    )
    response_ms_max = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="The longest that the caller waited for an answer of ours."
    )
    dead_air_ms = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="While nobody spoke for 2 s and longer: all of that together."
    )
    talk_over_ms = models.PositiveIntegerField(
        null=True, blank=True, editable=False, help_text="While both sides spoke at once: all of that together."
    )
    measured_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When the five figures above were measured in the recording."
    )
    measuring_since = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When somebody has begun to measure it."
    )
    followed_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When somebody last had its page open while it ran."
    )
    turns_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="Its turns are those of a call that runs, and whoever makes them said then that they still do.",
    )
    price = models.DecimalField(
        max_digits=14,
        decimal_places=6,
        null=True,
        blank=True,
        editable=False,
        help_text="What Twilio charges for the connection; its own sign: what was charged is negative.",
    )
    price_unit = models.CharField(
        max_length=3, blank=True, db_default="", editable=False, help_text="The currency, as in ISO 4217."
    )
    price_asked_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When Twilio was last asked what the call cost."
    )
    told = models.PositiveSmallIntegerField(choices=Told, default=Told.NOTHING, db_default=Told.NOTHING, editable=False)
    asked_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When Twilio was last asked what became of the call."
    )
    alive_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When Twilio, being asked, last said that the call goes on."
    )
    notes = models.TextField(blank=True)
    reviewed = models.BooleanField(default=False)
    reviewed_at = models.DateTimeField(null=True, blank=True, editable=False)
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    data = models.JSONField(
        default=dict, db_default={}, blank=True, help_text="What the handler has set (`stream.set`), by name."
    )
    data_at = models.JSONField(
        default=dict, db_default={}, blank=True, editable=False, help_text="When each was set, in µs since 1970."
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
            # Sorted by a figure, upwards and downwards, also those of a handler; and a figure's filter, where few calls
            # match. A call is in them once it is measured, so that neither webhooks nor the recorder pay for them.
            *(
                models.Index(name=name, fields=[*first, field, "id"], condition=Q(**{f"{field}__isnull": False}))
                for name, first, field in [
                    ("call_by_first_audio", [], "first_audio_ms"),
                    ("call_by_response", [], "response_ms"),
                    ("call_by_worst_response", [], "response_ms_max"),
                    ("call_by_dead_air", [], "dead_air_ms"),
                    ("call_by_handler_first", ["handler"], "first_audio_ms"),
                    ("call_by_handler_response", ["handler"], "response_ms"),
                    ("call_by_handler_worst", ["handler"], "response_ms_max"),
                    ("call_by_handler_dead_air", ["handler"], "dead_air_ms"),
                ]
            ),
            # What is still to be measured. With the first field SQLite does not prefer `call_ended`.
            models.Index(
                name="call_unmeasured",
                fields=["measured_at", "ended_at"],
                condition=Q(measured_at=None, ended_at__isnull=False, audio_samples__gt=0),
            ),
            # What others are still to be told of: a call's end, then its recording.
            models.Index(
                name="call_end_untold", fields=["told", "ended_at", "id"], condition=Q(told=0, ended_at__isnull=False)
            ),
            models.Index(
                name="call_recording_untold",
                fields=["told", "ended_at", "id"],
                condition=Q(told=1, ended_at__isnull=False),
            ),
            # Review queues: calls in which an answer took long, as they were measured.
            models.Index(
                name="call_measured",
                fields=["measured_at", "id", "response_ms_max"],
                condition=Q(response_ms_max__isnull=False),
            ),
            # What an alert rule looks at, and the list of it: the calls that ended within a window.
            models.Index(name="call_ended", fields=["ended_at"], condition=Q(ended_at__isnull=False)),
            # Whose price is still to be asked for: of those that ended lately.
            models.Index(name="call_unpriced", fields=["ended_at"], condition=Q(price=None, status="completed")),
            # Search by a whole number, and the numbers' own history.
            models.Index(name="call_by_from", fields=["from_number", "-created_at"]),
            models.Index(name="call_by_to", fields=["to_number", "-created_at"]),
        ]
        permissions: ClassVar = [
            ("listen_call", "Can listen to recordings"),
            ("download_call", "Can download recordings"),
            ("export_call", "Can export calls"),
            ("erase_call", "Can erase calls"),
            ("hold_call", "Can place legal holds on calls, and lift them"),
            ("place_call", "Can place and end calls"),
            ("supervise_call", "Can listen to running calls, and step in"),
            ("point_numbers", "Can point phone numbers at handlers"),
            ("see_numbers", "Can see whole phone numbers"),
        ]

    def __str__(self) -> str:
        return self.sid or f"call {self.pk}, not yet placed"

    @property
    def is_simulated(self) -> bool:
        """Whether `simulate_call` placed it, so Twilio knows nothing of it. Its requests say so, and are signed."""
        return bool(self.parameters.get(SIMULATED))

    @property
    def data_in_order(self) -> dict[str, Any]:
        """What the handler has set, in the order in which it did: PostgreSQL keeps another one."""
        return dict(sorted(self.data.items(), key=lambda item: self.data_at.get(item[0], 0)))

    def fill(self, facts: dict[str, Any]) -> list[str]:
        """Takes facts that are still unknown, and returns the fields that changed."""
        changed = []
        for name, value in facts.items():
            # A stream's callback does not give the direction: the row that it creates has the default.
            unknown = not getattr(self, name) or (name == "direction" and self.direction == "inbound" != value)
            # Unlike everything else, this may change with every document of ours.
            turned = name == "dialing" and value != self.dialing
            if name not in ("status", "duration") and ((value and unknown) or turned):
                setattr(self, name, value)
                changed.append(name)
        return changed

    def absorb(self, pending: "Call") -> None:
        """Takes over the row that was created before Twilio was asked to place this very call."""
        using = pending._state.db
        facts = {field.attname: getattr(pending, field.attname) for field in pending._meta.concrete_fields}
        own = ("id", "sid", "status", "direction", "dialing", "created_at", "answered_at", "ended_at", "told")
        changed = self.fill({name: value for name, value in facts.items() if name not in own})
        self.direction, self.created_at = pending.direction, min(self.created_at, pending.created_at)
        changed += ["direction", "created_at", *self.advance(pending.status)]
        pending.events.update(call=self)
        pending.accesses.update(call=self)
        pending.comments.update(call=self)
        pending.holds.update(call=self, call_sid=self.sid or "")
        pending.campaign_calls.update(call=self)
        self.tags.add(*pending.tags.all())
        pending.delete(using=using)
        self.save(using=using, update_fields=changed)

    def note_follower(self) -> None:
        """Somebody who may listen has its page open: on record while it runs, every FOLLOWED_EVERY. One query."""
        now = timezone.now()
        known = Q(followed_at=None) | Q(followed_at__lt=now - FOLLOWED_EVERY)
        if self.ended_at is None and (self.followed_at is None or self.followed_at < now - FOLLOWED_EVERY):
            Call.objects.live().filter(known, pk=self.pk).update(followed_at=now)

    def learn(self, values: dict[str, Any], at: dt.datetime) -> list[str]:
        """Takes what a handler has set at that moment; of each name the latest value stays, whatever comes first.

        Returns the fields that changed, unsaved.
        """
        moment = round(at.timestamp() * 1_000_000)
        later = {name: value for name, value in values.items() if moment > self.data_at.get(name, 0)}
        self.data, self.data_at = self.data | later, self.data_at | dict.fromkeys(later, moment)
        return ["data", "data_at"] if later else []

    def revive(self, since: dt.datetime) -> list[str]:
        """Undoes a guess that the call was over, if it was no more than a guess: a stream has begun since.

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
        # Of its end others may have been told; they are told once more when it comes.
        self.told = self.Told.NOTHING
        return ["status", "ended_at", "answered_at", "told"]

    def stop_dialing(self) -> None:
        """Notes that its <Dial>, queue or wait is over, unless another document of ours has taken its place since."""
        if not self.dialing:
            return
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
            # Once it is certain: whoever is told of the end too, by the same callback say, waits for this row.
            transaction.on_commit(self._note_over, using=self._state.db)
        if duration is not None and self.duration is None:
            self.duration = duration
        return [name for name, value in before.items() if getattr(self, name) != value]

    def _note_over(self) -> None:
        """Counts it, and tells the log and the traces."""
        metrics.count_call(self.direction, self.status)
        if self.sid is None or self.ended_at is None:
            # Twilio has never heard of it, or it has turned out to go on.
            return
        seconds = (self.ended_at - self.created_at).total_seconds()
        name = ascii(self.handler)[1:-1]
        logger.info("call_over call=%s status=%s seconds=%.1f handler=%s", self.sid, self.status, seconds, name)
        tracing.note_call(self.sid, self.created_at, self.ended_at, handler=self.handler, outcome=self.status)
