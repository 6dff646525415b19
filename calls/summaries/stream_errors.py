"""Twilio's codes for errors of a stream, in plain words, and which of them a callback means."""

import re
from typing import Literal, NamedTuple


class StreamError(NamedTuple):
    """One of Twilio's codes (https://www.twilio.com/docs/api/errors): its name there, and the same in plain words."""

    name: str
    stage: Literal["open", "broken", "warned"]
    meaning: str
    advice: str


_REPORT = "That is a fault of this server: report it, with the log of that moment."
STREAM_ERRORS = {
    31900: StreamError(
        "unknown error", "open", "Twilio does not know why", "Twilio's debugger and the server's log may know more."
    ),
    31901: StreamError(
        *("connection timeout", "open", "our server did not answer in time"),
        "Check that PUBLIC_URL leads to this server, and that the proxy lets WebSockets through.",
    ),
    31902: StreamError(
        *("connection refused", "open", "nothing listens at our address"),
        "Check that the server and its proxy are running, and that PUBLIC_URL names the right port.",
    ),
    31903: StreamError(
        *("broken pipe", "broken", "the connection to our server broke off"),
        "A restart does that, or a proxy that ends what is quiet or old: look at both, at that moment.",
    ),
    31904: StreamError(
        *("unreachable", "open", "our server could not be reached"),
        "Check the host name in PUBLIC_URL, its DNS entry, and the firewall.",
    ),
    31910: StreamError(
        *("tls error", "open", "no secure connection could be made to our server"),
        "Check the certificate at PUBLIC_URL: in date, for that name, and with its whole chain.",
    ),
    31920: StreamError(
        *("handshake error", "open", "our server answered the handshake with something else than 101"),
        "Check PUBLIC_URL, and that the proxy passes WebSockets on to /connection; a 403 in the server's log is a "
        "signature that does not fit.",
    ),
    31921: StreamError(
        "close error", "broken", "our server closed the connection", "The server's log of that moment says why."
    ),
    31922: StreamError(
        "scheme", "open", "the stream's address does not begin with wss://", "PUBLIC_URL has to begin with https://."
    ),
    31923: StreamError("malformed url", "open", "the stream's address is not a URL", "Check PUBLIC_URL."),
    31924: StreamError(
        *("protocol error", "broken", "what came from our server is not WebSocket"),
        "A proxy that changes what it passes on does that; a stream that only listens must be sent nothing.",
    ),
    31930: StreamError(
        *(
            "buffer overflow",
            "warned",
            "some of the caller's audio was thrown away, because our server read too slowly",
        ),
        "The worker had too much to do: start more of them, or lower MAX_STREAMS.",
    ),
    31931: StreamError(
        *("media discarded", "warned", "some of what we played was thrown away: more than 10 minutes were waiting"),
        "The handler has to send less ahead.",
    ),
    31940: StreamError("connector", "open", "the <Stream>'s connector is not right", "Check the handler's TwiML."),
    31941: StreamError(
        *("track", "open", "the <Stream>'s track does not exist"),
        "A <Connect> knows only inbound_track; check the TwiML.",
    ),
    31942: StreamError("connector", "open", "the <Stream>'s connector is not right", "Check the handler's TwiML."),
    31950: StreamError("malformed message", "warned", "a message of ours could not be read, and was left out", _REPORT),
    31951: StreamError("invalid message", "warned", "a message of ours was wrong, and was left out", _REPORT),
    31953: StreamError(
        "rtp timeout",
        "warned",
        "no audio came from the phone network",
        "The line fell silent: nothing to do here.",
    ),
}
_CODE = re.compile(r"(?<!\d)31\d{3}(?!\d)")


def stream_error_code(text: str) -> int | None:
    """The code of a StreamError, which may hold its number, its name, or a sentence with either in it."""
    if number := _CODE.search(text):
        return int(number[0])
    said = text.lower()
    return next((code for code, error in STREAM_ERRORS.items() if error.name in said), None)
