"""What was recorded of calls that were placed to a server process, beside what their callers said and heard."""

import io
import itertools
from dataclasses import dataclass
from typing import Any

from django.core.management import CommandError, call_command
from django.db.models import F, Max, Min

from calls import store
from calls.media.audio import SILENCE
from calls.models import Gap, Stream
from simulator import Report
from tests.support.servers import until


def lane(stream: Stream, track: str) -> bytes:
    """A track of a stream as it is stored: gaps are silence."""
    end = stream.chunks.filter(track=track).aggregate(end=Max(F("start") + F("length")))["end"] or 0
    audio = bytearray(SILENCE * end)
    for piece in store.pieces(stream.chunks.filter(track=track)):
        audio[piece.start : piece.start + len(piece.audio)] = piece.audio
    return bytes(audio)


@dataclass(frozen=True)
class Loss:
    """What a recording lacks, in ms of the worst stream: holes inside it, and what was sent after its end."""

    holes: int = 0
    tail: int = 0

    def __or__(self, other: "Loss") -> "Loss":
        return Loss(max(self.holes, other.holes), max(self.tail, other.tail))


def loss(reports: list[Report]) -> Loss:
    """Compares what the callers said with what is stored of it; what is stored has to be it, sample for sample."""
    worst = Loss()
    for said in (stream for report in reports for stream in report.streams):
        stored = Stream.objects.filter(sid=said.sid).first()
        audio = lane(stored, "inbound")[_begin(stored) :] if stored else b""
        assert len(audio) <= len(said.sent), f"{said.sid}: more is stored than was said"
        wrong = sum(1 for a, b in zip(audio, said.sent, strict=False) if a != b)
        worst |= Loss(wrong // 8, (len(said.sent) - len(audio)) // 8)
    return worst


def _begin(stream: Stream) -> int:
    """Where the caller's audio begins: after a gap, if the first frame came late."""
    return stream.chunks.filter(track="inbound").aggregate(start=Min("start"))["start"] or 0


def echo_delay(report: Report) -> int:
    """How late an echo was at its worst, in ms, by the caller's own ears."""
    worst = at = 0
    for position, audio in report.heard:
        worst = max(worst, position - at)
        at += len(audio)
    return worst // 8


def worst_silence() -> float:
    """Seconds between a call's last sample on one stream and its next stream, of all calls that were reconnected."""
    worst = 0.0
    for _, streams in itertools.groupby(Stream.objects.order_by("call", "started_at"), lambda stream: stream.call_id):
        for one, two in itertools.pairwise(streams):
            between = (two.started_at - one.started_at).total_seconds() - len(lane(one, "inbound")) / 8000
            worst = max(worst, between)
    return worst


def stored_to_the_end(reports: list[Report]) -> None:
    """Waits until the last frame of these calls is stored: the recorder is done a moment after the caller."""
    sids = [sid for report in reports for sid in report.stream_sids]
    ended = Stream.objects.filter(sid__in=sids, ended_at__isnull=False)
    until(lambda: ended.count() == len(sids), "every stream to be stored to its end")


def verify() -> None:
    """Every stream has ended, and of each one every sample is stored or explained."""
    live = list(Stream.objects.live().values_list("sid", flat=True))
    assert live == [], "streams without an end"
    output = io.StringIO()
    try:
        call_command("verify_calls", all=True, stdout=output, stderr=output)
    except CommandError as error:
        raise AssertionError(f"{error}\n{output.getvalue()}") from None


def gaps(**facts: Any) -> list[tuple[str, str, int]]:
    """(track, reason, ms) of every gap but those of a clear."""
    found = Gap.objects.filter(**facts).exclude(reason="cleared").order_by("stream", "start")
    return [(track, reason, length // 8) for track, reason, length in found.values_list("track", "reason", "length")]
