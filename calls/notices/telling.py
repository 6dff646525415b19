"""Finds what is new, and puts down notices of it: the end of each call, what became of its recording, each review.

Nothing is told where it happens: the path of audio and the recorder know nothing of this. What was told is noted on the
call in the transaction in which its notices are stored, so that nothing is told twice or forgotten when a process dies.
No moment is remembered up to which everything is told: a callback that comes late ends its call in the past.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from calls.media.storable import storable_json
from calls.models import Call, Notice, Receiver, Stream
from calls.notices import facts, reviews
from calls.notices.outbox import put, wanting


# Calls that one transaction tells of.
BATCH = 100
# What a handler has set is written behind, and closed with its stream: a call's end is told once all of its streams are
# over, but no later than this after it.
CLOSING = dt.timedelta(seconds=30)
# A recording is told of once it is measured, so that the figures come with it; but no later than this after the call.
MEASURING = dt.timedelta(minutes=1)

News = tuple[Notice, list[Receiver]]


def tell() -> bool:
    """One round; whether there may be more to tell at once. With nobody to tell it is one query."""
    receivers = list(Receiver.objects.active())
    if not receivers:
        return False
    since = min(receiver.since for receiver in receivers)
    rounds = (_tell_ends(receivers, since), _tell_recordings(receivers, since), _tell_reviews(receivers))
    return any(rounds)


def _tell_ends(receivers: list[Receiver], since: dt.datetime) -> bool:
    closed = Q(ended_at__lt=timezone.now() - CLOSING) | ~Exists(_running())
    calls = list(Call.objects.untold(Call.Told.NOTHING, since).filter(closed).prefetch_related("tags")[:BATCH])
    told = wanting(Notice.Kind.CALL_ENDED, receivers)
    guessed = facts.guessed(calls) if told else set()
    news = [(_of_end(call, guessed=call.pk in guessed), _then(told, call)) for call in calls if told]
    _put_and_note(news, calls, Call.Told.END)
    return len(calls) == BATCH


def _of_end(call: Call, *, guessed: bool) -> Notice:
    # A call whose end was guessed too early ends once more: that is another notice.
    key = f"{call.pk}:{_end(call).timestamp():.6f}"
    return _notice(Notice.Kind.CALL_ENDED, key, call, {"call": facts.of_call(call, guessed=guessed)}, _end(call))


def _tell_recordings(receivers: list[Receiver], since: dt.datetime) -> bool:
    calls = list(_settled(since).prefetch_related("tags")[:BATCH])
    told = {kind: wanting(kind, receivers) for kind in (Notice.Kind.RECORDING_READY, Notice.Kind.RECORDING_INCOMPLETE)}
    found = facts.of_recordings(calls) if any(told.values()) else {}
    guessed = facts.guessed(calls) if found else set()
    news = [
        (notice, _then(told[Notice.Kind(notice.kind)], call))
        for call in calls
        if call.pk in found
        for notice in [_of_recording(call, found[call.pk], guessed=call.pk in guessed)]
    ]
    _put_and_note(news, calls, Call.Told.ALL)
    return len(calls) == BATCH


def _settled(since: dt.datetime) -> QuerySet[Call]:
    """Calls whose end was told and whose recording changes no more, as far as anybody can know.

    If more of it comes all the same, out of a spool, say, `summarise` has it told again.
    """
    measured = Q(measured_at__isnull=False) | Q(audio_samples=0) | Q(ended_at__lt=timezone.now() - MEASURING)
    return Call.objects.untold(Call.Told.END, since).filter(~Exists(_running()), measured)


def _of_recording(call: Call, recording: dict[str, Any], *, guessed: bool) -> Notice:
    kind = Notice.Kind.RECORDING_INCOMPLETE if recording["missing"] else Notice.Kind.RECORDING_READY
    data = {"call": facts.of_call(call, guessed=guessed), "recording": recording}
    # One that has grown is another one.
    return _notice(kind, f"{call.pk}:{call.audio_samples}", call, data, timezone.now())


def _tell_reviews(receivers: list[Receiver]) -> bool:
    told = wanting(Notice.Kind.REVIEW_DONE, receivers)
    # What is for none of them leaves no notice, and would be found again and again.
    found = reviews.untold(min(receiver.since for receiver in told), BATCH) if told else []
    put(
        (_notice(Notice.Kind.REVIEW_DONE, review.key, review.call, review.data, review.at), _since(told, review.at))
        for review in found
    )
    return len(found) == BATCH


def _notice(kind: Notice.Kind, key: str, call: Call, data: dict[str, Any], at: dt.datetime) -> Notice:
    return Notice(kind=kind, key=key, call=call, data=storable_json(data, 6), at=at)


def _put_and_note(news: Iterable[News], calls: Sequence[Call], told: Call.Told) -> None:
    """A call that has changed since it was read is not noted: it comes again, and what was put is not put twice."""
    with transaction.atomic():
        put(news)
        for call in calls:
            same = Call.objects.filter(pk=call.pk, told=call.told, ended_at=call.ended_at)
            same.filter(audio_samples=call.audio_samples).update(told=told)


def _then(receivers: list[Receiver], call: Call) -> list[Receiver]:
    return _since(receivers, _end(call))


def _since(receivers: list[Receiver], at: dt.datetime) -> list[Receiver]:
    """Those that were there by then."""
    return [receiver for receiver in receivers if receiver.since <= at]


def _end(call: Call) -> dt.datetime:
    assert call.ended_at, "nothing is told of a call before it is over"
    return call.ended_at


def _running() -> QuerySet[Stream]:
    return Stream.objects.live().filter(call=OuterRef("pk"))
