"""What a person would say: of events, of marks, of a call as a whole, and in the name of its file."""

import re
from typing import Any

from django.utils import timezone

from calls.admin import numbers
from calls.models import Call, CallEvent, Mark
from calls.server.marks import OWN_MARK
from calls.summaries.problems import of_whom


_EVENTS = {
    # Twilio's status callbacks.
    "queued": "Twilio took the call into its queue",
    "initiated": "Twilio began to dial",
    "ringing": "The phone rang",
    "in-progress": "The call was answered",
    "completed": "The call ended",
    "busy": "The line was busy",
    "no-answer": "Nobody answered",
    "failed": "The call could not be put through",
    "canceled": "The call was called off",
    "stream-started": "Twilio opened the stream",
    "stream-stopped": "Twilio ended the stream",
    "stream-error": "Twilio reported an error of the stream",
    # Its questions, and our answers.
    "incoming": "Twilio asked what to do",
    "stream-ended": "Twilio asked how to go on",
    "refused": "The call was refused",
    # What happened on a stream.
    "barge-in": "The caller interrupted us",
    "cleared": "We stopped talking",
    "unsent": "The caller left before all was said",
    "dialled": "The caller was connected to another number",
    "returned": "The caller was back",
    "recording-paused": "The recording was paused",
    "recording-resumed": "The recording went on",
    "handler-failed": "The handler failed",
    "handler-cut": "The handler took too long to finish, and was ended",
    "sent-after-hang-up": "The handler went on playing after it had hung up",
    "await-forgotten": "An await is missing in the handler",
    "loop-blocked": "All audio stood still",
    # What was asked of Twilio.
    "place": "The call was asked for",
    "hang-up": "A hang-up was asked for",
    "goodbye": "A goodbye was asked for",
    "transfer": "A transfer was asked for",
    "listen-again": "The stream was asked for again",
    "listening-given-up": "Nobody listens any more",
    "stop-listening": "Twilio was asked to end the stream",
    "looked-up": "Twilio was asked about the call",
    "presumed-over": "Taken for over",
    "presumed-over-wrongly": "Wrongly taken for over",
}
# How what was asked of Twilio went.
_OUTCOMES = {"-failed": ", and refused", "-unknown": ", and Twilio did not answer"}
_MARKS = {
    Mark.Outcome.PLAYED: ("Heard to its end", "what we had played until then"),
    Mark.Outcome.CLEARED: ("Cut short", "what we were playing was not heard to its end"),
    Mark.Outcome.PENDING: ("Being played", "Twilio has not said yet that it was heard"),
}


def of_event(event: CallEvent, call: Call) -> str:
    """A kind that is not known here, which Twilio may send tomorrow, is shown as it is."""
    if event.kind in _EVENTS:
        return of_whom(call, _EVENTS[event.kind])
    for ending, outcome in _OUTCOMES.items():
        if (asked := event.kind.removesuffix(ending)) != event.kind and asked in _EVENTS:
            return _EVENTS[asked] + outcome
    return event.kind


def about_event(event: CallEvent, data: dict[str, Any]) -> str:
    """What else is worth knowing at a glance; `data` is the event's, as far as whoever reads it may see it."""
    match event.kind:
        case "loop-blocked":
            return ", ".join(filter(None, [f"{data.get('seconds', '?')} s", data.get("by"), data.get("line")]))
        case "handler-failed":
            return str(data.get("error", ""))
        case "dialled":
            return str(data.get("number", ""))
        case "returned":
            return outcome_of_dial(data)
        case "barge-in":
            return "with a key" if data.get("by") == "key" else "by speaking"
    said = next((data[name] for name in ("answer", "reason", "StreamError", "line") if data.get(name)), "")
    return str(said) or str(CallEvent.Source(event.source).label)


def outcome_of_dial(data: dict[str, Any]) -> str:
    """What became of a number, in Twilio's word; how long they talked, if they did."""
    seconds = data.get("duration")
    return f"{data.get('number', '')}: {data.get('status', 'unknown')}" + (f", {seconds} s" if seconds else "")


def of_mark(mark: Mark) -> tuple[str, str]:
    """Marks that `play` sends for itself have no name that anybody has given."""
    if mark.name.startswith(OWN_MARK):
        return _MARKS[Mark.Outcome(mark.outcome)]
    was = {"played": "was heard", "cleared": "was cleared before it was heard", "pending": "has not come back"}
    return f"Mark {mark.outcome}", f"“{mark.name}” {was[mark.outcome]}"


def of_call(call: Call, whole: bool) -> str:
    """Who called whom and when, as far as whoever reads it may know."""
    caller, called = (numbers.shown(number, whole) or "unknown" for number in (call.from_number, call.to_number))
    return f"{caller} → {called}, {timezone.localtime(call.created_at):%d %b %Y %H:%M}"


def file_name(call: Call, whole: bool) -> str:
    """Which call, when and with whom, without an ending. Nothing that a caller wrote gets into a header."""
    other = call.to_number if call.direction.startswith("outbound") else call.from_number
    digits = re.sub(r"[^0-9]", "", other)[:15] if whole else ""
    parts = ["call", str(call.pk), f"{timezone.localtime(call.created_at):%Y-%m-%d-%H%M%S}", digits]
    return "-".join(filter(None, parts))
