"""What is told of reviews: that one was handed in, its score and its queue; not what was answered, which may quote."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db.models import CharField, Exists, OuterRef
from django.db.models.functions import Cast
from django.utils import timezone

from calls.models import Call, Notice, Review
from calls.notices import facts


# A review that was handed in earlier was told of, or nobody will be: half of what notices are kept for (KEPT).
WINDOW = dt.timedelta(days=15)


@dataclass(frozen=True)
class Reviewed:
    key: str
    call: Call
    at: dt.datetime
    data: dict[str, Any]


def untold(since: dt.datetime, most: int) -> list[Reviewed]:
    """Those handed in since then of which there is no notice yet, the oldest first."""
    told = Notice.objects.filter(kind=Notice.Kind.REVIEW_DONE, key=OuterRef("told_as"))
    reviews = Review.objects.filter(submitted_at__gte=max(since, timezone.now() - WINDOW))
    found: Any = reviews.annotate(told_as=Cast("pk", CharField())).filter(~Exists(told)).order_by("submitted_at", "pk")
    related = found.select_related("call", "reviewer", "queue", "version__scorecard").prefetch_related("call__tags")
    return [Reviewed(review.told_as, review.call, review.submitted_at, _data(review)) for review in related[:most]]


def _data(review: Review) -> dict[str, Any]:
    return {
        "call": facts.of_call(review.call),
        "review": {
            "submitted_at": facts.moment(review.submitted_at),
            "reviewer": review.reviewer.get_username() if review.reviewer else None,
            "score": review.score,
            "scorecard": review.version.scorecard.name,
            "version": review.version.number,
            "queue": review.queue.name if review.queue else None,
        },
    }
