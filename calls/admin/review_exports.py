"""Reviews as a table to take away: a row each, and a column for each question that was asked."""

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone

from calls.access.numbers import mask_all, may_see
from calls.admin.exports import attachment, batches
from calls.models import Answer, Review
from calls.reviews.results import Asked, columns
from calls.tables import harmless, table, utc


COLUMNS = [
    "submitted (UTC)", "reviewer", "queue", "scorecard", "version", "score (%)",
    "CallSid", "call began (UTC)", "handler", "dealt (UTC)",
]  # fmt: skip


def csv_response(request: HttpRequest, reviews: QuerySet[Review]) -> StreamingHttpResponse:
    name = f"reviews-{timezone.localtime():%Y%m%d-%H%M}.csv"
    return attachment(request, csv_lines(reviews, whole=may_see(request)), name, "text/csv; charset=utf-8")


def csv_lines(reviews: QuerySet[Review], *, whole: bool) -> Iterator[bytes]:
    """A question that is the same through several versions has one column."""
    questions = columns(reviews)
    heads = [f"{asked.scorecard}: {asked.text} ({asked.kind_in_words})" for asked in questions]
    # The mark at the beginning tells Excel that this is UTF-8.
    yield ("\ufeff" + table([[harmless(cell) for cell in [*COLUMNS, *heads]]])).encode()
    reviews = reviews.select_related("reviewer", "queue", "version__scorecard", "call")
    for some in batches(reviews.prefetch_related("answers__question"), "submitted_at"):
        yield table([_row(review, questions, whole) for review in some]).encode()


def _row(review: Review, questions: list[Asked], whole: bool) -> list[str]:
    call, version = review.call, review.version
    given = {Asked.of(answer.question, str(version.scorecard)): answer for answer in review.answers.all()}
    facts = [utc(review.submitted_at), review.reviewer or "", review.queue or "", version.scorecard, version.number]
    score = "" if review.score is None else review.score
    about = [score, call.sid or "", utc(call.created_at), call.handler, utc(review.dealt_at)]
    cells = [*facts, *about, *(_cell(review, given.get(asked), whole) for asked in questions)]
    # A number below 0 is no formula.
    return [str(cell) if isinstance(cell, int) else harmless(cell) for cell in cells]


def _cell(review: Review, answer: Answer | None, whole: bool) -> Any:
    if answer is None:
        return ""
    if answer.yes is not None:
        return "yes" if answer.yes else "no"
    if answer.number is not None:
        return answer.number
    return answer.text if whole else mask_all(answer.text, review.call)
