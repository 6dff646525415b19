"""Rows of a call's streams in order of time, on the clock of its recording."""

from typing import Any

from django.db.models import Case, F, QuerySet, Value, When
from django.db.models.expressions import Combinable

from calls.recordings.rendering import Recording


def on_timeline(rows: QuerySet[Any], recording: Recording, position: Combinable | None = None) -> QuerySet[Any]:
    """Those of the recording's streams, each with `at`: its sample on the call's timeline.

    `position` is the row's on its stream's own clock, in samples; `start` if none is given.
    """
    places = {placed.stream_id: placed.start for placed in recording.streams}
    position = F("start") if position is None else position
    offset: Any = Case(*(When(stream=stream, then=Value(place)) for stream, place in places.items()), default=Value(0))
    found: QuerySet[Any] = rows.filter(stream__in=places).annotate(at=position + offset)
    return found
