"""What a reviewer has written: kept as a draft while they write, and counted once they submit it."""

from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.utils import timezone

from calls.models import Answer, Call, Question, Review


class Taken(Exception):
    """The call went back to its queue, and another reviewer has it now. `reviewer` is who; None if they are gone."""

    def __init__(self, other: Review | None) -> None:
        super().__init__("another reviewer has this call")
        self.reviewer = other.reviewer if other else None
        self.is_done = bool(other and other.submitted_at)


class Missing(Exception):
    """A question that must be answered was not."""


def keep(review: Review, given: Mapping[Question, int | bool | str | None]) -> bool:
    """Stores answers as a draft in place of those that are there; whether it is one still, and not submitted.

    Whoever writes keeps the call: it goes back to its queue that much later.
    """
    with transaction.atomic():
        drafts = Review.objects.filter(pk=review.pk, submitted_at=None)
        if drafts.select_for_update().first() is None:
            return False
        if review.queue:
            drafts.out().update(expires_at=review.queue.deadline(timezone.now()))
        review.answers.all().delete()
        Answer.objects.bulk_create(
            _answer(review, question, value) for question, value in given.items() if value is not None and value != ""
        )
    return True


def submit(review: Review, *, apart: bool = False) -> bool:
    """Counts what is stored as its answers; whether it has done so, and not somebody else or an earlier click.

    Raises Missing; and Taken if it had gone back to its queue and another reviewer has it now. With `apart` it is
    then submitted as a review of no queue.
    """
    try:
        with transaction.atomic():
            return _submit(review, apart=apart)
    except IntegrityError:
        others = Review.objects.holding().filter(queue=review.queue_id, call=review.call_id)
        raise Taken(others.exclude(pk=review.pk).select_related("reviewer").first()) from None


def _submit(review: Review, *, apart: bool) -> bool:
    # Its call first: whoever erases that begins with it too.
    Call.objects.select_for_update(no_key=True).only("pk").filter(pk=review.call_id).first()
    draft = Review.objects.select_for_update().filter(pk=review.pk, submitted_at=None).first()
    if draft is None:
        return False
    answers = list(draft.answers.select_related("question"))
    if set(draft.version.questions.filter(required=True)) - {answer.question for answer in answers}:
        raise Missing
    draft.submitted_at, draft.returned_at, draft.score = timezone.now(), None, draft.score_of(answers)
    if apart:
        draft.queue = None
    draft.save(update_fields=["submitted_at", "returned_at", "score", "queue"])
    # As the tick box does; who was first stays.
    Call.objects.filter(pk=draft.call_id, reviewed=False).update(
        reviewed=True, reviewed_at=draft.submitted_at, reviewed_by=draft.reviewer_id
    )
    review.submitted_at, review.score = draft.submitted_at, draft.score
    return True


def _answer(review: Review, question: Question, value: int | bool | str) -> Answer:
    names = {Question.Kind.SCALE: "number", Question.Kind.YES_NO: "yes", Question.Kind.TEXT: "text"}
    return Answer(review=review, question=question, **{names[Question.Kind(question.kind)]: value})
