"""Which calls a queue deals out, and which of them still wait.

Nothing is written down when a call comes to match. Calls are looked at in their order, a page at a time, and each page
by queries that can only go one way: asked for everything in one, PostgreSQL has read the whole table of audio. What was
reviewed is passed over for good, or else each look would go over all of it again.
"""

import datetime as dt
from collections.abc import Iterator

from django.db.models import Exists, F, Min, OuterRef, Q, QuerySet, Value
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


# Calls that are looked at together.
PAGE = 1000


def matching(queue: ReviewQueue) -> QuerySet[Call]:
    """Calls since then that are over, have a recording, and are what the rule says; those that come first, first."""
    calls = Call.objects.ended().filter(audio_samples__gt=0, created_at__gte=queue.since)
    if queue.handler:
        calls = calls.filter(handler=queue.handler)
    return _by_rule(calls, queue).order_by(_order(queue), "pk")


def waiting(queue: ReviewQueue) -> Iterator[int]:
    """The keys of those that nobody reviews or has reviewed for this queue, in the order in which they are dealt."""
    return (key for _, key in _waiting(queue))


def settle(queue: ReviewQueue) -> None:
    """Moves the queue's beginning up to the first call that may still be dealt out."""
    first, _ = next(_waiting(queue), (None, 0))
    out = Review.objects.out().filter(queue=queue).aggregate(first=Min(f"call__{_order(queue)}"))["first"]
    until = min(filter(None, [first, out, timezone.now() - UNSETTLED]))
    if until > (queue.settled_until or queue.since):
        # Whoever has changed the rule meanwhile has begun anew.
        same = {name: getattr(queue, name) for name in ("rule", "nth", "threshold_ms", "handler", "since")}
        same["settled_until"] = queue.settled_until
        ReviewQueue.objects.filter(pk=queue.pk, **same).update(settled_until=until)


def _order(queue: ReviewQueue) -> str:
    """What calls are dealt by, and what no call comes to match long after: an old one may be measured today."""
    return "measured_at" if queue.rule == queue.Rule.SLOW else "created_at"


def _by_rule(calls: QuerySet[Call], queue: ReviewQueue) -> QuerySet[Call]:
    since = queue.settled_until or queue.since
    if queue.rule == queue.Rule.SLOW:
        # A call is measured after it has begun.
        return calls.filter(response_ms_max__gt=queue.threshold_ms, measured_at__gte=since)
    calls = calls.filter(created_at__gte=since)
    if queue.rule == queue.Rule.FAILED:
        failed = Stream.objects.filter(handler_failed=True, started_at__gte=since - UNSETTLED)
        return calls.filter(pk__in=failed.values("call"))
    if queue.nth == 1:
        return calls
    # Each queue draws its own lots: two of them do not give the same calls to two reviewers.
    lot = ((F("pk") + Value(queue.pk)) % Value(_KEYS)) * Value(_GOLDEN) % Value(_LOTS)
    return calls.alias(lot=lot).filter(lot__lt=_LOTS // queue.nth)


def _waiting(queue: ReviewQueue) -> Iterator[tuple[dt.datetime, int]]:
    """When each began, or was measured, and its key."""
    name = _order(queue)
    calls = matching(queue).values_list(name, "pk")
    rows = list(calls[:PAGE])
    while rows:
        open_ = _open(queue, [key for _, key in rows])
        yield from (row for row in rows if row[1] in open_)
        at, key = rows[-1]
        later = Q(**{f"{name}__gt": at}) | Q(pk__gt=key)
        rows = list(calls.filter(later, **{f"{name}__gte": at})[:PAGE]) if len(rows) == PAGE else []


def _open(queue: ReviewQueue, keys: list[int]) -> set[int]:
    """Those that nobody has, and of which there is audio: a call whose recording was paused has a length as well."""
    taken = Review.objects.holding().filter(queue=queue, call__in=keys)
    free = set(keys) - set(taken.values_list("call", flat=True))
    audio = AudioChunk.objects.filter(stream=OuterRef("pk"))
    heard = Stream.objects.filter(Exists(audio), call__in=free) if free else Stream.objects.none()
    return set(heard.order_by().values_list("call", flat=True))
