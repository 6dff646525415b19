"""The admin: what ops staff browse, hear and annotate."""

from calls.admin.audit import ErasureAdmin, QuarantinedRowAdmin, RecordingAccessAdmin, TagAdmin
from calls.admin.calls import CallAdmin
from calls.admin.saved_views import SavedViewAdmin
from calls.admin.stream_rows import AudioChunkAdmin, DtmfAdmin, GapAdmin, MarkAdmin, StreamAdmin


__all__ = [
    "AudioChunkAdmin",
    "CallAdmin",
    "DtmfAdmin",
    "ErasureAdmin",
    "GapAdmin",
    "MarkAdmin",
    "QuarantinedRowAdmin",
    "RecordingAccessAdmin",
    "SavedViewAdmin",
    "StreamAdmin",
    "TagAdmin",
]
