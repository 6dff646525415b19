"""Who spoke when in a call, read back on the recording's own clock."""

from calls.media.conversation import Said, Speaker
from calls.models import Turn
from calls.recordings.rendering import Recording
from calls.recordings.timeline import on_timeline


# Turns that are read at most: somebody who says "yes" every four seconds makes them in eleven hours.
MOST = 10_000


def turns(recording: Recording, most: int = MOST) -> tuple[list[Said], bool]:
    """In order of time, in samples of the call's timeline; and whether there are more than that. One query."""
    rows = on_timeline(Turn.objects.all(), recording).order_by("at", "speaker", "pk")
    found = list(rows[: most + 1]) if recording.streams else []
    return [_said(row) for row in found[:most] if recording.is_heard(row.stream_id, row.at)], len(found) > most


def interruptions(recording: Recording) -> int:
    """How often the other side spoke into what we said. One query."""
    rows = on_timeline(Turn.objects.filter(speaker=Turn.Speaker.US, interrupted=True), recording)
    places = rows.values_list("stream_id", "at")[:MOST] if recording.streams else []
    return sum(recording.is_heard(stream, at) for stream, at in places)


def _said(row: Turn) -> Said:
    speaker: Speaker = "caller" if row.speaker == Turn.Speaker.CALLER else "us"
    at: int = row.at  # type: ignore[attr-defined]  # by `on_timeline`
    return Said(speaker, at, at + row.length, row.response_ms, row.interrupted, row.talked_on_ms)
