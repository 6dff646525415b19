"""The admin: what ops staff browse, hear and annotate."""

from django.contrib import admin
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from calls.admin.alerts import AlertAdmin, AlertRuleAdmin
from calls.admin.audit import AuditEntryAdmin, ErasureAdmin, QuarantinedRowAdmin, RecordingAccessAdmin, TagAdmin
from calls.admin.calls import CallAdmin
from calls.admin.campaigns import CampaignAdmin
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


# django-otp's own pages show and change everybody's keys: ours are for each person's own (calls/access/pages.py).
admin.site.unregister([TOTPDevice, StaticDevice])

__all__ = [
    "AlertAdmin",
    "AlertRuleAdmin",
    "ApiClientAdmin",
    "AudioChunkAdmin",
    "AuditEntryAdmin",
    "CallAdmin",
    "CampaignAdmin",
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
