"""Rows of the recorder as tests need them: complete, about the stream MZ1 of the call CA1, and literal."""

import datetime as dt
from typing import Any

from calls.media.rows import ChunkRow, EventRow, GapRow, MarkRow, StreamChange, StreamRow


START = dt.datetime(2026, 3, 14, 15, 9, 26, tzinfo=dt.UTC)
SECOND = b"\x2a" * 8000


def stream_row(sid: str = "MZ1", **facts: Any) -> StreamRow:
    return StreamRow(
        **{
            "sid": sid,
            "call_sid": sid.replace("MZ", "CA"),
            "call": {"from_number": "+15550100001"},
            "nonce": f"nonce of {sid}",
            "owner": "a process",
            "name": "",
            "tracks": ["inbound"],
            "custom_parameters": {},
            "media_format": {},
            "started_at": START,
            **facts,
        }
    )


def chunk(index: int = 0, payload: bytes = b"\x2a" * 160, *, stream: str = "MZ1", **facts: Any) -> ChunkRow:
    """The index-th of chunks that are as long as this one."""
    facts = {"stream": stream, "track": "inbound", "index": index, "start": index * len(payload), **facts}
    return ChunkRow(payload=payload, **facts)


def gap(start: int, length: int, reason: str = "timestamp", *, stream: str = "MZ1", track: str = "inbound") -> GapRow:
    return GapRow(stream, track, start, length, reason)


def mark(index: int = 0, outcome: str = "pending", **facts: Any) -> MarkRow:
    facts = {"stream": "MZ1", "name": "greeting", "sent_at": START, "position": 0, **facts}
    return MarkRow(index=index, outcome=outcome, **facts)


def event(kind: str = "cleared", **facts: Any) -> EventRow:
    facts = {"call": "CA1", "stream": "MZ1", "source": "stream", "key": kind, "occurred_at": START, **facts}
    return EventRow(kind=kind, **facts)


def ended(reason: str = "stop", *, stream: str = "MZ1", **fields: Any) -> StreamChange:
    return StreamChange(stream, {"ended_at": START + dt.timedelta(seconds=60), "end_reason": reason, **fields})
