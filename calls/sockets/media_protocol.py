"""The short way through daphne. What it uses of daphne and Autobahn stands in the table of calls/sockets/daphne.py.

Autobahn makes an object for every mask and coloured strings for log lines that nobody reads.
"""

import time
from typing import Any

from daphne.ws_protocol import WebSocketProtocol

from calls.sockets.frames import frame_size, framed, text_in


class MediaProtocol(WebSocketProtocol):
    """daphne's protocol over Autobahn, which gets what is not short."""

    def dataReceived(self, data: bytes) -> None:
        at = 0
        # `data`, `current_frame` and `inside_message` say that Autobahn is in the middle of something.
        if self.state == self.STATE_OPEN and not (self.data or self.current_frame or self.inside_message or self.muted):
            while (size := frame_size(data, at)) and (text := text_in(data[at : at + size])) is not None:
                # As onMessage does: a stream that talks is not pinged.
                self.last_ping = time.time()
                self.application_queue.put_nowait({"type": "websocket.receive", "text": text})
                at += size
        if at < len(data):
            super().dataReceived(data[at:])

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:
        frame = framed(content) if isinstance(content, str) and self.state == self.STATE_OPEN else None
        if frame is None or self.send_queue:
            super().serverSend(content, binary)  # type: ignore[no-untyped-call]
        else:
            transport: Any = self.transport
            transport.write(frame)
