"""A call that was played again, of the rows that it has left: what came of it, to be compared with what did before."""

from collections.abc import Iterator, Sequence
from typing import Any

from calls.media.audio import SAMPLES_PER_MS
from calls.media.rows import AnyRow, ChunkRow, DataRow, EventRow, GapRow, MarkRow, StreamChange, StreamRow, UtteranceRow
from calls.replays.measuring import Heard
from calls.replays.parts import Part, joined
from calls.replays.stored import WHO, data, told
from calls.replays.timelines import Happened, Text, Timeline
from calls.server.marks import OWN_MARK


def read(rows: Sequence[AnyRow], heard: Heard, part: Part, heard_instead: bytes = b"") -> Timeline:
    """Of its first stream, whose caller is `part`; empty if there is none.

    `heard_instead` is what the caller heard by their own account, for a handler that is not recorded.
    """
    stream = next((row for row in rows if isinstance(row, StreamRow) and row.bidirectional), None)
    if stream is None:
        return Timeline(events=(Happened(0, "end", "us"),))
    left = _Left(stream.sid, rows)
    return heard.timeline(left.lane(heard_instead), left.events(part), left.texts())


class _Left:
    """What one stream has left."""

    def __init__(self, sid: str, rows: Sequence[AnyRow]) -> None:
        self._rows = [row for row in rows if getattr(row, "stream", "") == sid]
        fields = [row.fields for row in self._rows if isinstance(row, StreamChange)]
        # What was said last of a field counts.
        self._stream: dict[str, Any] = {name: value for one in fields for name, value in one.items()}
        self.length = int(self._stream.get("length", 0))

    def lane(self, heard_instead: bytes) -> bytes:
        """What the caller heard of us, as long as the stream was."""
        if any(isinstance(row, GapRow) and row.reason == "paused" for row in self._rows):
            return heard_instead[: self.length].ljust(self.length, b"\xff")
        runs = [row for row in self._rows if isinstance(row, ChunkRow) and row.track == "outbound"]
        pieces = joined((row.start, row.payload) for row in sorted(runs, key=lambda row: row.start))
        return Part(pieces, (), self.length, leaves=False).lane

    def texts(self) -> Iterator[Text]:
        for row in self._rows:
            if isinstance(row, UtteranceRow):
                start, end = row.start // SAMPLES_PER_MS, (row.start + row.length) // SAMPLES_PER_MS
                yield Text("caller" if row.track == "inbound" else "us", start, end, row.text)

    def events(self, part: Part) -> Iterator[Happened]:
        end = self.length // SAMPLES_PER_MS
        # The caller has pressed them as before, whether or not this handler keeps them secret.
        yield from (Happened(key.at_ms, "key", key.digit) for key in part.keys if key.at_ms < end)
        marks = {row.index: row for row in self._rows if isinstance(row, MarkRow)}
        for mark in marks.values():
            # Those are of `play` itself, and as many as its code wants.
            if not mark.name.startswith(OWN_MARK):
                yield Happened(mark.position // SAMPLES_PER_MS, "mark", mark.name, mark.outcome)
        cleared = {row.start: row for row in self._rows if isinstance(row, GapRow) and row.reason == "cleared"}
        for gap in cleared.values():
            yield Happened(gap.start // SAMPLES_PER_MS, "clear", length_ms=gap.length // SAMPLES_PER_MS)
        yield from told(((row.kind, row.data) for row in self._rows if isinstance(row, EventRow)), end)
        values = {name: value for row in self._rows if isinstance(row, DataRow) for name, value in row.values.items()}
        yield from (data(name, value, end) for name, value in values.items())
        yield Happened(end, "end", WHO.get(self._stream.get("end_reason", ""), "caller"))
