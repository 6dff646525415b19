"""Who spoke when and what the caller waited for: figures for everybody, turns.json for whoever may listen."""

import datetime as dt
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from calls.admin.base import private_json
from calls.admin.cells import precise, wait, wait_tone
from calls.media.audio import SAMPLE_RATE, SAMPLES_PER_MS
from calls.media.conversation import Said, common, joined, silences
from calls.media.turns import Span
from calls.models import Call
from calls.recordings import turns
from calls.recordings.rendering import Recording
from calls.recordings.unknown import unknown
from calls.summaries.problems import of_whom


# A call is measured some seconds after its end.
SOON = dt.timedelta(minutes=2)


@dataclass(frozen=True)
class Figure:
    """One number of a conversation; `about` is what it counts, for who wants to know."""

    key: str
    name: str
    value: str
    about: str
    tone: str = ""


def figures(call: Call, recording: Recording) -> list[Figure]:
    """What was measured; nothing before that. At most one query."""
    if call.measured_at is None:
        return []
    interrupted = turns.interruptions(recording)
    return [
        _waited("first", "First audio", call.first_audio_ms, "from the answer to the first of us that was heard"),
        _waited("median", "Response", call.response_ms, of_whom(call, "what the caller waited: the median")),
        _waited("worst", "Worst response", call.response_ms_max, of_whom(call, "the longest that the caller waited")),
        Figure("dead", "Dead air", wait(call.dead_air_ms), "nobody spoke for 2 s and longer: all of that together"),
        Figure("over", "Talk-over", wait(call.talk_over_ms), "both sides spoke at once: all of that together"),
        Figure("interruptions", "Interruptions", str(interrupted), "how often the other side spoke into what we said"),
    ]


def is_awaited(call: Call, recording: Recording) -> bool:
    """Whether a page may expect the figures of a call that is over any moment now."""
    if call.ended_at is None or call.measured_at or not recording.samples:
        return False
    return timezone.now() - call.ended_at < SOON


def turns_response(request: HttpRequest, call: Call) -> HttpResponseBase:
    """Each turn on the call's timeline in seconds, and where nobody spoke and where both did.

    `measured` if that is final. A page that asks again gives the `version` that it has: nothing else comes if there is
    nothing newer.
    """
    if not request.user.has_perm("calls.listen_call"):
        raise PermissionDenied
    answer = _answer(call)
    version = hashlib.sha256(json.dumps(answer).encode()).hexdigest()[:16]
    same = request.GET.get("version") == version
    return private_json({"version": version} | ({} if same else answer))


def _answer(call: Call) -> dict[str, Any]:
    recording, so_far = Recording.of(call), call.turns_at is not None
    found, is_cut = turns.turns(recording) if call.measured_at or so_far else ([], False)
    # Of turns that are not all there, no more than up to the last of them is known.
    length = max((said.end for said in found), default=0) if is_cut or so_far else recording.samples
    return {
        "measured": call.measured_at is not None and not so_far,
        "cut": f"Only the first {len(found):,} turns are shown." if is_cut else "",
        "turns": [_as_json(said) for said in found],
        "dead": _stretches(_dead_air(found, recording, length)) if call.measured_at or so_far else [],
        "over": _stretches(common(_spans(found, "caller"), _spans(found, "us"))),
    }


def _dead_air(found: list[Said], recording: Recording, length: int) -> list[Span]:
    return silences([*_spans(found, "caller"), *_spans(found, "us")], unknown(recording), length)


def _spans(found: list[Said], speaker: str) -> list[Span]:
    return joined((Span(said.start, said.end) for said in found if said.speaker == speaker), 0)


def _waited(key: str, name: str, ms: int | None, about: str) -> Figure:
    return Figure(key, name, wait(ms), about, "" if ms is None else wait_tone(ms))


def _as_json(said: Said) -> dict[str, Any]:
    found: dict[str, Any] = {"at": _seconds(said.start), "end": _seconds(said.end), "who": said.speaker}
    found |= {"clock": precise(said.start), "lasted": _lasted(said.end - said.start)}
    if said.response_ms is not None:
        found |= {"response_ms": said.response_ms, "wait": wait(said.response_ms), "tone": wait_tone(said.response_ms)}
    if said.interrupted:
        found |= {"interrupted": True}
    if said.talked_on_ms is not None:
        found |= {"talked_on_ms": said.talked_on_ms, "talked_on": wait(said.talked_on_ms)}
    return found


def _stretches(found: Iterable[Span]) -> list[dict[str, Any]]:
    return [
        {"at": _seconds(part.start), "end": _seconds(part.end), "lasted": _lasted(part.end - part.start)}
        for part in found
    ]


def _lasted(samples: int) -> str:
    return wait(samples // SAMPLES_PER_MS)


def _seconds(samples: int) -> float:
    return round(samples / SAMPLE_RATE, 3)
