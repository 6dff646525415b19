"""What reviewers are asked about a call: scorecards, and each wording of their questions that was ever used."""

from collections.abc import Iterable

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


# Of a scale, from its lowest to its highest number: more radio buttons than these nobody tells apart.
MOST_STEPS = 10


class ScorecardQuerySet(models.QuerySet["Scorecard"]):
    def usable(self) -> "ScorecardQuerySet":
        """Those that a new review may be begun with."""
        return self.filter(is_active=True, versions__isnull=False).distinct()


class Scorecard(models.Model):
    """Questions about a call. They belong to a version: the one in use is the latest."""

    name = models.CharField(max_length=100, unique=True)
    description = models.CharField(
        max_length=300, blank=True, help_text="What it is for; reviewers read it above the questions."
    )
    is_active = models.BooleanField(
        "in use",
        default=True,
        help_text="Without this, no new review is begun with it, and its queues deal out nothing.",
    )

    objects = ScorecardQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def current(self) -> "ScorecardVersion | None":
        """The latest version; None while it has no questions."""
        return self.versions.order_by("-number").first()

    def ask(self, questions: Iterable["Question"], user_id: int | None) -> "ScorecardVersion":
        """Takes these questions, unsaved and in their order, for all reviews to come.

        A version that reviews were begun with stays as it is, and a new one is made; one that nobody has seen is
        changed. To be called in a transaction: no review is begun with the latest version until it ends.
        """
        latest = self.versions.select_for_update().order_by("-number").first()
        if latest is None or latest.reviews.exists():
            number = latest.number + 1 if latest else 1
            latest = self.versions.create(number=number, made_by_id=user_id)
        else:
            latest.questions.all().delete()
            latest.made_at, latest.made_by_id = timezone.now(), user_id
            latest.save(update_fields=["made_at", "made_by"])
        for position, question in enumerate(questions, start=1):
            question.pk, question.version, question.position = None, latest, position
            question.save(force_insert=True)
        return latest


class ScorecardVersion(models.Model):
    """A scorecard's questions as they were from then on. Once a review was begun with it, nothing of it changes."""

    scorecard = models.ForeignKey(Scorecard, models.CASCADE, related_name="versions", db_index=False)
    number = models.PositiveIntegerField()
    made_at = models.DateTimeField(default=timezone.now)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ["scorecard", "number"]
        constraints = [models.UniqueConstraint(name="version_once", fields=["scorecard", "number"])]

    def __str__(self) -> str:
        return f"{self.scorecard}, version {self.number}"


class Question(models.Model):
    """One question of a version."""

    class Kind(models.TextChoices):
        SCALE = "scale", "A scale"
        YES_NO = "yes_no", "Yes or no"
        TEXT = "text", "Text"

    class Counts(models.TextChoices):
        MORE = "more", "More, or yes, is better"
        LESS = "less", "Less, or no, is better"
        NOT = "not", "Not at all"

    version = models.ForeignKey(ScorecardVersion, models.CASCADE, related_name="questions", db_index=False)
    position = models.PositiveSmallIntegerField(
        default=0, help_text="The place among the others: small numbers come first."
    )
    text = models.CharField("question", max_length=300)
    help_text = models.CharField(max_length=300, blank=True, help_text="What an answer means, or when to give which.")
    kind = models.CharField(max_length=6, choices=Kind, default=Kind.SCALE)
    lowest = models.SmallIntegerField("from", default=1)
    highest = models.SmallIntegerField("to", default=5)
    counts = models.CharField("for the score", max_length=4, choices=Counts, default=Counts.MORE)
    required = models.BooleanField(default=True)

    class Meta:
        ordering = ["version", "position"]
        constraints = [
            # A version's questions, in their order.
            models.UniqueConstraint(name="question_place", fields=["version", "position"]),
            models.CheckConstraint(name="question_kind", condition=Q(kind__in=["scale", "yes_no", "text"])),
            models.CheckConstraint(name="question_counts", condition=Q(counts__in=["more", "less", "not"])),
            models.CheckConstraint(
                name="question_scale",
                condition=Q(highest__gt=F("lowest"), highest__lte=F("lowest") + MOST_STEPS),
                violation_error_message=f"A scale goes up, in {MOST_STEPS} steps at most: from 1 to 5, from 0 to 10.",
            ),
        ]

    def __str__(self) -> str:
        return self.text

    def share(self, answer: int | bool | str) -> float | None:
        """How good an answer is, from 0 to 1; None if it does not count."""
        if self.kind == self.Kind.TEXT or self.counts == self.Counts.NOT or isinstance(answer, str):
            return None
        share = float(answer)
        if self.kind == self.Kind.SCALE:
            share = (answer - self.lowest) / (self.highest - self.lowest)
        return 1 - share if self.counts == self.Counts.LESS else share
