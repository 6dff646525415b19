"""What was said in a call, and when: GET /calls/{sid}/turns, /words, /marks and /keys."""

from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.expressions import Combinable
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from calls.access.numbers import mask_all, may_see
from calls.api import shapes
from calls.api.answers import NOT_THIS, Error, page, require
from calls.api.calls import get_call
from calls.api.parameters import Paged, cursor, place
from calls.files.accesses import note_reading
from calls.media.audio import SAMPLES_PER_MS
from calls.models import Call, Dtmf, Mark, Track, Turn, Utterance
from calls.recordings.rendering import Recording
from calls.recordings.timeline import on_timeline


router = Router(tags=["what was said"])

_SPEAKERS: dict[str, shapes.Speaker] = {Track.INBOUND: "caller", Track.OUTBOUND: "us"}


@router.get("/{sid}/turns", response={200: shapes.Turns, NOT_THIS: Error}, summary="Who spoke when")
def turns(request: HttpRequest, sid: str, wanted: Query[Paged]) -> HttpResponse:
    """In order of time; none before the call has been measured. Needs listen_call."""
    require(request, "listen_call")
    # Those of a call that runs may still change.
    call = get_call(sid)
    found, following = _find(call, "turns", wanted, Turn.objects.none() if call.turns_at else Turn.objects.all())
    return page("turns", map(_turn, found), following)


@router.get("/{sid}/words", response={200: shapes.Lines, NOT_THIS: Error}, summary="What was said")
def words(request: HttpRequest, sid: str, wanted: Query[Paged]) -> HttpResponse:
    """In order of time, as far as it was transcribed. Needs listen_call; each reading is on record."""
    require(request, "listen_call")
    call = get_call(sid)
    found, following = _find(call, "words", wanted, Utterance.objects.all())
    if found:
        note_reading(request, [call], "words")
    return page("lines", map(_line, found), following)


@router.get("/{sid}/marks", response={200: shapes.Marks, NOT_THIS: Error}, summary="Marks")
def marks(request: HttpRequest, sid: str, wanted: Query[Paged]) -> HttpResponse:
    """In order of time. Needs listen_call."""
    require(request, "listen_call")
    call, whole = get_call(sid), may_see(request)
    found, following = _find(call, "marks", wanted, Mark.objects.all(), F("position"))
    return page("marks", (_mark(mark, call, whole) for mark in found), following)


@router.get("/{sid}/keys", response={200: shapes.Keys, NOT_THIS: Error}, summary="Keys that were pressed")
def keys(request: HttpRequest, sid: str, wanted: Query[Paged]) -> HttpResponse:
    """In order of time. Needs listen_call."""
    require(request, "listen_call")
    position = F("timestamp_ms") * SAMPLES_PER_MS
    found, following = _find(get_call(sid), "keys", wanted, Dtmf.objects.all(), position)
    return page("keys", map(_key, found), following)


def _find(
    call: Call, what: str, wanted: Paged, rows: QuerySet[Any], position: Combinable | None = None
) -> tuple[list[Any], str | None]:
    """Rows of its streams with `at` and `stream_sid`, and where the next page begins. Two queries."""
    recording, what = Recording.of(call), f"{what} of {call.pk}"
    ordered = on_timeline(rows, recording, position).annotate(stream_sid=F("stream__sid")).order_by("at", "pk")
    if last := place(wanted.cursor, what):
        ordered = ordered.filter(Q(at__gt=last[0]) | Q(at=last[0], pk__gt=last[1]))
    found = list(ordered[: wanted.limit + 1])
    shown = found[: wanted.limit]
    following = cursor(what, shown[-1].at, shown[-1].pk) if len(found) > wanted.limit else None
    return [row for row in shown if recording.is_heard(row.stream_id, row.at)], following


def _ms(samples: int) -> int:
    return samples // SAMPLES_PER_MS


def _turn(turn: Any) -> shapes.Turn:
    return shapes.Turn(
        stream=turn.stream_sid,
        speaker=turn.speaker,
        start_ms=_ms(turn.at),
        end_ms=_ms(turn.at + turn.length),
        response_ms=turn.response_ms,
        interrupted=turn.interrupted,
        talked_on_ms=turn.talked_on_ms,
    )


def _line(line: Any) -> shapes.Line:
    offset = line.at - line.start
    return shapes.Line(
        stream=line.stream_sid,
        speaker=_SPEAKERS[line.track],
        start_ms=_ms(line.at),
        end_ms=_ms(line.at + line.length),
        text=line.text,
        words=[
            shapes.Word(text=str(word), start_ms=_ms(offset + start), end_ms=_ms(offset + start + length))
            for word, start, length in line.words
        ],
    )


def _mark(mark: Any, call: Call, whole: bool) -> shapes.Mark:
    return shapes.Mark(
        stream=mark.stream_sid,
        name=mark.name if whole else mask_all(mark.name, call),
        at_ms=_ms(mark.at),
        outcome=mark.outcome,
        sent_at=mark.sent_at,
        returned_at=mark.returned_at,
    )


def _key(key: Any) -> shapes.Key:
    return shapes.Key(stream=key.stream_sid, digit=key.digit, at_ms=_ms(key.at))
