"""Counters and histograms, each with its name, its meaning and its labels. In-memory and quick; from any thread."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Histogram


# Of our own: the library's default one counts Python's garbage and the like.
registry = CollectorRegistry()


# Twilio's words: https://www.twilio.com/docs/voice/api/call-resource#call-properties.
DIRECTIONS = ("inbound", "outbound-api", "outbound-dial")
OUTCOMES = ("completed", "busy", "no-answer", "failed", "canceled")


class Refusal(StrEnum):
    """Why a caller, or somebody who might be one, was not taken: the same words in the log and in the figure."""

    #: As many streams as MAX_STREAMS allows.
    FULL = "full"
    DRAINING = "draining"
    SIGNATURE = "signature"
    ORIGIN = "an Origin header: a browser, not Twilio"
    NO_CALL_SID = "no usable CallSid"
    NO_START = "no start in time"
    NO_TOKEN = "no good token"
    OTHER_CALL = "the token is of another call"
    USED_TOKEN = "the token was used before"
    ALREADY_HERE = "this stream is already here"
    NOT_AWAITED = "nobody waits here for this caller"
    NO_HANDLER = "no such handler"
    UNUSABLE_HANDLER = "the handler cannot be used"
    NO_DOCUMENT = "the handler's document could not be made"
    BROKE_AGAIN = "six streams in a row broke at once"


calls_ended = Counter(
    "callstream_calls_total", "Calls that are over, by Twilio's words.", ["direction", "outcome"], registry=registry
)
frames = Counter(
    "callstream_media_frames_total",
    "Frames of 20 ms: inbound from callers, outbound to them.",
    ["direction"],
    registry=registry,
)
frames_missing = Counter("callstream_frames_missing_total", "Frames of callers that never came.", registry=registry)
frames_rejected = Counter(
    "callstream_frames_rejected_total", "Messages on streams that break the protocol.", registry=registry
)
dropped_bytes = Counter(
    "callstream_dropped_bytes_total",
    "Audio that was let go because neither memory nor the spool had room; 8000 bytes are a second.",
    registry=registry,
)
handler_overruns = Counter(
    "callstream_handler_overruns_total",
    "Frames that a handler was too slow to take.",
    registry=registry,
)
refusals = Counter("callstream_refusals_total", "Who was not taken, and why.", ["reason"], registry=registry)
response = Histogram(
    "callstream_response_seconds",
    "What callers waited for each answer, as measured in recordings.",
    buckets=(0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10),
    registry=registry,
)
first_audio = Histogram(
    "callstream_first_audio_seconds",
    "From the answer of a call to the first sample heard, as measured in recordings.",
    buckets=(0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10),
    registry=registry,
)
loop_delay = Histogram(
    "callstream_loop_delay_seconds",
    "How late the event loop comes to what is due, asked 20 times a second: all audio is late by that.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 20),
    registry=registry,
)
webhook = Histogram(
    "callstream_webhook_seconds",
    "What Twilio waited for the answers to its requests.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15),
    registry=registry,
)
chore_rounds = Counter(
    "callstream_chore_rounds_total", "Rounds of what is done beside the calls.", ["chore", "outcome"], registry=registry
)


def count_call(direction: str, outcome: str) -> None:
    calls_ended.labels(direction if direction in DIRECTIONS else "other", outcome).inc()


def refuse(reason: Refusal) -> None:
    refusals.labels(reason.value).inc()


# A series that begins at 1 has not risen, for Prometheus: those that alerts look at begin at 0.
for _reason in Refusal:
    refusals.labels(_reason.value)
for _direction in ("inbound", "outbound"):
    frames.labels(_direction)
for _direction in DIRECTIONS:
    for _outcome in OUTCOMES:
        calls_ended.labels(_direction, _outcome)
