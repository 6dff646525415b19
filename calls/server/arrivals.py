"""The caller's audio on its way from the message to the tape, the ear and the inbox. All that a frame needs is here."""

import time
from typing import TYPE_CHECKING

from calls.media.playback import StreamClock
from calls.media.protocol import Media, ProtocolError, StreamProtocol
from calls.media.tape import Tape
from calls.server.inbox import Inbox


if TYPE_CHECKING:
    from calls.server.ear import Ear


class Arrivals:
    """One stream's. Nothing here waits."""

    # calls/quick reads and writes these, and those of protocol, tape, lane, clock, inbox and playback.
    __slots__ = ("clock", "ear", "gaps_seen", "inbox", "lane", "protocol", "tape")

    def __init__(self, protocol: StreamProtocol, tape: Tape, clock: StreamClock, inbox: Inbox) -> None:
        self.protocol = protocol
        self.tape = tape
        self.lane = tape.inbound
        self.clock = clock
        self.inbox = inbox
        #: What listens to the caller; None while nobody wants to know whether they speak.
        self.ear: Ear | None = None
        self.gaps_seen = 0

    def take(self, media: Media) -> None:
        """A frame that the protocol has let through. ProtocolError, already counted, for a wild timestamp."""
        at = time.monotonic()
        protocol, clock = self.protocol, self.clock
        lost = protocol.sequence_gaps != self.gaps_seen
        try:
            end = self.tape.media(media.track, media.timestamp, media.payload, clock.elapsed(at), lost=lost)
        except ProtocolError as error:
            protocol.reject(error)
            raise
        if lost:
            self.gaps_seen = protocol.sequence_gaps
        if media.track == "inbound":
            clock.arrived(end, at)
        if self.ear is not None:
            self.ear.hear(end, media)
        self.inbox.put_media(media)
