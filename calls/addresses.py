"""Our own addresses: each path once, and what Twilio, browsers and signatures make of it with PUBLIC_URL.

A path is written as Django's urls have it, without the slash before it. deploy/Caddyfile names some of them too.
"""

from urllib.parse import quote, urlencode, urlsplit

from django.conf import settings


# What Twilio requests ...
INCOMING, STREAM_ENDED = "incoming", "stream-ended"
CALL_STATUS, STREAM_STATUS = "call-status", "stream-status"
WEBHOOKS = (INCOMING, STREAM_ENDED, CALL_STATUS, STREAM_STATUS)
# ... and where it opens the socket.
CONNECTION = "connection"
# A process lives; it takes new calls.
HEALTH, READINESS = "healthz", "healthz/ready"
# What it counts.
METRICS = "metrics"
# The staff's pages, and the sockets of those of running calls.
ADMIN = "admin/"
LIVE_CALLS = "live/calls"
# What programs read.
API = "api/"
API_DOCS = f"{API}v1/docs"

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def absolute(path: str, **query: object) -> str:
    """A path of ours as others reach it, its query escaped. It may begin with a slash, as `reverse` has it."""
    return f"{settings.PUBLIC_URL}/{path.removeprefix('/')}" + (f"?{urlencode(query)}" if query else "")


def incoming(handler: str = "") -> str:
    """The path of a handler's voice webhook, of the default one's if it is not named."""
    return f"{INCOMING}/{quote(handler)}" if handler else INCOMING


def socket_origin() -> str:
    """wss for an https origin (Twilio accepts nothing else), ws on loopback."""
    return f"ws{settings.PUBLIC_URL.removeprefix('http')}"


def socket() -> str:
    """Where Twilio opens the socket."""
    return f"{socket_origin()}/{CONNECTION}"


def is_ours(url: str) -> bool:
    """Whether a URL leads to this installation."""
    return url.startswith(absolute(""))


def is_incoming(url: str) -> bool:
    """Whether a URL is that of a voice webhook of ours."""
    # A fragment holds settings of Twilio's own, which it does not send.
    path = url.removeprefix(absolute("")).partition("#")[0].partition("?")[0]
    return is_ours(url) and (path == INCOMING or path.startswith(f"{INCOMING}/"))


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine only."""
    return urlsplit(url).hostname in _LOOPBACK
