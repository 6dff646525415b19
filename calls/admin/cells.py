"""Facts of a call as people read them: lengths, times, statuses and what is worth a second look."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from calls import absence, audio
from calls.models import Call, Stream


TONES = {
    Call.Status.COMPLETED: "good",
    Call.Status.IN_PROGRESS: "live",
    Call.Status.RINGING: "live",
    Call.Status.BUSY: "warn",
    Call.Status.NO_ANSWER: "warn",
    Call.Status.FAILED: "bad",
}


@dataclass(frozen=True)
class Concern:
    """Something about a call that somebody should look at: a word for the list, a sentence for whoever points at it."""

    word: str
    text: str
    tone: str = "warn"


INTERRUPTED = Concern("interrupted us", "The caller spoke or pressed a key into playback.", "quiet")


def clock(samples: int) -> str:
    """Samples as 0:07, 12:34 or 1:02:03."""
    seconds = samples // audio.SAMPLE_RATE
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def recorded_so_far(call: Call, streams: Iterable[Stream]) -> float:
    """Seconds of a running call's recording, about: it goes on while this is read. Of one that is over, none."""
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


def spans(ranges: list[list[int]]) -> str:
    """Seconds from and to as 0:00-0:15, 1:30-2:00."""
    each = [[clock(second * audio.SAMPLE_RATE) for second in one] for one in ranges]
    return ", ".join(f"{start}–{stop}" for start, stop in each)


def moment(at: dt.datetime) -> str:
    """A time in the admin's zone, as close to speech as it stays exact."""
    local, today = timezone.localtime(at), timezone.localdate()
    day = {today: "Today", today - dt.timedelta(days=1): "Yesterday"}.get(local.date())
    day = day or date_format(local, "j M" if local.year == today.year else "j M Y")
    return f"{day}, {date_format(local, 'H:i:s')}"


def time_tag(at: dt.datetime | None) -> str | SafeString:
    """The local time, with UTC for whoever points at it."""
    if at is None:
        return "–"
    utc = f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), utc, moment(at))


def status_tag(call: Call) -> SafeString:
    """A colour and a word. A call can have ended without Twilio ever saying so: then the word says that."""
    status = Call.Status(call.status)
    over = call.ended_at is not None and not status.terminal
    tone = "good" if over else TONES.get(status, "quiet")
    word = "Ended" if over else str(status.label).capitalize().replace("-", " ")
    return format_html('<span class="call-status call-{}">{}</span>', tone, word)


def direction_tag(call: Call) -> SafeString:
    inbound = call.direction == "inbound"
    return format_html(
        '<span class="call-direction" title="{}"><span aria-hidden="true">{}</span> {}</span>',
        call.direction,
        "↙" if inbound else "↗",
        "In" if inbound else "Out",
    )


def warnings(call: Call, streams: Iterable[Stream]) -> list[Concern]:
    """Everything that is wrong with a call, worst first; with its streams at hand it costs no query."""
    streams = list(streams)
    found = [
        *_of_handler(streams),
        *_of_endings(streams),
        *_of_frames(streams),
    ]
    if call.ended_at and call.answered_at and not call.audio_samples:
        found.append(Concern("no audio", "The call was answered, and nothing of it was recorded.", "bad"))
    return found


def _of_handler(streams: list[Stream]) -> Iterable[Concern]:
    if any(stream.handler_failed for stream in streams):
        yield Concern("handler failed", "The handler raised an exception; the call's timeline has it.", "bad")
    if overruns := sum(stream.handler_overruns for stream in streams):
        yield Concern("handler slow", f"The handler was too slow for {overruns} frames; the recording has them.")


def _of_endings(streams: list[Stream]) -> Iterable[Concern]:
    reasons = {stream.end_reason for stream in streams}
    if Stream.EndReason.INTERRUPTED in reasons:
        yield Concern("cut short", "The process that served a stream died; what is missing is marked.", "bad")
    if Stream.EndReason.ERROR in reasons:
        yield Concern("stream error", "A stream ended with an error.", "bad")
    if unheard := sum(stream.absent for stream in streams if absence.is_worth_a_warning(stream)):
        text = f"For {unheard / audio.SAMPLE_RATE:.1f} s of the call there was no stream: nothing of that was recorded."
        yield Concern("part missing", text, "bad")
    # Two that run at once are none: <Start> beside <Connect>.
    if count := sum(again for again in Counter(stream.line for stream in streams).values() if again > 1):
        yield Concern("reconnected", f"The call was carried by {count} streams, one after the other.")


def _of_frames(streams: list[Stream]) -> Iterable[Concern]:
    if missing := sum(stream.frames_missing for stream in streams):
        yield Concern("frames missing", f"{missing * 20 / 1000:.2f} s of the caller's audio never came.")
    if rejected := sum(stream.frames_rejected for stream in streams):
        yield Concern("messages rejected", f"{rejected} messages broke Twilio's protocol and were left out.")
