"""How reviews went, by reviewer and by question."""

import datetime as dt
from dataclasses import dataclass

from django.db.models import Avg, Case, Count, FloatField, Max, QuerySet, Value, When

from calls.models import Answer, Question, Review


@dataclass(frozen=True)
class OfReviewer:
    """`average` is in percent, of those that have a score."""

    reviewer: str
    reviews: int
    average: float | None
    latest: dt.datetime | None


@dataclass(frozen=True)
class Asked:
    """A question as long as neither its words nor its scale changed, through however many versions."""

    scorecard: str
    text: str
    kind: str
    lowest: int
    highest: int

    @classmethod
    def of(cls, question: Question, scorecard: str) -> "Asked":
        return cls(scorecard, question.text, question.kind, question.lowest, question.highest)

    @property
    def kind_in_words(self) -> str:
        """What the answers mean."""
        if self.kind == Question.Kind.SCALE:
            return f"{self.lowest} to {self.highest}"
        return str(Question.Kind(self.kind).label).lower()


@dataclass(frozen=True)
class OfQuestion:
    asked: Asked
    answers: int
    #: Of a scale in its own numbers, of yes or no the share of yes; None of text.
    average: float | None

    @property
    def in_words(self) -> str:
        if self.average is None:
            return "–"
        return f"{self.average:.1f}" if self.asked.kind == Question.Kind.SCALE else f"{100 * self.average:.0f} % yes"


# What makes two questions the same, whatever version they are of.
SAME = ("version__scorecard__name", "text", "kind", "lowest", "highest")


def by_reviewer(reviews: QuerySet[Review]) -> list[OfReviewer]:
    """Whoever has reviewed most comes first. People who are gone are one line together."""
    found = reviews.order_by().values("reviewer__username")
    rows = found.annotate(n=Count("pk"), average=Avg("score"), latest=Max("submitted_at")).order_by("-n")
    return [
        OfReviewer(row["reviewer__username"] or "deleted users", row["n"], row["average"], row["latest"])
        for row in rows
    ]


def by_question(reviews: QuerySet[Review]) -> list[OfQuestion]:
    """By scorecard, and in the order in which they are asked."""
    names = [f"question__{name}" for name in SAME]
    answers = Answer.objects.filter(review__in=reviews.order_by().values("pk")).order_by().values(*names)
    yes = Case(When(yes=True, then=Value(1.0)), When(yes=False, then=Value(0.0)), output_field=FloatField())
    rows = answers.annotate(
        n=Count("pk"), number_mean=Avg("number"), yes_mean=Avg(yes), place=Max("question__position")
    )
    return [
        OfQuestion(Asked(*(row[name] for name in names)), row["n"], _first(row["number_mean"], row["yes_mean"]))
        for row in rows.order_by("question__version__scorecard__name", "place", "question__text")
    ]


def columns(reviews: QuerySet[Review]) -> list[Asked]:
    """The questions that these reviews were asked, each once, in the order in which they are asked."""
    versions = reviews.order_by().values("version")
    found = Question.objects.filter(version__in=versions).order_by().values_list(*SAME)
    ordered = found.annotate(place=Max("position")).order_by("version__scorecard__name", "place", "text")
    return [Asked(*row[:-1]) for row in ordered]


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
