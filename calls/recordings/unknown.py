"""What nobody knows of a recording: whether somebody spoke where it has no audio."""

from django.db.models import QuerySet

from calls.media.conversation import common, joined, without
from calls.media.turns import Span
from calls.models import Gap
from calls.recordings.rendering import Recording


LOST = [Gap.Reason.SEQUENCE, Gap.Reason.CRASH, Gap.Reason.OVER_CAP, Gap.Reason.REJECTED]


def unknown(recording: Recording) -> list[Span]:
    """Without a stream, lost, or not recorded on purpose, on the call's timeline. What another stream has is known.

    Where Twilio sent nothing, nobody spoke: phones that suppress silence send none. Two queries.
    """
    gaps = Gap.objects.filter(stream__in=[placed.stream_id for placed in recording.streams])
    lost, paused = (_spans(recording, gaps.filter(reason__in=why)) for why in (LOST, [Gap.Reason.PAUSED]))
    known: list[Span] = []
    for placed in recording.streams:
        known += without([Span(placed.start, placed.stop)], joined(lost.get(placed.stream_id, []), 0))
    whole = [Span(0, recording.samples)]
    never = joined((span for spans in paused.values() for span in spans), 0)
    return joined([*without(whole, joined(known, 0)), *common(whole, never)], 0)


def _spans(recording: Recording, gaps: QuerySet[Gap]) -> dict[int, list[Span]]:
    """Of each stream."""
    places = {placed.stream_id: placed.start for placed in recording.streams}
    found: dict[int, list[Span]] = {}
    for stream_id, start, length in gaps.values_list("stream_id", "start", "length"):
        at = places[stream_id] + start
        found.setdefault(stream_id, []).append(Span(at, at + length))
    return found
