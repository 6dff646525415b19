"""Facts of a call as people read them: lengths, times, statuses and what is worth a second look."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from calls.access.numbers import mask_all
from calls.media import audio
from calls.models import Call, CallEvent, RecordingAccess, Stream
from calls.summaries.problems import Problem, problems


TONES = {
    Call.Status.COMPLETED: "good",
    Call.Status.IN_PROGRESS: "live",
    Call.Status.RINGING: "live",
    Call.Status.BUSY: "warn",
    Call.Status.NO_ANSWER: "warn",
    Call.Status.FAILED: "bad",
}


# People answer each other within half a second; after two, a caller asks whether somebody is there. In ms.
PATIENCE = ((1000, "good"), (2000, "warn"))

INTERRUPTED = Problem("interrupted us", "The other side spoke or pressed a key into playback.", tone="quiet")


def clock(samples: int) -> str:
    """Samples as 0:07, 12:34 or 1:02:03."""
    seconds = samples // audio.SAMPLE_RATE
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def recorded_so_far(call: Call, streams: Iterable[Stream]) -> float:
    """Roughly the seconds of a running call's recording, which grows while this is read; 0 once the call is over."""
    began = min((stream.started_at for stream in streams), default=None)
    if call.ended_at or began is None:
        return 0
    return round(max(0.0, (timezone.now() - began).total_seconds()), 1)


def running_tag(call: Call) -> SafeString:
    """How long a call has been running; list.js counts on."""
    since = call.answered_at or call.created_at
    seconds = max(0, int((timezone.now() - since).total_seconds()))
    return format_html(
        '<span class="call-running" data-since="{}" title="Still running">{}</span>',
        *(f"{since.timestamp():.0f}", clock(seconds * audio.SAMPLE_RATE)),
    )


def precise(samples: int) -> str:
    """Samples as 0:07.3: where in a recording something is."""
    tenths = abs(samples) * 10 // audio.SAMPLE_RATE
    return f"{'-' if samples < 0 and tenths else ''}{clock(abs(samples))}.{tenths % 10}"


def wait(ms: int | None) -> str:
    """How long something took, as 0.8 s, 12 s or 2:05."""
    if ms is None:
        return "–"
    tenths = round(ms / 100)
    if tenths < 100:
        return f"{tenths / 10} s"
    return f"{round(ms / 1000)} s" if ms < 99_500 else clock(ms * audio.SAMPLES_PER_MS)


def wait_tone(ms: int | None) -> str:
    """How good an answer after so long a wait is, judged by what `wait` says of it."""
    if ms is None:
        return "quiet"
    return next((tone for most, tone in PATIENCE if round(ms / 100) <= most / 100), "bad")


def heard(access: RecordingAccess) -> str:
    """What a player says that it played; if it says nothing, what it was sent."""
    return spans(access.played) or (f"{spans(access.ranges)} sent" if access.ranges else "")


def spans(ranges: list[list[int]]) -> str:
    """Seconds from and to as 0:00-0:15, 1:30-2:00."""
    each = [[clock(second * audio.SAMPLE_RATE) for second in one] for one in ranges]
    return ", ".join(f"{start}–{stop}" for start, stop in each)


def moment(at: dt.datetime, *, inside: bool = False) -> str:
    """A time in the admin's zone, as a person would say it, to the second; `inside` a sentence or at its beginning."""
    local, today = timezone.localtime(at), timezone.localdate()
    named = {today: "Today", today - dt.timedelta(days=1): "Yesterday"}
    day = named.get(local.date()) or date_format(local, "j M" if local.year == today.year else "j M Y")
    return f"{day.lower() if inside and local.date() in named else day}, {date_format(local, 'H:i:s')}"


def time_tag(at: dt.datetime | None, *, inside: bool = False) -> str | SafeString:
    """The local time, with UTC for whoever points at it."""
    if at is None:
        return "–"
    utc = f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), utc, moment(at, inside=inside))


def status_tag(call: Call, troubles: Iterable[Problem] = ()) -> SafeString:
    """A colour and a word. A call can have ended without Twilio ever saying so: then the word says that.

    Twilio completes a call in which an apology was all that was said: that does not deserve green.
    """
    status = Call.Status(call.status)
    over = call.ended_at is not None and not status.terminal
    tone = "good" if over else TONES.get(status, "quiet")
    if tone == "good" and any(problem.tone == "bad" for problem in troubles):
        tone = "quiet"
    word = "Ended" if over else str(status.label).capitalize().replace("-", " ")
    return format_html('<span class="call-status call-{}">{}</span>', tone, word)


def state_cell(tone: str, word: str, note: str) -> SafeString:
    """A colour, a word, and what else there is to say below it."""
    text = '<span class="call-status call-{}">{}</span><div class="call-note-below">{}</div>'
    return format_html(text, tone, word, note)


def cost(call: Call) -> str:
    """What Twilio charged for the connection: 0.0085 USD. Nothing where that is not known."""
    if call.price is None:
        return ""
    charged = (-call.price).normalize() + 0
    return f"{charged:f} {call.price_unit}".strip()


def direction_tag(call: Call) -> SafeString:
    inbound = call.direction == "inbound"
    return format_html(
        '<span class="call-direction" title="{}"><span aria-hidden="true">{}</span> {}</span>',
        call.direction,
        "↙" if inbound else "↗",
        "In" if inbound else "Out",
    )


def troubles(call: Call, streams: Iterable[Stream], events: Iterable[CallEvent], *, whole: bool) -> list[Problem]:
    """What went wrong with a call; an exception's text is a handler's own, and may hold a number."""
    found = problems(call, streams, events)
    return found if whole else [replace(problem, text=mask_all(problem.text, call)) for problem in found]
