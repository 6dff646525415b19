"""Which calls a queue deals out, and which of them still wait.

Nothing is written down when a call comes to match: a call that is measured, or whose audio arrives, days later is found
like any other. Only what has been reviewed is passed over for good, or else each look would walk over all of it again.
"""

import datetime as dt

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Value
from django.utils import timezone

from calls.models import AudioChunk, Call, Review, ReviewQueue, Stream


# 2**32 times the golden ratio. Multiples of it, cut to 32 bits, lie as evenly as any numbers can, as do those of every
# second or seventh key: one call in ten is one in ten of each handler too, and of calls that come by turns.
_GOLDEN = 2_654_435_769
_LOTS = 2**32
# Keys up to this stay in 64 bits when they are multiplied; larger ones begin anew.
_KEYS = 2**31
# Below this age a call may still come to match: it goes on, its audio waits in a spool, its request is written late.
UNSETTLED = dt.timedelta(days=7)


def matching(queue: ReviewQueue) -> QuerySet[Call]:
    """Calls since then that are over, have a recording, and are what the rule says."""
    calls = Call.objects.ended().filter(audio_samples__gt=0, created_at__gte=queue.settled_until or queue.since)
    if queue.handler:
        calls = calls.filter(handler=queue.handler)
    # A call whose recording was paused throughout has a length all the same.
    audio = AudioChunk.objects.filter(stream__call=OuterRef("pk"))
    return _by_rule(calls, queue).filter(Exists(audio))


def waiting(queue: ReviewQueue) -> QuerySet[Call]:
    """Those that nobody reviews or has reviewed for this queue."""
    taken = Review.objects.holding().filter(queue=queue, call=OuterRef("pk"))
    return matching(queue).filter(~Exists(taken))


def settle(queue: ReviewQueue) -> None:
    """Moves the queue's beginning up to the first call that may still be dealt out.

    Failed handlers are few, and have an index of their own.
    """
    if queue.rule == queue.Rule.FAILED:
        return
    horizon = timezone.now() - UNSETTLED
    done = Review.objects.done().filter(queue=queue, call=OuterRef("pk"))
    open_ = matching(queue).filter(~Exists(done), created_at__lt=horizon).order_by("created_at", "pk")
    first = [open_.values_list("created_at", flat=True).first()]
    if queue.rule == queue.Rule.SLOW:
        first.append(_unmeasured(queue).filter(created_at__lt=horizon).values_list("created_at", flat=True).first())
    until = min([moment for moment in first if moment] or [horizon])
    if until > (queue.settled_until or queue.since):
        # Whoever has changed the rule meanwhile has begun anew.
        same = {name: getattr(queue, name) for name in ("rule", "nth", "threshold_ms", "handler", "since")}
        same["settled_until"] = queue.settled_until
        ReviewQueue.objects.filter(pk=queue.pk, **same).update(settled_until=until)


def _by_rule(calls: QuerySet[Call], queue: ReviewQueue) -> QuerySet[Call]:
    if queue.rule == queue.Rule.FAILED:
        return calls.filter(pk__in=Stream.objects.filter(handler_failed=True).values("call"))
    if queue.rule == queue.Rule.SLOW:
        return calls.filter(response_ms_max__gt=queue.threshold_ms)
    if queue.nth == 1:
        return calls
    # Each queue draws its own lots: two of them do not give the same calls to two reviewers.
    lot = ((F("pk") + Value(queue.pk)) % Value(_KEYS)) * Value(_GOLDEN) % Value(_LOTS)
    return calls.alias(lot=lot).filter(lot__lt=_LOTS // queue.nth)


def _unmeasured(queue: ReviewQueue) -> QuerySet[Call]:
    """Calls that may turn out to be slow."""
    since = Q(created_at__gte=queue.settled_until or queue.since)
    calls = Call.objects.unmeasured().filter(since, *([Q(handler=queue.handler)] if queue.handler else []))
    return calls.order_by("created_at", "pk")
