"""What is told of a call and of its recording: facts for programs, neither words nor audio, neither tokens nor the
parameters of Twilio's requests."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db.models import Count, Exists, OuterRef, Sum
from django.urls import reverse

from calls.addresses import absolute
from calls.media.audio import SAMPLE_RATE
from calls.media.placement import tiled
from calls.models import AudioChunk, Call, CallEvent, Gap, Stream
from calls.summaries import facts
from calls.summaries.absence import is_worth_a_warning


# Gaps in which there was something to record. What was paused or cleared is left out on purpose.
MISSING = (Gap.Reason.TIMESTAMP, Gap.Reason.SEQUENCE, Gap.Reason.CRASH, Gap.Reason.OVER_CAP, Gap.Reason.REJECTED)


def moment(at: dt.datetime | None) -> str | None:
    """As RFC 3339 has it, in UTC."""
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def of_call(call: Call, *, guessed: bool = False) -> dict[str, Any]:
    """As JSON has it. `guessed`: nobody has said that it ended. Its tags are asked for, so prefetch them."""
    told = facts.of_call(call)
    return {
        **{name: moment(value) if isinstance(value, dt.datetime) else value for name, value in told.items()},
        "url": absolute(reverse("admin:calls_call_change", args=[call.pk])),
        "end_is_a_guess": guessed,
    }


def masked(data: dict[str, Any], call: Call | None) -> dict[str, Any]:
    """The same without whole numbers and names, if it is of a call."""
    told = data.get("call")
    return data if call is None or not isinstance(told, dict) else {**data, "call": facts.masked(told, call)}


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
    gaps = Gap.objects.filter(stream__call__in=calls, reason__in=MISSING).order_by()
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
