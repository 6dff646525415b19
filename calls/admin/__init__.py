"""The admin: what ops staff browse, hear and annotate."""

from calls.admin.alerts import AlertAdmin, AlertRuleAdmin
from calls.admin.audit import ErasureAdmin, QuarantinedRowAdmin, RecordingAccessAdmin, TagAdmin
from calls.admin.calls import CallAdmin
from calls.admin.deliveries import DeliveryAdmin
from calls.admin.receivers import ReceiverAdmin
from calls.admin.stream_rows import AudioChunkAdmin, DtmfAdmin, GapAdmin, MarkAdmin, StreamAdmin


__all__ = [
    "AlertAdmin",
    "AlertRuleAdmin",
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
    "StreamAdmin",
    "TagAdmin",
]
