"""What is told of a call and of its recording: facts for programs, neither words nor audio, neither tokens nor the
parameters of Twilio's requests."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db.models import Count, Exists, OuterRef, Sum

from calls.access.numbers import HIDDEN, mask, mask_all
from calls.addresses import ADMIN, absolute
from calls.media.audio import SAMPLE_RATE
from calls.media.placement import tiled
from calls.models import AudioChunk, Call, CallEvent, Gap, Stream
from calls.summaries.absence import is_worth_a_warning


# Gaps in which there was something to record. What was paused or cleared is left out on purpose.
LOST = (Gap.Reason.TIMESTAMP, Gap.Reason.SEQUENCE, Gap.Reason.CRASH, Gap.Reason.OVER_CAP, Gap.Reason.REJECTED)
_NUMBERS = ("from", "to", "forwarded_from")


def moment(at: dt.datetime | None) -> str | None:
    """As RFC 3339 has it, in UTC."""
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def of_call(call: Call, *, guessed: bool = False) -> dict[str, Any]:
    """`guessed`: nobody has said that it ended. Its tags are asked for, so prefetch them."""
    return {
        "sid": call.sid,
        "url": absolute(f"{ADMIN}calls/call/{call.pk}/change/"),
        "direction": call.direction,
        "from": call.from_number,
        "to": call.to_number,
        "caller_name": call.caller_name,
        "forwarded_from": call.forwarded_from,
        "handler": call.handler,
        "status": call.status,
        "answered_by": call.answered_by,
        "created_at": moment(call.created_at),
        "answered_at": moment(call.answered_at),
        "ended_at": moment(call.ended_at),
        "end_is_a_guess": guessed,
        "duration": call.duration,
        "recorded_seconds": _seconds(call.audio_samples),
        "has_warning": call.has_warning,
        "was_interrupted": call.was_interrupted,
        "first_audio_ms": call.first_audio_ms,
        "response_ms": call.response_ms,
        "response_ms_max": call.response_ms_max,
        "dead_air_ms": call.dead_air_ms,
        "talk_over_ms": call.talk_over_ms,
        "price": None if call.price is None else f"{call.price.normalize():f}",
        "price_unit": call.price_unit,
        "data": call.data_in_order,
        "tags": sorted(tag.name for tag in call.tags.all()),
    }


def masked(data: dict[str, Any], call: Call | None) -> dict[str, Any]:
    """The same without whole numbers and names: as it is shown to staff who may not see them."""
    told = data.get("call")
    if call is None or not isinstance(told, dict):
        return data
    hidden = {name: mask(str(told.get(name) or "")) for name in _NUMBERS}
    hidden["caller_name"] = HIDDEN if told.get("caller_name") else ""
    said = {name: mask_all(told.get(name), call) for name in ("data", "tags")}
    return {**data, "call": {**told, **hidden, **said}}


def guessed(calls: Iterable[Call]) -> set[int]:
    """The keys of those whose end nobody has told us of."""
    return set(CallEvent.objects.filter(call__in=calls, kind="presumed-over").values_list("call", flat=True))


def of_recordings(calls: Sequence[Call]) -> dict[int, dict[str, Any]]:
    """By the call's key, whether its recording is whole, and what of it is missing; none where nothing was recorded.

    In three queries, however many calls. Each piece that is missing is of one lane and one reason: that of its gaps,
    `no_stream` where the call went on for a second or more without one, `interrupted` where a process died and nothing
    is known to be lost.
    """
    lost = _lost(calls)
    streams: dict[int, list[Stream]] = {}
    for stream in Stream.objects.filter(call__in=calls):
        streams.setdefault(stream.call_id, []).append(stream)
    chunks = AudioChunk.objects.filter(stream=OuterRef("pk"))
    heard = set(Stream.objects.filter(Exists(chunks), call__in=calls).values_list("call", flat=True))
    found = {}
    for call in calls:
        own = streams.get(call.pk, [])
        missing = [*lost.get(call.pk, []), *_unheard(own, lost.get(call.pk, []))]
        # Erased audio is neither: the call's length says so.
        if call.audio_samples and (missing or call.pk in heard):
            found[call.pk] = {"seconds": _seconds(call.audio_samples), "missing": missing}
    return found


def _lost(calls: Sequence[Call]) -> dict[int, list[dict[str, Any]]]:
    gaps = Gap.objects.filter(stream__call__in=calls, reason__in=LOST).order_by()
    sums = gaps.values("stream__call", "track", "reason").annotate(length=Sum("length"), pieces=Count("pk"))
    found: dict[int, list[dict[str, Any]]] = {}
    for row in sums.order_by("track", "reason"):
        found.setdefault(row["stream__call"], []).append(
            _piece(row["track"], row["reason"], row["length"], row["pieces"])
        )
    return found


def _unheard(streams: Iterable[Stream], known: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What no gap tells of, but streams do."""
    for stream in streams:
        for track in tiled(stream.tracks):
            if is_worth_a_warning(stream):
                yield _piece(track, Gap.Reason.NO_STREAM, stream.absent, 1)
            elif stream.end_reason == Stream.EndReason.INTERRUPTED and not known:
                yield _piece(track, "interrupted", 0, 1)


def _piece(track: str, reason: str, length: int, pieces: int) -> dict[str, Any]:
    return {"track": track, "reason": reason, "seconds": _seconds(length), "pieces": pieces}


def _seconds(samples: int) -> float:
    return round(samples / SAMPLE_RATE, 3)
