"""The tables, a module for each or for those that go together. Statuses and the fields' names are Twilio's own words;
every field that Twilio may not send has a default. `calls` may import all of the others, and none of them imports it.
"""

from .accesses import RecordingAccess
from .audio import AudioChunk, Gap, Track
from .calls import Call
from .dtmf import Dtmf
from .erasures import Erased, Erasure
from .events import CallEvent
from .logins import LoginLimit
from .marks import Mark
from .quarantine import QuarantinedRow
from .streams import Stream
from .tags import Tag


__all__ = [
    "AudioChunk",
    "Call",
    "CallEvent",
    "Dtmf",
    "Erased",
    "Erasure",
    "Gap",
    "LoginLimit",
    "Mark",
    "QuarantinedRow",
    "RecordingAccess",
    "Stream",
    "Tag",
    "Track",
]
