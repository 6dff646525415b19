"""What the rows of a call add up to: the facts that lists and filters show, kept on the call itself."""

import datetime as dt
from typing import Any

from django.db import transaction

from calls.media import placement
from calls.models import Call, CallEvent, Erasure, Gap, Stream
from calls.summaries import absence
from calls.summaries.problems import KINDS, problems


def note_call(sid: str, facts: dict[str, Any], *, using: str, at: dt.datetime | None = None) -> Call:
    """Notes what a request says of a call, and sums the call up where that is its end. Erased if it was erased."""
    call = Call.objects.using(using).note(sid, at=at, **facts)
    if call.ended_at and Call.Status.is_terminal(facts.get("status", "")):
        summarise(call.pk, using=using)
    return call


def summarise(call_id: int, *, using: str) -> None:
    """What the lists show of a call's streams, kept on the call itself so that they need not be asked.

    A worker that goes has two of these to write for each of its calls: hence the few statements.
    """
    with transaction.atomic(using=using, savepoint=False):
        # One after the other: the call may end while its stream does, and be measured meanwhile.
        call = Call.objects.using(using).select_for_update().get(pk=call_id)
        streams = absence.explain(call, using=using)
        facts = _facts(call, streams, using)
        if facts["audio_samples"] != call.audio_samples:
            # What was measured is true for what was there, and so is what others were told of it.
            facts |= {"measured_at": None, "told": min(call.told, Call.Told.END)}
        if changed := {name: value for name, value in facts.items() if value != getattr(call, name)}:
            Call.objects.using(using).filter(pk=call_id).update(**changed)


def _facts(call: Call, streams: list[Stream], using: str) -> dict[str, Any]:
    end = placement.end(placement.place(stream.spell() for stream in streams))
    # Not every cleared gap is one: what had not been heard when the caller hung up interrupted nobody.
    events = list(CallEvent.objects.using(using).filter(call=call, kind__in=[*KINDS, "cleared"]))
    warning = (
        any(problem.is_warning for problem in problems(call, streams, events))
        or Gap.objects.using(using).filter(stream__in=streams, reason__in=["over_cap", "rejected"]).exists()
    )
    return {
        "audio_samples": 0 if end and Erasure.objects.using(using).of_audio(call.sid or "").exists() else end,
        "has_warning": warning,
        "was_interrupted": any(event.kind == "cleared" for event in events),
    }
