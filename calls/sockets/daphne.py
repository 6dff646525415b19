"""For daphne, which has no option for it: `install()` puts our protocol in the place of its own, if it can."""

import logging
import sys

from calls.sockets.contract import Internal, missing, warn


# With Autobahn's classes below it.
PROTOCOL = "daphne.ws_protocol:WebSocketProtocol"
# All that media_protocol.py uses.
INTERNALS = (
    Internal("daphne.ws_protocol:WebSocketFactory", "protocol"),
    Internal(PROTOCOL, "dataReceived", takes=("data",)),
    Internal(PROTOCOL, "serverSend", takes=("content", "binary")),
    Internal(PROTOCOL, "STATE_OPEN"),
    Internal(PROTOCOL, "muted"),
    Internal(PROTOCOL, "data", set_by="_connectionMade"),
    Internal(PROTOCOL, "send_queue", set_by="_connectionMade"),
    Internal(PROTOCOL, "state", set_by="_connectionMade"),
    Internal(PROTOCOL, "last_ping", set_by="onConnect"),
    Internal(PROTOCOL, "application_queue", set_by="applicationCreateWorked"),
    Internal(PROTOCOL, "current_frame", set_by="succeedHandshake"),
    Internal(PROTOCOL, "inside_message", set_by="succeedHandshake"),
    Internal("twisted.internet.protocol:BaseProtocol", "transport"),
    Internal("websockets.frames", "apply_mask"),
)

logger = logging.getLogger(__name__)


def install() -> None:
    if not (lost := missing(INTERNALS)):
        from daphne.ws_protocol import WebSocketFactory

        from calls.sockets.media_protocol import MediaProtocol

        WebSocketFactory.protocol = MediaProtocol
    # Whoever serves with uvicorn need not know.
    elif "uvicorn" not in sys.modules:
        warn(logger, "daphne", lost, "a frame takes half as much again of a core")
