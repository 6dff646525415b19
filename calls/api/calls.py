"""GET /calls and /calls/{sid}."""

import datetime as dt
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from calls.access.numbers import mask_all, may_see
from calls.api import shapes
from calls.api.answers import NOT_THIS, Error, as_json, bad_parameter, not_found, page, require
from calls.api.parameters import CallFilters, cursor, place
from calls.media.audio import SAMPLES_PER_MS
from calls.media.sids import is_sid
from calls.models import Call, Stream, Tag
from calls.recordings.rendering import Recording
from calls.summaries import facts
from calls.summaries.problems import KINDS, problems


router = Router(tags=["calls"])

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
# What is said of a stream as its row has it.
_OF_A_STREAM = [
    *("sid", "tracks", "started_at", "ended_at", "end_reason", "frames_received", "frames_missing", "frames_rejected"),
    *("sequence_gaps", "duplicates", "timestamp_jumps", "jitter_ms", "handler_overruns", "handler_failed"),
]


@router.get("", response={200: shapes.Calls, NOT_THIS: Error}, summary="Find calls")
def find_calls(request: HttpRequest, wanted: Query[CallFilters]) -> HttpResponse:
    """Calls that Twilio knows, a page at a time; those that begin meanwhile move no page."""
    if wanted.number is not None:
        require(request, "see_numbers")
    what = f"calls {wanted.order}"
    found = list(_after(_filtered(wanted), wanted, place(wanted.cursor, what))[: wanted.limit + 1])
    shown_calls, whole = found[: wanted.limit], may_see(request)
    last = shown_calls[-1] if len(found) > wanted.limit else None
    following = cursor(what, (last.created_at - _EPOCH) // _MICROSECOND, last.pk) if last else None
    return page("calls", (shapes.CallFacts(**_facts(call, whole)) for call in shown_calls), following)


@router.get("/{sid}", response={200: shapes.WholeCall, NOT_THIS: Error}, summary="One call")
def one_call(request: HttpRequest, sid: str) -> HttpResponse:
    """With its streams, and with what went wrong."""
    if name := next(iter(request.GET), ""):
        raise bad_parameter(name[:60], "there is no such parameter")
    call, whole = get_call(sid), may_see(request)
    recording, streams = Recording.of(call), list(call.streams.all())
    found = problems(call, streams, call.events.filter(kind__in=KINDS))
    return as_json(
        shapes.WholeCall(
            **_facts(call, whole),
            parameters=call.parameters if whole else mask_all(call.parameters, call),
            streams=[_stream(stream, recording, call, whole) for stream in streams],
            problems=[
                shapes.Trouble(
                    word=problem.word,
                    text=problem.text if whole else mask_all(problem.text, call),
                    advice=problem.advice,
                    is_warning=problem.is_warning,
                )
                for problem in found
            ],
            legal_holds=[
                shapes.Hold(
                    placed_at=hold.placed_at,
                    placed_by=hold.placed_by.get_username() if hold.placed_by else "",
                    reason=hold.reason if whole else mask_all(hold.reason, call),
                )
                for hold in call.holds.standing().select_related("placed_by")
            ],
        )
    )


def get_call(sid: str) -> Call:
    """Raises Refused where there is none."""
    if is_sid(sid, "CA") and (call := Call.objects.filter(sid=sid).first()):
        return call
    raise not_found("There is no call with this SID.")


def _filtered(wanted: CallFilters) -> QuerySet[Call]:
    either = {"inbound": ["inbound"], "outbound": ["outbound-api", "outbound-dial"]}
    conditions = {
        "created_at__gte": wanted.since,
        "created_at__lt": wanted.until,
        "ended_at__isnull": None if wanted.ended is None else not wanted.ended,
        "handler": wanted.handler,
        "status": wanted.status,
        "direction__in": either[wanted.direction] if wanted.direction else None,
    }
    calls = Call.objects.filter(**{name: value for name, value in conditions.items() if value is not None})
    if wanted.number is not None:
        calls = calls.filter(Q(from_number=wanted.number) | Q(to_number=wanted.number))
    if wanted.tag is not None:
        # Not by its name in a join, of which the database would make a walk over all calls.
        calls = calls.filter(tags__in=list(Tag.objects.filter(name=wanted.tag)))
    if wanted.has_recording is not None:
        calls = calls.filter(audio_samples__gt=0) if wanted.has_recording else calls.filter(audio_samples=0)
    return calls.filter(sid__isnull=False).defer("parameters", "notes").prefetch_related("tags")


def _after(calls: QuerySet[Call], wanted: CallFilters, last: tuple[int, int] | None) -> QuerySet[Call]:
    """What comes behind the last call of a page, in order."""
    newest = wanted.order == "newest"
    if last:
        at, key = _EPOCH + last[0] * _MICROSECOND, last[1]
        if newest:
            calls = calls.filter(Q(created_at__lt=at) | Q(pk__lt=key), created_at__lte=at)
        else:
            calls = calls.filter(Q(created_at__gt=at) | Q(pk__gt=key), created_at__gte=at)
    return calls.order_by("-created_at", "-pk") if newest else calls.order_by("created_at", "pk")


def _facts(call: Call, whole: bool) -> dict[str, Any]:
    known = facts.of_call(call)
    return known if whole else facts.masked(known, call)


def _stream(stream: Stream, recording: Recording, call: Call, whole: bool) -> shapes.StreamFacts:
    name, parameters = stream.name, stream.custom_parameters
    return shapes.StreamFacts(
        **{name: getattr(stream, name) for name in _OF_A_STREAM},
        name=name if whole else mask_all(name, call),
        custom_parameters=parameters if whole else mask_all(parameters, call),
        start_ms=recording.place(stream.pk, 0) // SAMPLES_PER_MS,
        length_ms=stream.length // SAMPLES_PER_MS,
    )
