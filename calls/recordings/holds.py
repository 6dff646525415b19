"""Placing and lifting legal holds. A call under one is neither erased nor pruned, whoever asks."""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from calls.models import AudioChunk, Call, Erasure, LegalHold


class OnHold(Exception):
    """A call cannot be erased, and why."""


class BeingErased(Exception):
    """A call cannot be held any more: that would promise what is going."""


def held(calls: QuerySet[Call]) -> QuerySet[Call]:
    """Those of the calls that are under a hold: few, whatever number of calls there is."""
    return calls.filter(pk__in=LegalHold.objects.standing().order_by().values("call"))


def free(calls: QuerySet[Call]) -> QuerySet[Call]:
    """The others."""
    return calls.filter(~Exists(LegalHold.objects.standing().filter(call=OuterRef("pk"))))


def lock_free(calls: Iterable[Call]) -> list[Call]:
    """Locks calls that are to be erased, those that are still there; within a transaction. OnHold if one is held."""
    locked = list(Call.objects.select_for_update().filter(pk__in=[call.pk for call in calls]).order_by("pk"))
    standing = LegalHold.objects.standing().filter(call__in=locked).select_related("call", "placed_by")
    if holds := list(standing.order_by("call", "placed_at")):
        call = holds[0].call
        reasons = " ".join(in_words(hold) for hold in holds if hold.call == call)
        raise OnHold(f"{call} is under legal hold, and is not erased. {reasons}")
    return locked


def in_words(hold: LegalHold) -> str:
    """Who placed it, when and why, as a sentence."""
    who = hold.placed_by.get_username() if hold.placed_by else "a deleted user"
    reason = hold.reason if hold.reason.endswith((".", "!", "?")) else f"{hold.reason}."
    return f"Held by {who} since {hold.placed_at:%Y-%m-%d %H:%M} UTC: {reason}"


def place(call: Call, user: User | None, reason: str) -> LegalHold:
    """Holds a call, or what is left of it without its audio. BeingErased if somebody has begun to erase it."""
    with transaction.atomic():
        # Whoever erases it locks it too, and says so before anything goes.
        Call.objects.select_for_update().only("pk").get(pk=call.pk)
        erasures = Erasure.objects.filter(call_sid=call.sid or "", call_sid__gt="")
        still_going = AudioChunk.objects.filter(stream__call=call).exists()
        if any(not erasure.audio_only or still_going for erasure in erasures):
            raise BeingErased(f"{call} is being erased")
        return call.holds.create(call_sid=call.sid or "", placed_by=user, reason=reason[:200])


def lift(holds: Iterable[LegalHold], user: User | None, reason: str) -> int:
    """Lifts holds. Returns how many: not those that somebody else has lifted meanwhile."""
    standing = LegalHold.objects.standing().filter(pk__in=[hold.pk for hold in holds])
    return standing.update(lifted_at=timezone.now(), lifted_by=user, lift_reason=reason[:200])
