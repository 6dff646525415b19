"""The admin: what ops staff browse, hear and annotate."""

from calls.admin.audit import ErasureAdmin, QuarantinedRowAdmin, RecordingAccessAdmin, TagAdmin
from calls.admin.calls import CallAdmin
from calls.admin.review_queues import ReviewQueueAdmin
from calls.admin.reviews import ReviewAdmin
from calls.admin.scorecards import ScorecardAdmin
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
    "ReviewAdmin",
    "ReviewQueueAdmin",
    "ScorecardAdmin",
    "StreamAdmin",
    "TagAdmin",
]
