"""The admin: what ops staff browse, hear and annotate."""

from calls.admin.alerts import AlertAdmin, AlertRuleAdmin
from calls.admin.audit import ErasureAdmin, QuarantinedRowAdmin, RecordingAccessAdmin, TagAdmin
from calls.admin.calls import CallAdmin
from calls.admin.clients import ApiClientAdmin
from calls.admin.deliveries import DeliveryAdmin
from calls.admin.receivers import ReceiverAdmin
from calls.admin.review_queues import ReviewQueueAdmin
from calls.admin.reviews import ReviewAdmin
from calls.admin.saved_views import SavedViewAdmin
from calls.admin.scorecards import ScorecardAdmin
from calls.admin.sounds import SoundAdmin
from calls.admin.stream_rows import AudioChunkAdmin, DtmfAdmin, GapAdmin, MarkAdmin, StreamAdmin
from calls.admin.workers import WorkerAdmin


__all__ = [
    "AlertAdmin",
    "AlertRuleAdmin",
    "ApiClientAdmin",
    "AudioChunkAdmin",
    "CallAdmin",
    "DeliveryAdmin",
    "DtmfAdmin",
    "ErasureAdmin",
    "GapAdmin",
    "MarkAdmin",
    "QuarantinedRowAdmin",
    "ReceiverAdmin",
    "RecordingAccessAdmin",
    "ReviewAdmin",
    "ReviewQueueAdmin",
    "SavedViewAdmin",
    "ScorecardAdmin",
    "SoundAdmin",
    "StreamAdmin",
    "TagAdmin",
    "WorkerAdmin",
]
