"""The admin: what ops staff browse, hear and annotate."""

from .audit import ErasureAdmin, QuarantinedRowAdmin, RecordingAccessAdmin, TagAdmin
from .calls import CallAdmin
from .stream_rows import AudioChunkAdmin, DtmfAdmin, GapAdmin, MarkAdmin, StreamAdmin


__all__ = [
    "AudioChunkAdmin",
    "CallAdmin",
    "DtmfAdmin",
    "ErasureAdmin",
    "GapAdmin",
    "MarkAdmin",
    "QuarantinedRowAdmin",
    "RecordingAccessAdmin",
    "StreamAdmin",
    "TagAdmin",
]
