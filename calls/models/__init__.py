"""The tables, a module for each or for those that go together. Statuses and the fields' names are Twilio's own words;
every field that Twilio may not send has a default. `calls` may import all of the others, and none of them imports it.
"""

from calls.models.accesses import RecordingAccess
from calls.models.alert_rules import AlertRule
from calls.models.alerts import Alert, AlertMail
from calls.models.audio import AudioChunk, Gap, Track
from calls.models.audit import AuditEntry
from calls.models.calls import Call
from calls.models.campaigns import Campaign, CampaignCall
from calls.models.clients import ApiClient
from calls.models.comments import Comment
from calls.models.dtmf import Dtmf
from calls.models.erasures import Erased, Erasure
from calls.models.events import CallEvent
from calls.models.holds import LegalHold
from calls.models.identities import Identity
from calls.models.logins import LoginLimit
from calls.models.marks import Mark
from calls.models.notices import Delivery, Notice, Receiver
from calls.models.quarantine import QuarantinedRow
from calls.models.reviews import Answer, Review, ReviewQueue
from calls.models.saved_views import SavedView
from calls.models.scorecards import Question, Scorecard, ScorecardVersion
from calls.models.sounds import Sound
from calls.models.streams import Stream
from calls.models.tags import Tag
from calls.models.turns import Turn
from calls.models.utterances import Utterance
from calls.models.workers import Worker


__all__ = [
    "Alert",
    "AlertMail",
    "AlertRule",
    "Answer",
    "ApiClient",
    "AudioChunk",
    "AuditEntry",
    "Call",
    "CallEvent",
    "Campaign",
    "CampaignCall",
    "Comment",
    "Delivery",
    "Dtmf",
    "Erased",
    "Erasure",
    "Gap",
    "Identity",
    "LegalHold",
    "LoginLimit",
    "Mark",
    "Notice",
    "QuarantinedRow",
    "Question",
    "Receiver",
    "RecordingAccess",
    "Review",
    "ReviewQueue",
    "SavedView",
    "Scorecard",
    "ScorecardVersion",
    "Sound",
    "Stream",
    "Tag",
    "Track",
    "Turn",
    "Utterance",
    "Worker",
]
