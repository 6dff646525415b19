"""What the rows of a call add up to: the facts that lists and filters show, kept on the call itself."""

import datetime as dt
from typing import Any

from django.db.models import Case, Exists, F, Max, OuterRef, Sum, When
from django.utils import timezone

from calls.accounts import absence
from calls.accounts.problems import KINDS, problems
from calls.media import placement
from calls.media.audio import FRAME_SAMPLES
from calls.media.storable import storable, storable_json
from calls.models import Call, CallEvent, Erasure, Gap, Stream


def note_whether_it_goes_on(stream: int, call: int, reason: str, *, using: str) -> None:
    """A call whose stream has ended may be over, and Twilio need not tell us.

    A <Start> stream lives as long as its call: where Twilio says stop, the <Dial> beside it is over too. A drain, a
    broken socket or a handler that has heard enough ends the stream and not the call. A <Connect> stream ends when
    its call is transferred, or goes on to another document of ours.
    """
    ended = Stream.objects.using(using).filter(pk=stream)
    if reason != Stream.EndReason.STOP and ended.filter(bidirectional=False).exists():
        return
    later = ["transfer", "transfer-unknown", "stream-ended"]
    replaced = CallEvent.objects.filter(call=OuterRef("pk"), kind__in=later)
    dialing = Call.objects.using(using).filter(~Exists(replaced), pk=call, dialing=True)
    dialing.update(dialing=False)


def note_call(sid: str, facts: dict[str, Any], *, using: str, at: dt.datetime | None = None) -> Call:
    """`CallQuerySet.note` with texts made storable, whatever they are. Erased if the call was erased."""
    clean: dict[str, Any] = {}
    for name, value in facts.items():
        field = Call._meta.get_field(name)
        length = getattr(field, "max_length", None)
        if isinstance(value, str) and length:
            value = storable(value, length)
        elif isinstance(value, int) and not isinstance(value, bool):
            value = max(0, min(value, 2**31 - 1))
        clean[name] = value
    if "parameters" in clean:
        clean["parameters"] = storable_json(clean["parameters"])
    call = Call.objects.using(using).note(sid, at=at, **clean)[0]
    if call.ended_at and Call.Status.is_terminal(clean.get("status", "")):
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
        audio_samples=Case(When(erased, then=0), default=end), has_warning=warning, was_interrupted=interrupted
    )


def unexplained(stream: Stream, track: str, *, using: str) -> list[tuple[int, int]]:
    """The pieces (start, end) of a lane up to the stream's length that no chunk and no gap accounts for."""
    spans = [
        *stream.chunks.using(using).filter(track=track).values_list("start", "length"),
        *stream.gaps.using(using).filter(track=track).exclude(reason="cleared").values_list("start", "length"),
    ]
    holes, at = [], 0
    for start, length in sorted(spans):
        if start > at:
            holes.append((at, start))
        at = max(at, start + length)
    if at < stream.length:
        holes.append((at, stream.length))
    return holes


def close_orphan(stream: Stream, lost: int, *, using: str) -> None:
    """Ends a stream whose process is gone: what it had not written, at most `lost` samples, is a gap."""
    stream.ended_at = timezone.now()
    stream.end_reason = Stream.EndReason.INTERRUPTED
    note_whether_it_goes_on(stream.pk, stream.call_id, stream.end_reason, using=using)
    explain_crash(stream, lost, using=using)


def explain_crash(stream: Stream, lost: int, *, using: str) -> None:
    """Makes gaps of what is missing of an orphan; again when a spool has brought more of it."""
    gaps = stream.gaps.using(using)
    gaps.filter(reason__in=[Gap.Reason.CRASH, Gap.Reason.NO_STREAM]).delete()
    end = Max(F("start") + F("length"), default=0)
    stored = stream.chunks.using(using).aggregate(end=end)["end"]
    explained = gaps.exclude(reason="cleared").aggregate(end=end)["end"]
    stream.length = max(stored, explained) + lost
    Gap.objects.using(using).bulk_create(
        [
            Gap(stream=stream, track=track, start=start, length=end - start, reason=Gap.Reason.CRASH)
            for track in placement.tiled(stream.tracks)
            for start, end in unexplained(stream, track, using=using)
        ],
        ignore_conflicts=True,
    )
    # Its last counters were never written, or are behind what was.
    stream.frames_missing = missing_samples(stream, using=using) // FRAME_SAMPLES
    if "outbound" not in stream.tracks:
        stream.heard = heard_samples(stream, using=using)
    stream.save(using=using, update_fields=["length", "ended_at", "end_reason", "frames_missing", "heard"])
    summarise(stream.call_id, using=using)


def missing_samples(stream: Stream, *, using: str) -> int:
    """What is missing of the lanes that are filled: Twilio sent nothing, messages were lost, or the process died."""
    reasons = [Gap.Reason.TIMESTAMP, Gap.Reason.SEQUENCE, Gap.Reason.CRASH]
    gaps = stream.gaps.using(using).filter(track__in=placement.tiled(stream.tracks), reason__in=reasons)
    return int(gaps.aggregate(sum=Sum("length", default=0))["sum"])


def heard_samples(stream: Stream, *, using: str) -> int:
    """What is stored of our side of a conversation, and what was heard of it and is meant or known not to be."""
    chunks = stream.chunks.using(using).filter(track="outbound")
    reasons = [Gap.Reason.PAUSED, Gap.Reason.OVER_CAP, Gap.Reason.REJECTED]
    gaps = stream.gaps.using(using).filter(track="outbound", reason__in=reasons)
    total = Sum("length", default=0)
    return int(chunks.aggregate(sum=total)["sum"]) + int(gaps.aggregate(sum=total)["sum"])
