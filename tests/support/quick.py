"""Streams whose frames take the quick way (calls/quick): over its path alone, without a server."""

import os
from contextlib import suppress

import pytest

from calls import quick
from calls.sockets.frames import frame_size
from tests.support.line import MEDIA
from tests.support.masking import masked, unmasked
from tests.support.phone import STREAM, Phone


IS_REQUIRED = os.environ.get("REQUIRE_QUICK") == "1"
# 160 bytes of µ-law, and what Twilio makes of them.
FRAME, PAYLOAD = b"\xff\x7f\x7e" * 53 + b"\xff", "/39+" * 53 + "/w=="


def need_build():
    """Skips the module where calls/quick is not built, unless it has to be."""
    if quick.path is None and not IS_REQUIRED:
        pytest.skip("calls/quick is not built here: python scripts/quick.py", allow_module_level=True)
    assert quick.path is not None, "calls/quick is not built"


class QuickPhone(Phone):
    """What the caller does goes through C, as far as that takes it; the rest is in `left`, and goes to the stream."""

    def __init__(self, number=-1, **facts):
        """`number` is that of a socket to Twilio."""
        super().__init__(**facts)
        self.left = []
        #: How much waits in the transport, and what was given to it.
        self.waiting, self.written = 0, []
        self.live.path.open(number, lambda: self.waiting, self.written.append, self._receive)

    def _receive(self, data):
        self.left.append(data)
        while data:
            size = frame_size(data)
            head = {126: 8, 127: 14}.get(data[1] & 0x7F, 6)
            self.live.receive(unmasked(data[head:size]).decode())
            data = data[size:]

    @classmethod
    def talking(cls, number=-1, **facts):
        """The first frame of a stream is Python's; this one has had it."""
        phone = cls(number, **facts)
        phone.say()
        phone.stream.skip()
        return phone

    def media(self, *, at=None, payload=PAYLOAD, track="inbound"):
        """The next frame of the caller's, as it lies on the wire."""
        self.number += 1
        values = {"number": self.number, "stream": STREAM, "track": track, "chunk": 1, "payload": payload}
        return masked((MEDIA % {**values, "timestamp": 20 * (self.number - 1) if at is None else at}).encode())

    def hear(self, frames=None):
        """A frame arrives, or these do."""
        self.live.path.data_received(self.media() if frames is None else frames)


class Beside(QuickPhone):
    """What C leaves goes nowhere: whoever looks at it decides."""

    def _receive(self, data):
        self.left.append(data)


def books(live):
    """All that a stream knows of what came, but for what the clock says."""
    protocol, tape = live.protocol, live.tape
    lanes = [
        (
            *(bytes(lane.run), [(start, bytes(audio)) for start, audio in lane.runs]),
            *(lane.end, lane.holes, lane.settled, lane.jumps, lane.overlap, lane.missing, lane.paused),
        )
        for lane in (tape.inbound, tape.outbound)
    ]
    return {
        **{name: getattr(protocol, name) for name in protocol.__slots__},
        **{name: getattr(tape, name) for name in ("frames_received", "first_timestamp", "_origin")},
        "rows": len(tape.rows),
        "lanes": lanes,
        "events": list(live.inbox._events),
        "inbox": (live.inbox._media_queued, live.inbox.overruns, live.inbox._readers),
        "gaps": live.arrivals.gaps_seen,
        "unknown marks": live.unknown_marks,
    }


def in_python(live, text):
    """What a server does with a text that does not take the quick way."""
    # The library closes the socket for anything else.
    with suppress(UnicodeDecodeError):
        live.receive(text.decode())
