"""The time in which a call had no stream: a `no_stream` gap after the stream that was the last one to listen.

Between two streams of a call it always counts. After the last one it counts until the call's end if that stream was
lost (a drain, a crash, a broken socket) while the call went on, as a <Dial> does: the gap's reason is true either way.
So it is where the handler had its caller dial another number, and they did not come back.
"""

import datetime as dt
from collections.abc import Iterable, Sequence

from calls.media import placement
from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE
from calls.models import Call, CallEvent, Gap, Stream


# How a stream ends that has not heard the end of its conversation.
LOST = (Stream.EndReason.SHUTDOWN, Stream.EndReason.INTERRUPTED, Stream.EndReason.DISCONNECT)
# A socket that closes without `stop` this shortly before its call ends has closed because of that.
SAME_END = 2 * SAMPLE_RATE
# Handing a call to another worker takes less than this, which is no reason for a warning.
WORTH_A_WARNING = 1 * SAMPLE_RATE


def explain(call: Call, *, using: str) -> list[Stream]:
    """Makes gaps of the time without a stream, as it is known by now, and returns the call's streams. It is locked."""
    streams = list(Stream.objects.using(using).filter(call=call))
    wanted = expected(call, streams)
    for stream in streams:
        if stream.absent != wanted.get(stream.pk, 0):
            stream.absent = wanted.get(stream.pk, 0)
            stream.save(using=using, update_fields=["absent"])
    _write(streams, using)
    return streams


def _write(streams: Iterable[Stream], using: str) -> None:
    gaps = Gap.objects.using(using).filter(stream__in=streams, reason=Gap.Reason.NO_STREAM)
    known = set(gaps.values_list("stream_id", "track", "start", "length"))
    wanted = {
        (stream.pk, track, stream.length, stream.absent)
        for stream in streams
        if stream.absent
        for track in placement.tiled(stream.tracks)
    }
    if known != wanted:
        gaps.delete()
        Gap.objects.using(using).bulk_create(
            Gap(stream_id=key, track=track, start=start, length=length, reason=Gap.Reason.NO_STREAM)
            for key, track, start, length in sorted(wanted)
        )


def expected(call: Call, streams: Sequence[Stream]) -> dict[int, int]:
    """How many samples without a stream follow which of a call's streams."""
    placed = placement.place(stream.spell() for stream in streams)
    if not placed:
        return {}
    by_key = {stream.pk: stream for stream in streams}
    last = by_key[max(placed, key=lambda stream: stream.stop).stream_id]
    origin = min(stream.started_at for stream in streams)
    found = placement.absences(placed, _end(call, last, origin))
    if last.end_reason == Stream.EndReason.DISCONNECT and found.get(last.pk, 0) <= SAME_END:
        found.pop(last.pk, None)
    # One that runs is longer than its row says.
    return {key: length for key, length in found.items() if length >= FRAME_SAMPLES and by_key[key].ended_at}


def _end(call: Call, last: Stream, origin: dt.datetime) -> int | None:
    """Until when a call went on after a stream that was lost; None if it did not, or nobody knows."""
    if call.ended_at is None or last.end_reason not in (*LOST, Stream.EndReason.DIAL):
        return None
    guessed = CallEvent.objects.using(call._state.db).filter(call=call.pk, kind="presumed-over").exists()
    return None if guessed else placement.samples(origin, call.ended_at)


def is_worth_a_warning(stream: Stream) -> bool:
    """Whether a part of the conversation went unheard that somebody may look for."""
    return stream.absent >= WORTH_A_WARNING and stream.end_reason in LOST
