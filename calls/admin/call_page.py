"""What a call's page shows, gathered in a fixed number of queries."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from calls import vault
from calls.access import numbers
from calls.addresses import LIVE_CALLS
from calls.admin import why, wording
from calls.admin.cells import INTERRUPTED, clock, cost, heard, status_tag, time_tag, troubles
from calls.admin.events import entries
from calls.admin.turns import figures, is_awaited
from calls.media.audio import SAMPLE_RATE
from calls.models import Call, Stream
from calls.recordings.rendering import Recording
from calls.server.departures import Departure
from calls.summaries.problems import Problem


# What changes while a call runs: each has a template and an element of its own on the page.
PARTS = ("head", "problems", "figures", "timeline", "streams", "facts")


@dataclass(frozen=True)
class Part:
    """One of them, and what tells it from what it was before."""

    html: SafeString
    version: str


@dataclass(frozen=True)
class Health:
    """A stream, for somebody who wants to know why a call sounded bad."""

    stream: Stream
    facts: list[tuple[str, str, str]]
    """Name, value, and a tone where it is bad."""
    name: str
    parameters: dict[str, Any]


def context(request: HttpRequest, call: Call) -> dict[str, Any]:
    found = _context(request, call)
    return {**found, "parts": _parts(request, found)}


def fragments(request: HttpRequest, call: Call) -> dict[str, Any]:
    """What a running call's page asks for: how long the call is by now, and those parts of the page that are new.

    `known` are the versions that it has, separated by commas.
    """
    found = _context(request, call)
    parts = _parts(request, found)
    known = set(request.GET.get("known", "").split(","))
    return {
        "live": found["live"],
        "awaited": found["awaited"],
        "samples": found["recording"].samples if found["playable"] else 0,
        "socket": found["live_socket"],
        "streams": _places(found["recording"], [health.stream for health in found["streams"]]),
        "versions": {f"call-{name}": part.version for name, part in parts.items()},
        "html": {f"call-{name}": part.html for name, part in parts.items() if part.version not in known},
    }


def _parts(request: HttpRequest, found: dict[str, Any]) -> dict[str, Part]:
    html = {name: render_to_string(f"admin/calls/call/{name}.html", found, request) for name in PARTS}
    return {name: Part(text, hashlib.sha256(f"{name} {text}".encode()).hexdigest()[:12]) for name, text in html.items()}


def _places(recording: Recording, streams: Iterable[Stream]) -> dict[str, int | None]:
    """Where running streams begin on the call's timeline, in samples; None for one that an earlier one lies over."""
    running = {stream.pk: stream.sid for stream in streams if stream.ended_at is None}
    placed = [one for one in recording.streams if one.stream_id in running]
    return {running[one.stream_id]: None if index else one.start for index, one in enumerate(placed)}


def _context(request: HttpRequest, call: Call) -> dict[str, Any]:
    whole = numbers.may_see(request)
    recording = Recording.of(call)
    streams = list(call.streams.all())
    timeline, more = entries(call, recording, whole_numbers=whole)
    playable = bool(recording.samples and (recording.has_audio or call.ended_at is None))
    may_listen = request.user.has_perm("calls.listen_call")
    events = list(call.events.filter(kind__in=why.KINDS).select_related("user"))
    problems = troubles(call, streams, events, whole=whole)
    if playable:
        problems = [*_unreadable(recording), *problems]
    workers = why.workers_of(streams)
    return {
        "call": call,
        "recording": recording,
        "seconds": f"{recording.samples / SAMPLE_RATE:.3f}",
        "length": clock(recording.samples),
        "live": call.ended_at is None,
        "awaited": is_awaited(call, recording),
        "playable": playable,
        "problems": [problem for problem in problems if problem.is_warning],
        "remarks": [problem for problem in problems if not problem.is_warning] + [INTERRUPTED] * call.was_interrupted,
        "ending": why.ending(call, streams, events, workers, whole=whole),
        "running": _running(call),
        "status": status_tag(call, problems),
        "began": time_tag(call.created_at),
        "facts": facts(call, whole),
        "figures": figures(call, recording),
        "data": data(call, whole),
        "parameters": call.parameters if whole else numbers.mask_all(call.parameters, call),
        "streams": [health(stream, call, whole) for stream in streams],
        "timeline": timeline,
        "timeline_cut": more,
        "accesses": _accesses(call),
        "may_listen": may_listen,
        # They lead into the recording.
        "shows_turns": may_listen and (playable or call.ended_at is None),
        "may_download": request.user.has_perm("calls.download_call"),
        "title": wording.of_call(call, whole),
        # Django would say the CallSid here.
        "subtitle": None,
        "recording_url": reverse("admin:calls_call_recording", args=[call.pk]),
        "peaks_url": reverse("admin:calls_call_peaks", args=[call.pk]),
        "turns_url": reverse("admin:calls_call_turns", args=[call.pk]),
        "words_url": reverse("admin:calls_call_words", args=[call.pk]),
        "words_text_url": reverse("admin:calls_call_words_text", args=[call.pk]),
        "follow_url": reverse("admin:calls_call_follow", args=[call.pk]),
        # The page polls where it cannot be reached.
        "live_socket": f"/{LIVE_CALLS}/{call.pk}" if call.sid and not call.ended_at else "",
        **_sockets(request, call, streams),
    }


def _sockets(request: HttpRequest, call: Call, streams: list[Stream]) -> dict[str, Any]:
    """Where a running call is listened to, and taken over by microphone, for who may; a call beside us only the former.

    `is_beside`: on <Start> streams nobody hears us.
    """
    running = [stream for stream in streams if stream.ended_at is None]
    is_beside = bool(running) and not any(stream.bidirectional for stream in running)
    may = bool(call.sid) and call.ended_at is None and request.user.has_perm("calls.supervise_call")
    own = f"/{LIVE_CALLS}/{call.pk}"
    return {
        "is_beside": is_beside,
        "listen_socket": f"{own}/audio" if may else "",
        "takeover_socket": f"{own}/voice" if may and not is_beside else "",
    }


def _unreadable(recording: Recording) -> list[Problem]:
    """Of its keys; whether somebody changed what they seal is known when it is played."""
    try:
        recording.check_keys()
    except vault.Unreadable as error:
        advice = "Put the key back into RECORDING_KEYS, and restart the server: nothing is lost."
        if not isinstance(error, vault.KeyMissing):
            advice = "manage.py verify_calls says which calls are like this; a backup may have them as they were."
        return [Problem("cannot be played", f"The recording cannot be played: {error}.", advice, "bad")]
    return []


def _running(call: Call) -> SafeString:
    """follow.js makes a clock of it, which is no news of the call."""
    since = call.answered_at or call.created_at
    title = "Since it was answered" if call.answered_at else "Not answered yet"
    tag = '<span class="call-running" data-since="{}" title="{}">still running</span>'
    return format_html(tag, f"{since.timestamp():.0f}", title)


def data(call: Call, whole: bool) -> list[tuple[str, str]]:
    """What the handler has set, in the order in which it did, as text."""
    known = call.data_in_order if whole else numbers.mask_all(call.data_in_order, call)
    return [(name, wording.of_value(value)) for name, value in known.items()]


def facts(call: Call, whole: bool) -> list[tuple[str, Any]]:
    found = [
        ("From", numbers.shown(call.from_number, whole)),
        ("Caller's name", call.caller_name if whole else ""),
        ("To", numbers.shown(call.to_number, whole)),
        ("Forwarded from", numbers.shown(call.forwarded_from, whole)),
        ("Direction", call.direction),
        ("Handler", call.handler),
        ("Began", time_tag(call.created_at)),
        ("Answered", time_tag(call.answered_at)),
        ("Ended", time_tag(call.ended_at) if call.ended_at else "still running"),
        ("Lasted", "" if call.duration is None else f"{clock(call.duration * SAMPLE_RATE)} by Twilio's count"),
        ("Cost", cost(call)),
        ("Answered by", call.answered_by),
        ("CallSid", call.sid or "not placed yet"),
    ]
    return [(name, value) for name, value in found if value]


def health(stream: Stream, call: Call, whole: bool) -> Health:
    expected = stream.frames_received + stream.frames_missing
    share = f"{100 * stream.frames_received / expected:.2f} %" if expected else "–"
    counts = [
        ("Frames received", f"{stream.frames_received} ({share})", 0),
        ("Missing", f"{stream.frames_missing} ({stream.frames_missing / 50:.2f} s)", stream.frames_missing),
        ("Messages left out", stream.frames_rejected, stream.frames_rejected),
        ("Sequence gaps", stream.sequence_gaps, stream.sequence_gaps),
        ("Repeated or late", stream.duplicates, 0),
        ("Timestamp jumps", stream.timestamp_jumps, stream.timestamp_jumps),
        ("Jitter", f"{stream.jitter_ms:.1f} ms", stream.jitter_ms > 40),
        (
            "Dropped for a slow handler",
            f"{stream.handler_overruns} ({stream.handler_overruns / 50:.2f} s)",
            stream.handler_overruns,
        ),
        ("Handler", "failed" if stream.handler_failed else _handler(stream), stream.handler_failed),
        ("Ended by", _ending(stream), stream.end_reason in ("interrupted", "error")),
    ]
    facts = [(name, str(value), "warn" if bad else "") for name, value, bad in counts]
    if whole:
        return Health(stream, facts, stream.name, stream.custom_parameters)
    return Health(stream, facts, *(numbers.mask_all(said, call) for said in (stream.name, stream.custom_parameters)))


def _handler(stream: Stream) -> str:
    departure = Departure.read(stream.dial)
    if departure is not None and departure.is_asked_for and stream.end_reason == departure.reason:
        return "ended from outside"
    if stream.handler_finished_at:
        return "finished"
    if stream.ended_at is None:
        return "running"
    if stream.end_reason == Stream.EndReason.DIAL:
        return "waited for the caller"
    return "ended with the call" if stream.end_reason in ("stop", "disconnect") else "did not finish"


def _ending(stream: Stream) -> str:
    if stream.ended_at is None:
        return "still running"
    reason = wording.of_end(stream) or "unknown"
    return f"{reason}, code {stream.close_code}" if stream.close_code else str(reason)


def _accesses(call: Call) -> list[dict[str, Any]]:
    """The latest, as text."""
    rows = call.accesses.select_related("user").order_by("-at", "-pk")[:20]
    return [
        {
            "user": row.who,
            "kind": row.get_kind_display().lower(),
            "moment": time_tag(row.at, inside=True),
            "detail": ", ".join(filter(None, [row.detail, heard(row)])),
        }
        for row in rows
    ]
