"""What one stream records, in memory: frames laid where their timestamps put them, holes with their reasons, and rows.

Positions are samples on the stream's own clock, which starts at `start` as we saw it: the first frame lies at 0, every
later one as far behind it as Twilio's timestamps say (in ms since Twilio's own beginning, which is up to 0.2 s before).
Everything here runs in one thread and never waits.
"""

import datetime as dt
from typing import Any

from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE, SAMPLES_PER_MS
from calls.media.lane import Lane
from calls.media.playback import PendingMark
from calls.media.protocol import ProtocolError, Track
from calls.media.rows import AnyRow, DataRow, DtmfRow, EventRow, GapRow, MarkRow, StreamChange


# How far ahead of the wall clock a timestamp may be: a stream's length is bounded by it.
TOLERANCE = 60 * SAMPLE_RATE
# How long a hole may still be filled by frames that come late.
SETTLE = 5 * SAMPLE_RATE
# A first frame this soon after `start` is where the recording begins; later, what was missed is a hole.
FIRST_FRAME = 500 * SAMPLES_PER_MS


class Tape:
    """Everything that one stream leaves behind, until the recorder takes it."""

    __slots__ = (
        "_events",
        "_is_cut",
        "_keys",
        "_last_cleared",
        "_origin",
        "bidirectional",
        "call_sid",
        "first_timestamp",
        "frames_received",
        "inbound",
        "outbound",
        "rows",
        "sid",
    )

    def __init__(self, sid: str, call_sid: str, tracks: tuple[str, ...], *, bidirectional: bool) -> None:
        self.sid = sid
        self.call_sid = call_sid
        self.bidirectional = bidirectional
        self.inbound = Lane(sid, "inbound", is_playback="outbound" in tracks and "inbound" not in tracks)
        self.outbound = Lane(sid, "outbound", is_playback=bidirectional or "outbound" not in tracks)
        #: Rows for the next batch.
        self.rows: list[AnyRow] = []
        self.frames_received = 0
        self.first_timestamp: int | None = None
        self._origin = 0
        self._is_cut = False
        self._last_cleared = (-1, 0)
        self._keys = 0
        self._events = 0

    def media(self, track: Track, timestamp: int, audio: bytes, elapsed: int, *, lost: bool = False) -> int:
        """Lays a frame; `elapsed` is the wall clock in samples since `start`, `lost` that a sequence number is missing.

        Returns where the frame ends. ProtocolError for a timestamp that runs away from the clock.
        """
        if track == "outbound" and self.bidirectional:
            raise ProtocolError("stream", "a frame of our own audio, which a bidirectional stream does not have")
        if self.first_timestamp is None:
            self._begin(timestamp, elapsed)
        position = timestamp * SAMPLES_PER_MS - self._origin
        if position > elapsed + TOLERANCE:
            raise ProtocolError("timestamp", f"{timestamp} ms is more than a minute ahead of the clock")
        if position < 0 and not self._is_cut:
            self._begin_earlier(timestamp, -position)
            position = 0
        self.frames_received += 1
        lane = self.inbound if track == "inbound" else self.outbound
        if position == lane.end and not lane.paused:
            # What `put` does with a frame that comes in its turn, without the call.
            lane.run += audio
            lane.end = end = position + len(audio)
            return end
        lane.put(position, audio, "sequence" if lost else "timestamp")
        return position + len(audio)

    def _begin(self, timestamp: int, elapsed: int) -> None:
        first = timestamp * SAMPLES_PER_MS
        if first > elapsed + TOLERANCE:
            raise ProtocolError("timestamp", f"the first one is {timestamp} ms")
        self.first_timestamp = timestamp
        self._origin = first if elapsed <= FIRST_FRAME else first - elapsed

    def _begin_earlier(self, timestamp: int, by: int) -> None:
        """The first frame to arrive was not the first one spoken: what is there moves, if nobody has seen it yet."""
        self._origin -= by
        self.first_timestamp = timestamp
        self.inbound.shift(by)
        if not self.bidirectional:
            self.outbound.shift(by)

    def heard(self, pieces: list[tuple[int, bytes, bool]]) -> None:
        """Lays what the caller has heard of us, each piece as the recording was then: paused or not."""
        lane, now = self.outbound, self.outbound.paused
        for start, audio, paused in pieces:
            lane.set_paused(paused)
            lane.put(start, audio)
        lane.set_paused(now)

    def cleared(self, position: int, samples: int) -> None:
        """That much was thrown away unheard at that position; what was thrown away there before is added to it."""
        if position == self._last_cleared[0]:
            samples += self._last_cleared[1]
        self._last_cleared = (position, samples)
        self.rows.append(GapRow(self.sid, "outbound", position, samples, "cleared"))

    def mark(self, mark: PendingMark, sent_at: dt.datetime, outcome: str, returned_at: dt.datetime | None) -> None:
        self.rows.append(MarkRow(self.sid, mark.index, mark.name, sent_at, mark.position, outcome, returned_at))

    def key(self, digit: str, position: int) -> DtmfRow:
        row = DtmfRow(self.sid, self._keys, digit, position // SAMPLES_PER_MS)
        self.rows.append(row)
        self._keys += 1
        return row

    def mask(self, row: DtmfRow, masked: str) -> None:
        """What `key` has returned shall not be known: wherever in memory it waits, and in the database."""
        row.digit = masked
        self.rows.append(row)

    def event(self, kind: str, at: dt.datetime, **data: Any) -> None:
        """A step of the stream, for the call's timeline."""
        key = f"{self.sid}:{self._events}:{kind}"
        self.rows.append(EventRow(self.call_sid, self.sid, "stream", kind, key, at, data))
        self._events += 1

    def act(self, kind: str, at: dt.datetime, user: int | None, **data: Any) -> None:
        """Something that was done to the call from outside, and the key of who did it."""
        key = f"{self.sid}:{self._events}:{kind}"
        self.rows.append(EventRow(self.call_sid, self.sid, "control", kind, key, at, data, user=user))
        self._events += 1

    def data(self, values: dict[str, Any], at: dt.datetime) -> None:
        """What the handler has set of its call, and when: no two of a stream at the same time."""
        self.rows.append(DataRow(self.sid, values, at))

    def change(self, **fields: Any) -> None:
        """Fields of the stream's row that are different now."""
        self.rows.append(StreamChange(self.sid, fields))

    def pause(self) -> None:
        """From now on both lanes are silent, and gaps say that it was meant."""
        self.inbound.set_paused(True)
        self.outbound.set_paused(True)

    def resume(self) -> None:
        self.inbound.set_paused(False)
        self.outbound.set_paused(False)

    def cut(self, elapsed: int) -> list[AnyRow]:
        """The rows since the last time."""
        before = elapsed - SETTLE
        self._is_cut = self._is_cut or self.first_timestamp is not None
        rows, self.rows = self.rows, []
        rows += self.inbound.cut(before)
        rows += self.outbound.cut(before)
        return rows

    def close(self) -> None:
        """Nothing comes any more: both lanes are as long as the longer one, and what they lack is a hole."""
        self.inbound.explain(self.length, "timestamp")
        self.outbound.explain(self.length, "timestamp")

    def cut_all(self) -> list[AnyRow]:
        """The last rows."""
        return self.cut(self.length + SETTLE)

    @property
    def length(self) -> int:
        return max(self.inbound.end, self.outbound.end)

    @property
    def counters(self) -> dict[str, Any]:
        """The fields of the stream's row that count frames and samples."""
        lanes = [lane for lane in (self.inbound, self.outbound) if not lane.is_playback]
        return {
            "length": self.length,
            "first_timestamp": self.first_timestamp,
            "frames_received": self.frames_received,
            "frames_missing": sum(lane.samples_missing for lane in lanes) // FRAME_SAMPLES,
            "timestamp_jumps": sum(lane.jumps for lane in lanes),
            "overlap_samples": sum(lane.overlap for lane in lanes),
        }
