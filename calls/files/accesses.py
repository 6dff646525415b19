"""Who heard, read, downloaded or exported what: on record before the first byte of it is sent."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

from calls.access.programs import Program
from calls.media import audio
from calls.models import Call, RecordingAccess
from calls.recordings.rendering import Wav


# Seconds of a recording that are put on record as sent at once, before they are.
NOTED_AT_ONCE = 15
# Seconds from and to, as a player's `played` has them.
_PLAYED = re.compile(r"(\d{1,6})(?:\.\d{1,20})?-(\d{1,6})(?:\.\d{1,20})?", re.ASCII)


def note_access(request: HttpRequest, call: Call, kind: str, detail: str, *, resumed: bool = False) -> RecordingAccess:
    """Puts a listen, a download or an export on record, a listen once per listener and call within its ONE_LISTEN.

    A download from its first byte is a new one every time; one that goes on where it broke off is not.
    """
    if kind != RecordingAccess.Kind.LISTEN and not resumed:
        return record_access(request, kind, detail, call)
    if access := _recent(request, kind).filter(call=call).first():
        return access
    with transaction.atomic():
        # A player's first ranges come at the same time: the call's row lets one of them through.
        Call.objects.select_for_update(no_key=True).only("pk").get(pk=call.pk)
        return _recent(request, kind).filter(call=call).first() or record_access(request, kind, detail, call)


def note_reading(request: HttpRequest, calls: Iterable[Call], detail: str) -> None:
    """Puts on record that words of these calls are read, once per reader, call and `detail` within its ONE_LISTEN.

    Two queries, however many they are. Two pages that ask at once are two readings.
    """
    kind = RecordingAccess.Kind.READ
    read = _recent(request, kind).filter(call__in=calls, detail=detail).values_list("call", flat=True)
    known = set(read)
    RecordingAccess.objects.bulk_create(_access(request, kind, detail, call) for call in calls if call.pk not in known)


def record_access(request: HttpRequest, kind: str, detail: str, call: Call | None = None) -> RecordingAccess:
    """`detail` outlives the call, and has nothing of it."""
    access = _access(request, kind, detail, call)
    access.save(force_insert=True)
    return access


def _access(request: HttpRequest, kind: str, detail: str, call: Call | None) -> RecordingAccess:
    return RecordingAccess(
        call=call,
        call_sid=(call.sid or "") if call else "",
        kind=kind,
        detail=detail[:200],
        address=request.META.get("REMOTE_ADDR", "")[:64],
        **_who(request),
    )


def played_response(request: HttpRequest, call: Call) -> HttpResponseBase:
    """What a player has played, from its own mouth: of what was sent, the part that was to be heard."""
    if not request.user.has_perm("calls.listen_call"):
        raise PermissionDenied
    found = [_PLAYED.fullmatch(text) for text in request.POST.getlist("range")[:100]]
    with transaction.atomic():
        listens = RecordingAccess.objects.select_for_update().filter(call=call, kind="listen", **_who(request))
        if access := listens.exclude(detail=RecordingAccess.LIVE).first():
            for one in filter(None, found):
                access.extend("played", int(one[1]), max(int(one[1]), int(one[2])) + 1)
            access.save(update_fields=["played"])
    return HttpResponse(status=204)


def on_record(pieces: Iterable[bytes], wav: Wav, first: int, last: int, access: RecordingAccess) -> Iterator[bytes]:
    """These pieces of a recording, its bytes first..last; what they hold is on record as sent before they are."""
    sent = noted = first
    for piece in pieces:
        sent += len(piece)
        if sent > noted:
            noted = min(max(sent, noted + NOTED_AT_ONCE * audio.SAMPLE_RATE * wav.width), last + 1)
            _extend(access, _second(wav, first), _second(wav, noted + audio.SAMPLE_RATE * wav.width - 1))
        yield piece


def _extend(access: RecordingAccess, start: int, stop: int) -> None:
    if any(low <= start and stop <= high for low, high in access.ranges):
        return
    with transaction.atomic():
        # A player asks for several ranges at once: each adds to what the others have put there.
        row = RecordingAccess.objects.select_for_update().get(pk=access.pk)
        row.extend("ranges", start, stop)
        row.save(update_fields=["ranges"])
    access.ranges = row.ranges


def _second(wav: Wav, byte: int) -> int:
    return max(0, byte - audio.WAV_HEADER_SIZE) // (audio.SAMPLE_RATE * wav.width)


def _recent(request: HttpRequest, kind: str) -> QuerySet[RecordingAccess]:
    recent = RecordingAccess.objects.filter(
        kind=kind, at__gte=timezone.now() - RecordingAccess.ONE_LISTEN, **_who(request)
    )
    return recent.exclude(detail=RecordingAccess.LIVE)


def _who(request: HttpRequest) -> dict[str, Any]:
    if isinstance(request.user, Program):
        return {"client": request.user.client, "client_name": request.user.client.name}
    assert isinstance(request.user, User), "nobody else has the permissions that were asked for"
    return {"user": request.user}
