"""One call to one reviewer: whoever inserts the row of it first has it, and the others try the next one.

A unique constraint decides and not a lock, so it is the same on both databases, and nobody waits while somebody looks
for a call.
"""

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from calls.models import Call, Review, ReviewQueue, Scorecard
from calls.reviews.rules import settle, waiting


# How often another reviewer may be faster; each time one of them has got a call.
TRIES = 50


def deal(queue: ReviewQueue, user: User) -> Review | None:
    """The call that this reviewer has out, or else the oldest that waits; None if none does or nothing is dealt.

    Calls that they have given back come last.
    """
    now = timezone.now()
    Review.objects.overdue(now).filter(queue=queue).exclude(reviewer=user).update(returned_at=now)
    for _ in range(TRIES):
        if review := Review.objects.out().filter(queue=queue, reviewer=user).first():
            review.expires_at = queue.deadline(now)
            Review.objects.out().filter(pk=review.pk).update(expires_at=review.expires_at)
            return review
        call = next_call(queue, user) if queue.deals else None
        if call is None:
            settle(queue)
            return None
        if review := _claim(queue, call, user):
            settle(queue)
            return review
    return None


def next_call(queue: ReviewQueue, user: User) -> int | None:
    """The key of the call that would be dealt to them now."""
    returned = Review.objects.filter(queue=queue, reviewer=user, returned_at__isnull=False)
    passed, last = set(returned.values_list("call", flat=True)), None
    for key in waiting(queue):
        if key not in passed:
            return key
        last = last or key
    return last


def give_back(review: Review) -> bool:
    """Lets others have the call; whether it was still out. One of no queue was nobody else's: it is dropped."""
    if review.queue_id is None:
        return bool(Review.objects.out().filter(pk=review.pk).delete()[0])
    return bool(Review.objects.out().filter(pk=review.pk).update(returned_at=timezone.now()))


def begin(call: Call, scorecard: Scorecard, user: User) -> Review:
    """A review without a queue, or the one that they have begun."""
    version = scorecard.current()
    assert version is not None, "only usable scorecards are offered"
    review, _ = Review.objects.get_or_create(
        call=call, reviewer=user, queue=None, submitted_at=None, defaults={"version": version}
    )
    return review


def _claim(queue: ReviewQueue, call: int, user: User) -> Review | None:
    """None if another one was faster, if the same one was in another window, or if the call was erased just now."""
    version = queue.scorecard.current()
    if version is None:
        return None
    now = timezone.now()
    facts = {"returned_at": None, "dealt_at": now, "expires_at": queue.deadline(now)}
    try:
        with transaction.atomic():
            own = Review.objects.filter(queue=queue, call=call, reviewer=user)
            if own.filter(returned_at__isnull=False).update(**facts):
                own.filter(answers=None).update(version=version)
                return own.get()
            return Review.objects.create(queue=queue, call_id=call, reviewer=user, version=version, **facts)
    except IntegrityError:
        return None
