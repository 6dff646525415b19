"""For uvicorn: `--ws calls.sockets.uvicorn:MediaWebSocket`, the short way, or uvicorn's own protocol."""

import logging
import pkgutil
from typing import Any

from calls.sockets.contract import Internal, missing, warn


PROTOCOL = "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol"
# What `--ws auto` names, in every version of it.
ANY_PROTOCOL = "uvicorn.protocols.websockets.auto:AutoWebSocketsProtocol"

# All that media_web_socket.py uses.
INTERNALS = (
    Internal(PROTOCOL, "data_received", takes=("data",)),
    Internal(PROTOCOL, "connection_lost", takes=("exc",)),
    Internal(PROTOCOL, "handle_connect", takes=("event",)),
    Internal(PROTOCOL, "keepalive_timeout", takes=()),
    Internal(PROTOCOL, "send_receive_event_to_app", takes=()),
    Internal(PROTOCOL, "send", takes=("message",)),
    Internal(PROTOCOL, "shutdown", takes=()),
    Internal(PROTOCOL, "close_sent", set_by="__init__"),
    Internal(PROTOCOL, "config", set_by="__init__"),
    Internal(PROTOCOL, "conn", set_by="__init__"),
    Internal(PROTOCOL, "curr_msg_data_type", set_by="__init__"),
    Internal(PROTOCOL, "disconnected", set_by="__init__"),
    Internal(PROTOCOL, "frames", set_by="__init__"),
    Internal(PROTOCOL, "handshake_complete", set_by="__init__"),
    Internal(PROTOCOL, "handshake_initiated", set_by="__init__"),
    Internal(PROTOCOL, "queue", set_by="__init__"),
    Internal(PROTOCOL, "read_paused", set_by="__init__"),
    Internal(PROTOCOL, "transport", set_by="__init__"),
    Internal(PROTOCOL, "writable", set_by="__init__"),
    Internal(PROTOCOL, "scope", set_by="handle_connect"),
    Internal("uvicorn.config:Config", "ws_max_size", set_by="__init__"),
    Internal("websockets.protocol", "State"),
    Internal("websockets.protocol:Protocol", "state"),
    Internal("websockets.frames", "apply_mask"),
)

# uvicorn's own logger: Django has not set up ours yet when uvicorn loads this.
logger = logging.getLogger("uvicorn.error")


def choose() -> Any:
    """The class that serves WebSockets."""
    if lost := missing(INTERNALS):
        warn(logger, "uvicorn", lost, "a frame takes a quarter more of a core")
        return _its_own()
    from calls.sockets import media_web_socket

    return media_web_socket.MediaWebSocket


def _its_own() -> Any:
    try:
        return pkgutil.resolve_name(PROTOCOL)
    except (ImportError, AttributeError):
        return pkgutil.resolve_name(ANY_PROTOCOL)


MediaWebSocket = choose()
