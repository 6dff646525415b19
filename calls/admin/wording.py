"""What a person would say: of events, of marks, of a call as a whole, and in the name of its file."""

import json
from typing import Any

from django.utils import timezone

from calls.access import numbers
from calls.admin.cells import clock
from calls.media.figures import figure
from calls.models import Call, CallEvent, Mark, Stream
from calls.server.departures import Departure
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
    "playback-paused": "We paused",
    "playback-resumed": "We went on from there",
    "source-failed": "What we were saying broke off",
    "unsent": "The caller left before all was said",
    "dialled": "The caller was connected to another number",
    "returned": "The caller was back",
    "recording-paused": "The recording was paused",
    "recording-resumed": "The recording went on",
    "take-over": "A person took over",
    "hand-back": "They handed back",
    "takeover-ended": "The takeover ended",
    "handler-failed": "The handler failed",
    "handlers-kept": "The handler's last code that worked was used, since what is on disk cannot be",
    "handler-returned-at-once": "The handler returned at once, and had said nothing",
    "prepare-failed": "What the handler prepares was not there",
    "handler-cut": "The handler took too long to finish, and was ended",
    "sent-after-hang-up": "The handler went on playing after it had hung up",
    "await-forgotten": "An await is missing in the handler",
    "loop-blocked": "All audio stood still",
    "note": "The handler noted",
    "words-missing": "Some of what was said is not written down",
    "words-found": "What was not written down at first was, later",
    # What was done to it from outside (calls.server.control).
    "clear": "What was playing was cleared",
    "play": "A sound was asked for",
    "play-heard": "A sound was played",
    "play-cleared": "A part of a sound was played",
    "dial": "Another number was asked for",
    "hand-over": "Another handler was asked for",
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
    "simulation-failed": "The simulated caller failed",
    "import": "Imported from another installation",
}
# What a running call's list says of what is no event (calls.supervision.meters).
_OTHERS = {
    "key": "The caller pressed a key",
    "play-played": "What we played was heard",
    "play-cleared": "What we played was cut short",
    "mark-played": "A mark was heard",
    "mark-cleared": "A mark was cleared before it was heard",
}
# How what was asked of Twilio went.
_OUTCOMES = {"-failed": ", and refused", "-unknown": ", and Twilio did not answer"}
# What came of an act that did not reach the call, or of which nobody knows (calls.server.control).
IN_VAIN = {"not live": "in vain", "no answer": "and nobody answered"}
_ASKED = {"clear": "To clear what plays was asked for"}
_MARKS = {
    Mark.Outcome.PLAYED: ("Heard to its end", "what we had played until then"),
    Mark.Outcome.CLEARED: ("Cut short", "what we were playing was not heard to its end"),
    Mark.Outcome.PENDING: ("Being played", "Twilio has not said yet that it was heard"),
}


def in_vain(data: dict[str, Any]) -> str:
    """How an act failed, if it did."""
    return IN_VAIN.get(str(data.get("outcome", "")), "")


def of_event(event: CallEvent, call: Call) -> str:
    """A kind that is not known here, which Twilio may send tomorrow, is shown as it is."""
    if vain := in_vain(event.data):
        return f"{_ASKED.get(event.kind) or _EVENTS.get(event.kind, event.kind)}, {vain}"
    if event.kind in _EVENTS:
        return of_whom(call, _EVENTS[event.kind])
    for ending, outcome in _OUTCOMES.items():
        if (asked := event.kind.removesuffix(ending)) != event.kind and asked in _EVENTS:
            return _EVENTS[asked] + outcome
    return event.kind


def of_kinds(call: Call) -> dict[str, str]:
    """What happened in a running call, by the kind that its process tells."""
    return {kind: of_whom(call, text) for kind, text in (_EVENTS | _OTHERS).items()}


def about_event(event: CallEvent, data: dict[str, Any]) -> str:
    """What else is worth knowing at a glance; `data` is the event's, as far as whoever reads it may see it."""
    if in_vain(data):
        return ": ".join(str(data[name]) for name in ("name", "number", "handler", "why") if data.get(name))
    match event.kind:
        case "clear" | "play" | "play-heard" | "play-cleared" | "hang-up" | "dial" | "hand-over":
            by = "by code" if data.get("by") == "code" else ""
            if text := ", ".join(filter(None, [_about_act(event, data), by])):
                return text
        case "loop-blocked":
            held_by = [str(data[name]) for name in ("by", "line") if data.get(name)]
            return ", ".join([f"{data.get('seconds', '?')} s", *held_by])
        case "handler-failed" | "prepare-failed" | "handlers-kept" | "source-failed":
            return ", at ".join(str(data[name]) for name in ("error", "line") if data.get(name))
        case "handler-returned-at-once":
            return f"after {data.get('seconds', '?')} s"
        case "playback-paused" | "playback-resumed":
            return f"after {(figure(data, 'heard_ms') or 0) / 1000:.1f} s of it"
        case "take-over":
            return "in the handler's place"
        case "hand-back" | "takeover-ended":
            why = f": {data['why']}" if data.get("why") else ""
            return f"after {round(figure(data, 'seconds') or 0)} s{why}"
        case "note":
            return str(data.get("text", ""))
        case "words-missing":
            side = "theirs" if data.get("lane") == "inbound" else "ours"
            return f"{data.get('length', '?')} s of {side}, from {data.get('start', '?')} s on: {data.get('why', '')}"
        case "import":
            return f"from {data.get('from') or data.get('file') or 'a file'}"
        case "dialled":
            return str(data.get("number", ""))
        case "returned":
            return outcome_of_dial(data)
        case "barge-in":
            return "with a key" if data.get("by") == "key" else "by speaking"
    said = next((data[name] for name in ("answer", "reason", "StreamError", "line") if data.get(name)), "")
    return str(said) or str(CallEvent.Source(event.source).label)


def _about_act(event: CallEvent, data: dict[str, Any]) -> str:
    """What was done from outside, and when it takes effect. The page goes on with "by" and who did it."""
    waits = f"in {_seconds(data, 'waits_ms')}" if data.get("waits_ms") else ""
    name = str(data.get("name") or "a sound")
    match event.kind:
        case "clear":
            return f"{_seconds(data, 'cleared_ms')} of it"
        case "play":
            return ", ".join(filter(None, [f"{name} ({_seconds(data, 'length_ms')})", waits]))
        case "play-heard":
            return f"{name}, to its end"
        case "play-cleared":
            return f"{name}, {_seconds(data, 'heard_ms')} of {_seconds(data, 'length_ms')}"
        case "dial" | "hand-over":
            return ", ".join(filter(None, [str(data.get("number") or data.get("handler") or ""), waits]))
    # One that was asked of Twilio waits for nothing.
    return waits or ("at once" if "waits_ms" in data else "")


def _seconds(data: dict[str, Any], name: str) -> str:
    ms = figure(data, name)
    return "? s" if ms is None else f"{ms / 1000:.1f} s"


def of_end(stream: Stream) -> str:
    """How a stream has ended: in its row's word, or as somebody has asked."""
    departure = Departure.read(stream.dial)
    if departure is None or not departure.is_asked_for or stream.end_reason != departure.reason:
        return stream.get_end_reason_display()
    how = f"handed over to {departure.handler}" if departure.handler else "another number was dialled"
    return f"{'hung up' if departure.is_goodbye else how}, as {departure.by or 'code'} asked"


def of_missing_words(data: dict[str, Any], start: int, end: int, call: Call) -> str:
    """Which words a `words-missing` event is about, from and to these samples of the recording, and why."""
    whose = of_whom(call, "the caller") if data.get("lane") == "inbound" else "us"
    why = str(data.get("why", ""))
    return f"Words of {whose} are missing from {clock(start)} to {clock(end)}{': ' if why else ''}{why}"


def of_value(value: Any) -> str:
    """A value of JSON: text as it is, anything else as JSON has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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
