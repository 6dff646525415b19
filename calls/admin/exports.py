"""Calls as downloads: the filtered list as CSV, a selection's recordings as ZIP. Both are made while they are sent."""

import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.db.models import Q, QuerySet
from django.http import HttpRequest, QueryDict, StreamingHttpResponse
from django.utils import timezone

from calls.access.numbers import mask_all, may_see, shown
from calls.admin.base import ModelT
from calls.admin.lists import FILTERS
from calls.files.names import file_name
from calls.media.audio import SAMPLE_RATE
from calls.models import Call
from calls.recordings.rendering import Recording, in_steps
from calls.recordings.words import text
from calls.summaries.facts import FIGURES
from calls.tables import harmless, table, utc


BATCH = 1000
COLUMNS = [
    "CallSid", "from", "to", "direction", "status", "handler", "caller name", "began (UTC)", "answered (UTC)",
    "ended (UTC)", "duration (s)", "recorded (s)", "warnings", "caller interrupted", "reviewed", "tags", "notes",
    "data", "file in a ZIP", "first audio (ms)", "response, median (ms)", "response, worst (ms)", "dead air (ms)",
    "talk-over (ms)", "cost", "currency",
]  # fmt: skip


def csv_response(request: HttpRequest, queryset: QuerySet[Call]) -> StreamingHttpResponse:
    lines = csv_lines(batches(queryset.prefetch_related("tags")), whole=may_see(request))
    return attachment(request, lines, f"calls-{timezone.localtime():%Y%m%d-%H%M}.csv", "text/csv; charset=utf-8")


def zip_response(request: HttpRequest, calls: list[Call]) -> StreamingHttpResponse:
    name = f"recordings-{timezone.localtime():%Y%m%d-%H%M}.zip"
    return attachment(request, zip_pieces(calls, whole=may_see(request)), name, "application/zip")


def chosen(query: QueryDict) -> str:
    """How a list was filtered, for the record, which outlives calls: what was searched for is a number or a name."""
    filters = [f"{name}={value}" for name, value in sorted(query.items()) if name in FILTERS]
    return ", ".join([*filters, *(["a search"] if query.get("q") else [])]) or "all calls"


def batches(queryset: QuerySet[ModelT], moment: str = "created_at") -> Iterator[list[ModelT]]:
    """Newest first, each batch a query of its own: no cursor stays open for as long as a download takes."""
    queryset = queryset.order_by(f"-{moment}", "-pk")
    rows = list(queryset[:BATCH])
    while rows:
        yield rows
        last = rows[-1]
        at = getattr(last, moment)
        older = Q(**{f"{moment}__lt": at}) | Q(pk__lt=last.pk)
        rows = list(queryset.filter(older, **{f"{moment}__lte": at})[:BATCH]) if len(rows) == BATCH else []


def csv_lines(found: Iterable[list[Call]], *, whole: bool) -> Iterator[bytes]:
    # The mark at the beginning tells Excel that this is UTF-8.
    yield ("\ufeff" + table([COLUMNS])).encode()
    for calls in found:
        yield table([[harmless(cell) for cell in _row(call, whole)] for call in calls]).encode()


def zip_pieces(calls: list[Call], *, whole: bool) -> Iterator[bytes]:
    """A ZIP with a WAV per call, its words if they are known, and one table; uncompressed, since speech stays large."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("calls.csv", b"".join(csv_lines([calls], whole=whole)))
        for call in calls:
            recording = Recording.of(call)
            if said := "".join(text(call, recording)):
                archive.writestr(f"{file_name(call, whole)}.txt", said)
            wav = recording.wav()
            with archive.open(f"{file_name(call, whole)}.wav", "w", force_zip64=True) as file:
                for piece in wav.pieces(0, wav.size - 1):
                    file.write(piece)
                    yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """A file that keeps nothing: what was written is taken away and sent."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self.parts = b"".join(self.parts), []
        return taken


def attachment(request: HttpRequest, pieces: Iterator[bytes], name: str, kind: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(
        in_steps(pieces) if isinstance(request, ASGIRequest) else pieces, content_type=kind
    )
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store, private"
    return response


def _row(call: Call, whole: bool) -> list[Any]:
    numbers = [shown(call.from_number, whole), shown(call.to_number, whole)]
    facts = [call.direction, call.status, call.handler, call.caller_name if whole else ""]
    times = [utc(call.created_at), utc(call.answered_at), utc(call.ended_at)]
    lengths = ["" if call.duration is None else call.duration, f"{call.audio_samples / SAMPLE_RATE:.2f}"]
    flags = [_yes(call.has_warning), _yes(call.was_interrupted), _yes(call.reviewed)]
    tags = ", ".join(tag.name for tag in call.tags.all())
    notes = call.notes if whole else mask_all(call.notes, call)
    known = call.data_in_order if whole else mask_all(call.data_in_order, call)
    data = json.dumps(known, ensure_ascii=False) if known else ""
    file = f"{file_name(call, whole)}.wav"
    return [call.sid or "", *numbers, *facts, *times, *lengths, *flags, tags, notes, data, file, *_measured(call)]


def _measured(call: Call) -> list[Any]:
    """Empty is unknown. What Twilio charged is negative with Twilio, and a spreadsheet would see a formula in that."""
    figures = [getattr(call, name) for name in FIGURES]
    cost = "" if call.price is None else f"{-call.price.normalize():f}"
    return [*("" if figure is None else figure for figure in figures), cost, call.price_unit]


def _yes(flag: bool) -> str:
    return "yes" if flag else ""
