"""What was said in a call, read back in order of time on the recording's own clock."""

from collections.abc import Iterator
from dataclasses import dataclass

from calls.media.audio import SAMPLE_RATE
from calls.models import Call, Track, Utterance
from calls.recordings.rendering import Recording
from calls.recordings.timeline import on_timeline


# Lines that are read at once: of a call of two hours there are some thousands.
PAGE = 500


@dataclass(frozen=True)
class Line:
    """What one side said between two pauses; positions in samples on the call's timeline."""

    key: int
    stream_id: int
    at: int
    end: int
    track: str
    text: str
    words: tuple[tuple[str, int], ...]
    """Each with where it begins; none if the transcriber gave none."""


def page(recording: Recording, start: int = 0, most: int = PAGE) -> tuple[list[Line], int | None]:
    """About `most` lines from `start` on, and where the next page begins, if there is one. One query."""
    places = {placed.stream_id: placed.start for placed in recording.streams}
    if not places:
        return [], None
    rows = on_timeline(Utterance.objects.all(), recording)
    ordered = rows.filter(at__gte=start).order_by("at", "track", "pk")[: most + 1]
    found = [_line(row, places[row.stream_id]) for row in ordered]
    following = found[most].at if len(found) > most and found[most].at > start else None
    shown = [line for line in found if following is None or line.at < following]
    return [line for line in shown if recording.is_heard(line.stream_id, line.at)], following


def lines(recording: Recording) -> Iterator[Line]:
    """All of them, a page at a time."""
    start: int | None = 0
    while start is not None:
        found, start = page(recording, start)
        yield from found


def text(call: Call, recording: Recording) -> Iterator[str]:
    """The words as a text to read, a line each: when, who, what."""
    whose = {Track.INBOUND: "Caller" if call.direction == "inbound" else "Called", Track.OUTBOUND: "Us"}
    for line in lines(recording):
        minutes, seconds = divmod(line.at * 10 // SAMPLE_RATE, 600)
        yield f"{minutes}:{seconds // 10:02}.{seconds % 10}  {whose[Track(line.track)] + ':':<7} {line.text}\n"


def _line(row: Utterance, place: int) -> Line:
    words = tuple((str(word), place + start) for word, start, _ in row.words)
    at = place + row.start
    return Line(row.pk, row.stream_id, at, at + row.length, row.track, row.text, words)
