"""Rows for tests: every one is complete, and a test names only what it is about."""

import datetime as dt
from itertools import count
from typing import Any

from django.contrib.auth.models import Permission, User
from django.urls import reverse

from calls.media import audio
from calls.models import (
    AlertRule,
    AudioChunk,
    Call,
    CallEvent,
    Delivery,
    Dtmf,
    Gap,
    Mark,
    Notice,
    Receiver,
    Stream,
    Turn,
    Utterance,
)


START = dt.datetime(2026, 3, 14, 15, 9, 26, tzinfo=dt.UTC)
LONG_AGO = START - dt.timedelta(days=365)
_numbers = count(1)


def sid(prefix: str) -> str:
    return f"{prefix}{next(_numbers):032x}"


def make_call(**facts: Any) -> Call:
    return Call.objects.create(
        **{
            "sid": sid("CA"),
            "from_number": "+15550100001",
            "to_number": "+15550100002",
            "status": "completed",
            "handler": "voicemail",
            "created_at": START,
            "answered_at": START,
            "ended_at": START + dt.timedelta(minutes=1),
            **facts,
        }
    )


def make_live_call(**facts: Any) -> Call:
    return make_call(**{"status": "in-progress", "ended_at": None, **facts})


def make_stream(call: Call | None = None, *, after: float = 0, **facts: Any) -> Stream:
    """A stream that began that many seconds after the call's first one."""
    number = sid("MZ")
    return Stream.objects.create(
        **{
            "call": call or make_call(),
            "sid": number,
            "nonce": number[2:],
            "started_at": START + dt.timedelta(seconds=after),
            "tracks": ["inbound"],
            **facts,
        }
    )


def make_chunk(stream: Stream, payload: bytes, *, start: int = 0, track: str = "inbound", **facts: Any) -> AudioChunk:
    index = AudioChunk.objects.filter(stream=stream, track=track).count()
    return AudioChunk.objects.create(
        **{
            "stream": stream,
            "track": track,
            "index": index,
            "start": start,
            "length": len(payload),
            "payload": payload,
            "peaks": audio.peaks(payload),
            **facts,
        }
    )


def make_gap(stream: Stream, **facts: Any) -> Gap:
    return Gap.objects.create(
        **{"stream": stream, "track": "inbound", "start": 0, "length": 160, "reason": "timestamp", **facts}
    )


def make_mark(stream: Stream, **facts: Any) -> Mark:
    index = Mark.objects.filter(stream=stream).count()
    return Mark.objects.create(
        **{"stream": stream, "index": index, "name": "greeting", "sent_at": stream.started_at, "position": 0, **facts}
    )


def make_digit(stream: Stream, digit: str = "1", timestamp_ms: int = 0) -> Dtmf:
    index = Dtmf.objects.filter(stream=stream).count()
    return Dtmf.objects.create(stream=stream, index=index, digit=digit, timestamp_ms=timestamp_ms)


def make_utterance(stream: Stream, text: str = "I want a refund", **facts: Any) -> Utterance:
    """A word takes half a second, with a tenth of silence after it."""
    start = facts.pop("start", 0)
    words = [[word, start + number * 4000, 3200] for number, word in enumerate(text.split())]
    return Utterance.objects.create(
        **{
            "stream": stream,
            "track": "inbound",
            "start": start,
            "length": max(1, len(words) * 4000 - 800),
            "text": text,
            "words": words,
            **facts,
        }
    )


def make_turn(stream: Stream, speaker: str = "us", **facts: Any) -> Turn:
    """A second of it, at the beginning."""
    return Turn.objects.create(**{"stream": stream, "speaker": speaker, "start": 0, "length": 8000, **facts})


def make_rule(metric: str = "response", **facts: Any) -> AlertRule:
    """Broken above 2 (s, %), or where there is no call, in the last quarter of an hour; it mails to ops."""
    own = {"threshold": 1} if metric == "calls" else {}
    percentile = 95 if metric in ("response", "first-audio") else None
    rule = AlertRule.objects.create(
        **{
            "name": "Slow answers",
            "metric": metric,
            "percentile": percentile,
            "threshold": 2,
            "least": 1,
            "mail_to": "ops@example.org",
            **own,
            **facts,
        }
    )
    # With the types that its fields have.
    rule.refresh_from_db()
    return rule


def make_event(call: Call, **facts: Any) -> CallEvent:
    key = f"test-{next(_numbers)}"
    return CallEvent.objects.create(
        **{"call": call, "source": "call-status", "kind": "completed", "key": key, "occurred_at": START, **facts}
    )


def make_receiver(url: str = "https://hooks.example.org/calls", **facts: Any) -> Receiver:
    """Who wants to be told of everything, of calls that ended long ago too."""
    name = f"receiver-{next(_numbers)}"
    kinds = list(Notice.Kind.values)
    return Receiver.objects.create(**{"name": name, "url": url, "kinds": kinds, "since": LONG_AGO, **facts})


def make_delivery(receiver: Receiver | None = None, **facts: Any) -> Delivery:
    """Of a notice of its own, unless one is given."""
    number = next(_numbers)
    notice = facts.pop("notice", None) or Notice.objects.create(kind="call.ended", key=f"{number}", data={"n": number})
    return Delivery.objects.create(
        **{"notice": notice, "kind": notice.kind, "receiver": receiver or make_receiver(), **facts}
    )


def make_recording(seconds: int = 2, **facts: Any) -> Call:
    """A call whose caller is a tone and whose other side is silent, in chunks of a quarter of a second."""
    samples = seconds * audio.SAMPLE_RATE
    call = make_call(**{"audio_samples": samples, **facts})
    stream = make_stream(call, length=samples, ended_at=call.ended_at)
    quarter = audio.tone(440, 250)
    for start in range(0, samples, len(quarter)):
        make_chunk(stream, quarter, start=start)
    return call


def make_staff(*permissions: str, **facts: Any) -> User:
    """A member of staff who may do just that: `make_staff("view_call", "listen_call")`."""
    user = User.objects.create_user(**{"username": f"staff-{next(_numbers)}", "is_staff": True, **facts})
    found = Permission.objects.filter(content_type__app_label="calls", codename__in=permissions)
    assert len(found) == len(permissions), f"unknown among {permissions}"
    user.user_permissions.set(found)
    return user


def recording_url(call: Call, query: str = "") -> str:
    """Where the admin sends a call's recording."""
    return reverse("admin:calls_call_recording", args=[call.pk]) + query
