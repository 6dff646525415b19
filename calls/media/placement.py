"""Where the streams of a call lie on its timeline, and when there was none.

The timeline's origin is the start of the call's first stream; positions are samples at 8000 a second. A stream lies
where it began on the call's clock, even over another one: a `<Start>` stream and a `<Connect>` stream run at once.
Streams that can only follow each other (all `<Connect>` ones, and `<Start>` ones of one name) never lie over each
other: where they seem to, two hosts' clocks differ, or a crash is taken for longer than it was.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calls.media.audio import SAMPLE_RATE


@dataclass(frozen=True)
class Spell:
    """A stream as far as placing it needs to know."""

    stream_id: int
    line: str
    """Of two streams on one line, the later one has taken the earlier one's place."""
    started_at: dt.datetime
    length: int
    absent: int = 0
    """For how long after its end the call had no stream."""


@dataclass(frozen=True)
class Placed:
    """A stream on the call's timeline, in samples."""

    stream_id: int
    start: int
    length: int
    absent: int = 0

    @property
    def stop(self) -> int:
        return self.start + self.length

    @property
    def end(self) -> int:
        """Where what is known of it ends, including the time without a stream after it."""
        return self.stop + self.absent


def line(name: str, *, bidirectional: bool) -> str:
    """One call has one `<Connect>` stream at a time, and one `<Start>` stream of each name
    (https://www.twilio.com/docs/voice/twiml/stream)."""
    return "" if bidirectional else f"start:{name}"


def place(spells: Iterable[Spell]) -> tuple[Placed, ...]:
    """The streams in the order in which they began."""
    ordered = sorted(spells, key=lambda spell: (spell.started_at, spell.stream_id))
    ends: dict[str, int] = {}
    placed = []
    for spell in ordered:
        offset = samples(ordered[0].started_at, spell.started_at)
        found = Placed(spell.stream_id, max(offset, ends.get(spell.line, 0)), spell.length, spell.absent)
        ends[spell.line] = found.stop
        placed.append(found)
    return tuple(placed)


def tiled(tracks: Sequence[str]) -> list[str]:
    """The lanes of a stream that chunks and gaps fill without a hole; of playback only what was heard is kept."""
    return [track for track in ("inbound", "outbound") if track in tracks] or ["inbound"]


def samples(origin: dt.datetime, moment: dt.datetime) -> int:
    """A moment on a timeline with that origin; what happened before it is negative."""
    return round((moment - origin).total_seconds() * SAMPLE_RATE)


def end(placed: Iterable[Placed]) -> int:
    """How long the timeline is."""
    return max((stream.end for stream in placed), default=0)


def absences(placed: Iterable[Placed], until: int | None = None) -> dict[int, int]:
    """How long nobody listened after a stream's end, by the stream that was the last one to listen.

    Up to the next stream, and after the last one up to `until`, if that is known.
    """
    found: dict[int, int] = {}
    last: Placed | None = None
    for stream in placed:
        if last is not None and stream.start > last.stop:
            found[last.stream_id] = stream.start - last.stop
        if last is None or stream.stop > last.stop:
            last = stream
    if last is not None and until is not None and until > last.stop:
        found[last.stream_id] = until - last.stop
    return found
