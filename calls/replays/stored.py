"""A call as it was recorded: what its caller did, to be played again, and what came of it, to be compared with."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from calls import store, vault
from calls.media.audio import SAMPLE_RATE, SAMPLES_PER_MS
from calls.media.rows import MASKED
from calls.models import Call, CallEvent, Erasure, Gap, Stream, Track
from calls.replays.measuring import Heard
from calls.replays.parts import Key, Part, joined
from calls.replays.timelines import Happened, Text, Timeline
from calls.server.marks import OWN_MARK


# What the handler had heard and the recording has not. What was lost on its way to us, the handler never had either.
LOST = (Gap.Reason.PAUSED, Gap.Reason.CRASH, Gap.Reason.OVER_CAP)
# Ends that nobody wanted: what would have come then is not known.
BROKEN = (Stream.EndReason.DISCONNECT, Stream.EndReason.SHUTDOWN, Stream.EndReason.INTERRUPTED)
# Ends that are our doing: the caller would have stayed.
WHO: dict[str, str] = {Stream.EndReason.HANDLER: "us", Stream.EndReason.ERROR: "us", Stream.EndReason.DIAL: "dial"}


class Unplayable(Exception):
    """This call cannot be played again; says why."""


@dataclass(frozen=True)
class Stored:
    """What one stream of a call was like; read while a recording is looked at, so that it is heard once."""

    part: Part
    timeline: Timeline
    heard: Heard


@dataclass(frozen=True)
class Playable:
    """A call whose caller can be played again, on its first stream on which it spoke with a handler."""

    call: Call
    stream: Stream
    remark: str
    """What of the call is not played, in words."""

    @classmethod
    def of(cls, call: Call) -> Self:
        """Unplayable if not all is known of what its caller did. Reads no audio."""
        stream = _stream(call)
        _check(call, stream)
        return cls(call, stream, _remark(call, stream))

    @property
    def until_ms(self) -> int | None:
        """Up to where it can be compared: how it would have gone on is not known. None if to its end."""
        return self.stream.length // SAMPLES_PER_MS if self.stream.end_reason in BROKEN else None

    def read(self) -> Stored:
        """Unplayable if its audio cannot be opened; ArchiveError while an archive that has it cannot be read."""
        stream = self.stream
        try:
            caller, our = (_lane(stream, track) for track in (Track.INBOUND, Track.OUTBOUND))
        except vault.Unreadable as error:
            raise Unplayable(f"its audio is sealed: {error}") from error
        keys = tuple(Key(key.timestamp_ms, key.digit) for key in stream.dtmf.all())
        part = Part(caller, keys, stream.length, leaves=stream.end_reason not in WHO)
        heard = Heard.of(part.lane)
        lane = Part(our, (), stream.length, leaves=False).lane
        return Stored(part, heard.timeline(lane, _events(self.call, stream), _texts(stream)), heard)


def _stream(call: Call) -> Stream:
    if call.ended_at is None:
        raise Unplayable("it is not over yet")
    stream = call.streams.filter(bidirectional=True).first()
    if stream is None:
        raise Unplayable("no handler spoke in it" if call.streams.exists() else "it had no stream")
    return stream


def _check(call: Call, stream: Stream) -> None:
    if Erasure.objects.filter(call_sid=call.sid or "", call_sid__gt="").exists():
        raise Unplayable("its audio was erased")
    if not stream.chunks.exists() and not stream.gaps.filter(reason=Gap.Reason.TIMESTAMP).exists():
        raise Unplayable("nothing of it was recorded")
    gaps = stream.gaps.filter(track=Track.INBOUND, reason__in=LOST).order_by("start")
    if (gap := gaps.first()) is not None:
        raise Unplayable(
            f"{gap.length / SAMPLE_RATE:.1f} s of its caller are not recorded from "
            f"{gap.start / SAMPLE_RATE:.1f} s on ({gap.get_reason_display()})"
        )
    if stream.dtmf.filter(digit=MASKED).exists():
        raise Unplayable(f"some of its keys were secret, and are stored as {MASKED}")
    acts = stream.events.filter(source=CallEvent.Source.CONTROL)
    if (act := acts.first()) is not None:
        raise Unplayable(f"somebody stepped in ({act.kind})")


def _remark(call: Call, stream: Stream) -> str:
    end = f"{stream.length / SAMPLE_RATE:.1f} s"
    if stream.end_reason == Stream.EndReason.DIAL:
        return f"played until another number was dialled, after {end}"
    if stream.end_reason in BROKEN:
        return f"played until its stream broke, after {end} ({stream.get_end_reason_display()})"
    later = call.streams.filter(bidirectional=True).count() - 1
    return f"{later} more of its streams are not played" if later else ""


def _lane(stream: Stream, track: str) -> list[tuple[int, bytes]]:
    chunks = stream.chunks.filter(track=track).order_by("start")
    return joined((piece.start, piece.audio) for piece in store.pieces(chunks))


def _texts(stream: Stream) -> Iterator[Text]:
    for row in stream.utterances.all():
        start, end = row.start // SAMPLES_PER_MS, (row.start + row.length) // SAMPLES_PER_MS
        yield Text("caller" if row.track == Track.INBOUND else "us", start, end, row.text)


def _events(call: Call, stream: Stream) -> Iterator[Happened]:
    end = stream.length // SAMPLES_PER_MS
    for key in stream.dtmf.all():
        yield Happened(key.timestamp_ms, "key", key.digit)
    for mark in stream.marks.exclude(name__startswith=OWN_MARK):
        yield Happened(mark.position // SAMPLES_PER_MS, "mark", mark.name, mark.outcome)
    for gap in stream.gaps.filter(reason=Gap.Reason.CLEARED):
        yield Happened(gap.start // SAMPLES_PER_MS, "clear", length_ms=gap.length // SAMPLES_PER_MS)
    yield from told(stream.events.values_list("kind", "data"), end)
    yield from (data(name, value, end) for name, value in call.data_in_order.items())
    yield Happened(end, "end", WHO.get(stream.end_reason, "caller"))


def told(events: Iterable[tuple[str, dict[str, Any]]], end_ms: int) -> Iterator[Happened]:
    """What a handler has done, of the events (kind, data) of its stream; it ended that by a dial and by a failure."""
    for kind, facts in events:
        match kind:
            case "note":
                yield Happened(int(facts.get("position", 0)) // SAMPLES_PER_MS, "note", str(facts.get("text", "")))
            case "dialled":
                yield Happened(end_ms, "dial", str(facts.get("number", "")))
            case "handler-failed":
                yield Happened(end_ms, "failure", str(facts.get("error", "")))


def data(name: str, value: object, at_ms: int) -> Happened:
    """What the handler has set by that name in the end; when is nobody's business."""
    return Happened(at_ms, "data", name, json.dumps(value, sort_keys=True, ensure_ascii=False))
