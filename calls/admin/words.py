"""The words of a call for its page: those of whoever may listen, on record before they are sent."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from calls.admin import wording
from calls.admin.base import private_json
from calls.admin.cells import clock
from calls.files.accesses import note_access, note_reading
from calls.media.audio import SAMPLE_RATE
from calls.media.figures import figure
from calls.models import Call, CallEvent, RecordingAccess, Stream
from calls.recordings import words
from calls.recordings.rendering import Recording
from calls.recordings.words import Line


def words_response(request: HttpRequest, call: Call) -> HttpResponseBase:
    """About 500 lines that begin at sample `from` or later, what is to be said of them all, and where to go on."""
    if not request.user.has_perm("calls.listen_call"):
        raise PermissionDenied
    recording = Recording.of(call)
    found, following = words.page(recording, _start(request))
    if found:
        note_reading(request, [call], "words")
    lines = [_as_json(line) for line in found]
    return private_json({"lines": lines, "next": following, **_state(call, recording)})


def text_response(request: HttpRequest, call: Call, name: str) -> HttpResponseBase:
    """All of the words as a file."""
    if not request.user.has_perm("calls.download_call"):
        raise PermissionDenied
    note_access(request, call, RecordingAccess.Kind.DOWNLOAD, "words")
    response = HttpResponse("".join(words.text(call, Recording.of(call))), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.txt"'
    response["Cache-Control"] = "no-store, private"
    return response


def _start(request: HttpRequest) -> int:
    value = request.GET.get("from", "")
    return int(value[:12]) if value.isascii() and value.isdigit() else 0


def _as_json(line: Line) -> dict[str, Any]:
    return {
        "key": line.key,
        "at": _seconds(line.at),
        "end": _seconds(line.end),
        "clock": clock(line.at),
        "track": line.track,
        "text": line.text,
        "words": [(word, _seconds(at)) for word, at in line.words],
    }


def _seconds(samples: int) -> float:
    return round(samples / SAMPLE_RATE, 2)


def _state(call: Call, recording: Recording) -> dict[str, Any]:
    """Whether more words may come, and what a reader has to know of those that are not there."""
    streams = list(Stream.objects.filter(call=call).only("ended_at", "transcribed_at"))
    lost = _lost(streams)
    known = {event.stream_id for event in lost} | {stream.pk for stream in streams if stream.transcribed_at}
    is_complete = call.ended_at is not None and all(stream.pk in known for stream in streams)
    return {
        "complete": is_complete,
        "missing": list(_missing(lost, recording, call)),
        "empty": _why_empty(call, streams, is_complete=is_complete, is_lost=bool(lost)),
    }


def _lost(streams: Sequence[Stream]) -> list[CallEvent]:
    """What a service did not transcribe, of streams that have not been transcribed since."""
    unknown = Q(stream__in=[stream.pk for stream in streams if not stream.transcribed_at])
    return list(CallEvent.objects.filter(unknown, kind="words-missing").order_by("pk")[:50]) if streams else []


def _missing(events: Sequence[CallEvent], recording: Recording, call: Call) -> Iterator[dict[str, Any]]:
    for event in events:
        start, length = (round((figure(event.data, name) or 0) * SAMPLE_RATE) for name in ("start", "length"))
        at = recording.place(event.stream_id, start) if event.stream_id else start
        yield {"at": _seconds(at), "text": wording.of_missing_words(event.data, at, at + length, call)}


def _why_empty(call: Call, streams: Sequence[Stream], *, is_complete: bool, is_lost: bool) -> str:
    """What stands where words would, if there are none."""
    if is_lost:
        return "No words of this call are known."
    if is_complete and streams:
        return "Nobody said anything that could be understood."
    if not settings.TRANSCRIBER:
        return "Nothing is written down: no transcriber is set up (TRANSCRIBER)."
    if call.ended_at is None:
        return "Nothing has been said yet. Words appear here as they are understood."
    if not streams:
        return "Nothing was recorded, so nothing could be written down."
    return "What was said is not written down yet; manage.py transcribe_calls does it."
