"""Rows for tests: every one is complete, and a test names only what it is about."""

import datetime as dt
from itertools import count
from typing import Any

from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from calls.access.programs import issue
from calls.media import audio
from calls.models import (
    AlertRule,
    Answer,
    ApiClient,
    AudioChunk,
    Call,
    CallEvent,
    Comment,
    Delivery,
    Dtmf,
    Gap,
    Mark,
    Notice,
    Question,
    Receiver,
    Review,
    ReviewQueue,
    SavedView,
    Scorecard,
    Stream,
    Turn,
    Utterance,
    Worker,
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


def make_comment(call: Call, text: str = "She was kept waiting", **facts: Any) -> Comment:
    """Of a user who has left, about the whole call."""
    return Comment.objects.create(**{"call": call, "text": text, "name": "ada", **facts})


def make_view(name: str = "Failed", query: str = "status=failed", **facts: Any) -> SavedView:
    """Everybody's."""
    return SavedView.objects.create(**{"name": name, "query": query, **facts})


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


def make_worker(host: str = "web-1", **facts: Any) -> Worker:
    """One that was seen just now and takes calls."""
    now = timezone.now()
    own = {"owner": f"worker-{next(_numbers)}", "pid": 7, "version": "0.1.0", "capacity": 200}
    return Worker.objects.create(**{"host": host, "started_at": now, "seen_at": now, **own, **facts})


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


def make_client(*permissions: str, **facts: Any) -> tuple[ApiClient, str]:
    """A program that may do just that, beside reading calls, and its token: `make_client("listen_call")`."""
    flags = {"listen_call": "may_listen", "download_call": "may_download", "see_numbers": "may_see_numbers"}
    may = {flags[name]: True for name in permissions}
    client = ApiClient(**{"name": f"client-{next(_numbers)}", **may, **facts})
    token = issue(client)
    client.save()
    return client, token


def recording_url(call: Call, query: str = "") -> str:
    """Where the admin sends a call's recording."""
    return reverse("admin:calls_call_recording", args=[call.pk]) + query


def make_scorecard(*questions: dict[str, Any], **facts: Any) -> Scorecard:
    """One with these questions; with none given, a scale, yes or no and a text, of which the text is optional."""
    scorecard = Scorecard.objects.create(**{"name": f"Scorecard {next(_numbers)}", **facts})
    asked = questions or (
        {"text": "How well did we listen?", "kind": "scale"},
        {"text": "Was it solved?", "kind": "yes_no"},
        {"text": "What was said?", "kind": "text", "required": False},
    )
    with transaction.atomic():
        scorecard.ask([Question(**{"text": "Well?", **facts}) for facts in asked], None)
    return scorecard


def make_queue(scorecard: Scorecard | None = None, **facts: Any) -> ReviewQueue:
    """One that deals out every call of the factories, each with a recording."""
    name = f"Queue {next(_numbers)}"
    scorecard = scorecard or make_scorecard()
    return ReviewQueue.objects.create(**{"name": name, "scorecard": scorecard, "nth": 1, "since": START, **facts})


def make_review(call: Call | None = None, **facts: Any) -> Review:
    """One that was submitted, of no queue; `answers` are values in the questions' order."""
    answers = facts.pop("answers", ())
    scorecard = facts.pop("scorecard", None) or (facts["queue"].scorecard if "queue" in facts else make_scorecard())
    call = call or make_call(audio_samples=8000)
    defaults = {"version": scorecard.current(), "dealt_at": START, "submitted_at": START + dt.timedelta(hours=1)}
    review = Review.objects.create(call=call, **{**defaults, **facts})
    asked = list(review.version.questions.all())
    keep_answers(review, dict(zip(asked, answers, strict=False)))
    if review.submitted_at:
        review.score = review.score_of(review.answers.select_related("question"))
        review.save(update_fields=["score"])
    return review


def keep_answers(review: Review, given: dict[Question, Any]) -> None:
    names = {"scale": "number", "yes_no": "yes", "text": "text"}
    for question, value in given.items():
        Answer.objects.create(review=review, question=question, **{names[question.kind]: value})
