"""What the rows of a call add up to: the facts that lists and filters show, kept on the call itself."""

import datetime as dt
from typing import Any

from django.db.models import Case, Exists, F, OuterRef, When
from django.db.models.functions import Least

from calls.media import placement
from calls.models import Call, CallEvent, Erasure, Gap
from calls.summaries import absence
from calls.summaries.problems import KINDS, problems


def note_call(sid: str, facts: dict[str, Any], *, using: str, at: dt.datetime | None = None) -> Call:
    """Notes what a request says of a call, and sums the call up where that is its end. Erased if it was erased."""
    call = Call.objects.using(using).note(sid, at=at, **facts)
    if call.ended_at and Call.Status.is_terminal(facts.get("status", "")):
        summarise(call.pk, using=using)
    return call


def summarise(call_id: int, *, using: str) -> None:
    """What the lists show of a call's streams, kept on the call itself so that they need not be asked."""
    call = Call.objects.using(using).get(pk=call_id)
    streams = absence.explain(call_id, using=using)
    end = placement.end(placement.place(stream.spell() for stream in streams))
    # Not every cleared gap is one: what had not been heard when the caller hung up interrupted nobody.
    events = list(CallEvent.objects.using(using).filter(call=call_id, kind__in=[*KINDS, "cleared"]))
    warning = (
        any(problem.is_warning for problem in problems(call, streams, events))
        or Gap.objects.using(using).filter(stream__in=streams, reason__in=["over_cap", "rejected"]).exists()
    )
    interrupted = any(event.kind == "cleared" for event in events)
    erased = Exists(Erasure.objects.of_audio(OuterRef("sid")))
    Call.objects.using(using).filter(pk=call_id).update(
        audio_samples=Case(When(erased, then=0), default=end),
        has_warning=warning,
        was_interrupted=interrupted,
        # What was measured is true for what was there ...
        measured_at=Case(When(audio_samples=end, then=F("measured_at"))),
        # ... and so is what others were told of it.
        told=Case(When(audio_samples=end, then=F("told")), default=Least(F("told"), Call.Told.END)),
    )
