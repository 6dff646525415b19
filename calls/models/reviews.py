"""Queues that deal out calls to be reviewed, and what reviewers found."""

import datetime as dt
from collections.abc import Iterable
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from calls.models.scorecards import Question, Scorecard, ScorecardVersion


class ReviewQueue(models.Model):
    """A rule which calls are to be reviewed, with what and by whom. `calls.reviews` finds them and deals them out."""

    class Rule(models.TextChoices):
        NTH = "nth", "One call in every so many"
        FAILED = "failed", "Calls whose handler failed"
        SLOW = "slow", "Calls in which an answer took long"

    name = models.CharField(max_length=100, unique=True)
    scorecard = models.ForeignKey(Scorecard, models.PROTECT, related_name="queues")
    rule = models.CharField("which calls", max_length=6, choices=Rule, default=Rule.NTH)
    nth = models.PositiveIntegerField(
        "one in",
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(1_000_000)],
        help_text="For “one call in every so many”: 10 takes every tenth, spread evenly; 1 takes every call.",
    )
    threshold_ms = models.PositiveIntegerField(
        "longer than (ms)",
        default=3000,
        validators=[MinValueValidator(1), MaxValueValidator(3_600_000)],
        help_text="For “an answer took long”: milliseconds that the caller waited for the slowest answer.",
    )
    handler = models.CharField(max_length=100, blank=True, help_text="Only calls of this handler.")
    reviewers = models.ForeignKey(
        Group,
        models.PROTECT,
        null=True,
        blank=True,
        help_text="Only people of this group are dealt calls. They also need the permissions to review and to listen.",
    )
    hours = models.PositiveSmallIntegerField(
        "hours to review",
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(168)],
        help_text="A call that was dealt goes back to the queue after so many hours in which nothing was written.",
    )
    since = models.DateTimeField(
        "calls since", default=timezone.now, help_text="Calls that began earlier are not dealt out."
    )
    is_active = models.BooleanField("deals out calls", default=True)
    settled_until = models.DateTimeField(
        null=True,
        editable=False,
        help_text="No call that began, or was measured, before this is still to be dealt.",
    )

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(name="queue_rule", condition=Q(rule__in=["nth", "failed", "slow"])),
            models.CheckConstraint(name="queue_nth", condition=Q(nth__gte=1, nth__lte=1_000_000)),
            models.CheckConstraint(name="queue_threshold", condition=Q(threshold_ms__gte=1)),
            models.CheckConstraint(name="queue_hours", condition=Q(hours__gte=1, hours__lte=168)),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def rule_in_words(self) -> str:
        words = {
            "nth": "Every call" if self.nth == 1 else f"One call in {self.nth}",
            "failed": "Handler failed",
            "slow": f"An answer after more than {self.threshold_ms / 1000:g} s",
        }
        return f"{words[self.rule]}, of {self.handler}" if self.handler else words[self.rule]

    @property
    def deals(self) -> bool:
        return self.is_active and self.scorecard.is_active

    def is_for(self, user: User) -> bool:
        """Whether calls are dealt to them, as far as the queue is concerned; superusers are in every group."""
        return user.is_superuser or self.reviewers_id is None or user.groups.filter(pk=self.reviewers_id).exists()

    def deadline(self, now: dt.datetime) -> dt.datetime:
        return now + dt.timedelta(hours=self.hours)


class ReviewQuerySet(models.QuerySet["Review"]):
    def done(self) -> "ReviewQuerySet":
        return self.filter(submitted_at__isnull=False)

    def out(self) -> "ReviewQuerySet":
        """Begun, neither submitted nor given back."""
        return self.filter(submitted_at=None, returned_at=None)

    def holding(self) -> "ReviewQuerySet":
        """Those because of which a queue deals their call to nobody else."""
        return self.filter(returned_at=None)

    def overdue(self, now: dt.datetime) -> "ReviewQuerySet":
        return self.out().filter(expires_at__lt=now)


class Review(models.Model):
    """What somebody found about a call; a draft until it is submitted. Of an erased call nothing of it stays."""

    call = models.ForeignKey("Call", models.CASCADE, related_name="reviews")
    queue = models.ForeignKey(
        ReviewQueue, models.PROTECT, null=True, blank=True, related_name="reviews", db_index=False
    )
    version = models.ForeignKey(ScorecardVersion, models.PROTECT, related_name="reviews")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_index=False)
    dealt_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="When the call goes back to its queue.")
    returned_at = models.DateTimeField(
        null=True, blank=True, help_text="When the call went back to its queue: given back, or not reviewed in time."
    )
    submitted_at = models.DateTimeField(null=True, blank=True)
    score = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Percent; none if no answer counts for the score."
    )

    objects = ReviewQuerySet.as_manager()

    class Meta:
        ordering = ["-submitted_at", "-id"]
        constraints = [
            # A call is dealt to one reviewer: whoever inserts first has it. Also finds a queue's rows of a call.
            models.UniqueConstraint(name="review_dealt_once", fields=["queue", "call"], condition=Q(returned_at=None)),
            # Two clicks on "Review next call" deal one call.
            models.UniqueConstraint(
                name="review_one_out",
                fields=["queue", "reviewer"],
                condition=Q(returned_at=None, submitted_at=None),
            ),
            # Whoever gets a call for the second time goes on with what they had written.
            models.UniqueConstraint(name="review_own_once", fields=["queue", "reviewer", "call"]),
            models.UniqueConstraint(
                name="review_own_open",
                fields=["call", "reviewer"],
                condition=Q(queue=None, submitted_at=None),
            ),
            models.CheckConstraint(name="review_state", condition=Q(submitted_at=None) | Q(returned_at=None)),
            models.CheckConstraint(
                name="review_score",
                condition=Q(score=None) | Q(score__lte=100, submitted_at__isnull=False),
            ),
        ]
        indexes = [
            # The list, newest first, and whoever tells others of new ones.
            models.Index(
                name="review_newest", fields=["-submitted_at", "-id"], condition=Q(submitted_at__isnull=False)
            ),
            # The list's filters, each with its newest first.
            models.Index(
                name="review_by_reviewer",
                fields=["reviewer", "-submitted_at", "-id"],
                condition=Q(submitted_at__isnull=False),
            ),
            models.Index(
                name="review_by_queue",
                fields=["queue", "-submitted_at", "-id"],
                condition=Q(submitted_at__isnull=False),
            ),
            # What is out: how many, whose, and which of them go back.
            models.Index(
                name="review_out", fields=["queue", "expires_at"], condition=Q(submitted_at=None, returned_at=None)
            ),
        ]
        permissions: ClassVar = [("review_call", "Can review calls")]

    def __str__(self) -> str:
        return f"Review {self.pk}"

    @property
    def is_draft(self) -> bool:
        return self.submitted_at is None

    def score_of(self, answers: Iterable["Answer"]) -> int | None:
        """The mean of all answers that count, each from its worst 0 to its best 100; None if none does."""
        shares = [share for answer in answers if (share := answer.question.share(answer.value)) is not None]
        return int(100 * sum(shares) / len(shares) + 0.5) if shares else None


class Answer(models.Model):
    """What a reviewer answers to a question: a number, yes or no, or text."""

    review = models.ForeignKey(Review, models.CASCADE, related_name="answers", db_index=False)
    # Questions of a version that was used are never deleted, and the database sees to it: Django need not look.
    question = models.ForeignKey(Question, models.DO_NOTHING, related_name="answers")
    number = models.SmallIntegerField(null=True, blank=True)
    yes = models.BooleanField(null=True, blank=True)
    text = models.TextField(blank=True)

    class Meta:
        ordering = ["review", "question__position"]
        constraints = [
            models.UniqueConstraint(name="answer_once", fields=["review", "question"]),
            models.CheckConstraint(
                name="answer_one",
                condition=Q(number__isnull=False, yes=None, text="")
                | Q(number=None, yes__isnull=False, text="")
                | (Q(number=None, yes=None) & ~Q(text="")),
            ),
        ]

    def __str__(self) -> str:
        # Not what was answered: it may quote the call.
        return f"answer {self.pk}"

    @property
    def value(self) -> int | bool | str:
        if self.number is not None:
            return self.number
        return self.text if self.yes is None else self.yes
