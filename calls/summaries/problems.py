"""What went wrong with a call, in words: what its caller noticed, and what to do about it.

The call's page, the list's chips and `Call.has_warning` all ask here, so that none of them knows more than the others.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from django.conf import settings

from calls.media.audio import SAMPLE_RATE
from calls.models import Call, CallEvent, Stream
from calls.summaries.absence import is_worth_a_warning
from calls.summaries.stream_errors import STREAM_ERRORS, stream_error_code


# The events that tell of one.
KINDS = (
    *("incoming", "stream-ended", "refused", "stream-error", "loop-blocked", "await-forgotten"),
    *("handler-failed", "handler-returned-at-once", "handlers-kept", "prepare-failed", "source-failed"),
    "words-missing",
)
# The fields of streams that are looked at.
STREAM_FIELDS = (
    *("call", "sid", "name", "bidirectional", "started_at", "ended_at", "end_reason", "length", "absent"),
    *("frames_missing", "frames_rejected", "handler_failed", "handler_overruns"),
)
_FRAMES = 50
_FAILED = "handler failed"


@dataclass(frozen=True)
class Problem:
    """A word for the list's chip, a sentence on what happened, and one on what can be done."""

    word: str
    text: str
    advice: str = ""
    tone: Literal["bad", "warn", "quiet"] = "warn"

    @property
    def is_warning(self) -> bool:
        return self.tone != "quiet"


def problems(call: Call, streams: Iterable[Stream], events: Iterable[CallEvent]) -> list[Problem]:
    """All of a call, worst first. Of the events only those of KINDS are looked at; this asks for nothing itself."""
    streams = list(streams)
    found = [*_of_events(events, streams), *_of_streams(streams)]
    if any(stream.handler_failed for stream in streams) and not any(p.word == _FAILED for p in found):
        found.append(Problem(_FAILED, "The handler failed.", "The server's log has the traceback.", "bad"))
    if not any(problem.tone == "bad" for problem in found) and _has_no_audio(call, streams):
        text = "The call was answered, and nothing of it was recorded: no stream was opened."
        advice = "Check that /incoming can be reached and answers with a <Stream>; Twilio's debugger knows more."
        found.append(Problem("no audio", text, advice, "bad"))
    found = [replace(problem, text=of_whom(call, problem.text)) for problem in found]
    return sorted(found, key=lambda problem: ("bad", "warn", "quiet").index(problem.tone))


def of_whom(call: Call, text: str) -> str:
    """Our sentences speak of the caller; of a call that we placed, we are that."""
    if not call.direction.startswith("outbound"):
        return text
    return text.replace("the caller", "the other side").replace("The caller", "The other side")


# --- what was said of it ---------------------------------------------------------------------------------------------


def _of_events(events: Iterable[CallEvent], streams: Sequence[Stream]) -> list[Problem]:
    """Twilio tries again, and so do we: what happened five times is said once."""
    found = Counter(problem for event in events if (problem := of_event(event, streams)))
    return [_several(problem, times) for problem, times in found.items()]


def _several(problem: Problem, times: int) -> Problem:
    text = problem.text if times == 1 else f"{problem.text} That happened {times} times."
    return Problem(problem.word, text, problem.advice, problem.tone)


def of_event(event: CallEvent, streams: Sequence[Stream]) -> Problem | None:
    """What an event says went wrong, if it does."""
    match event.kind:
        case "stream-error":
            return _of_stream_error(event.data, streams)
        case "handler-failed":
            return _of_failure(event, streams)
        case "source-failed":
            return _of_source(event)
        case "handlers-kept":
            text = f"The call went by the handler's last code that worked: {_error(event)}"
            return Problem("old code", text, "Mend what has changed: the next call takes it.")
        case "handler-returned-at-once":
            return _of_return(event)
        case "await-forgotten":
            return _of_await(event)
        case "prepare-failed":
            return _of_preparation(event)
        case "loop-blocked":
            return _of_stall(event)
        case "words-missing":
            return _of_words(event)
        case "incoming" | "stream-ended" | "refused":
            return _of_answer(str(event.data.get("answer", "")))
    return None


_MORE_ROOM = "Start more workers, or raise MAX_STREAMS."
# What an apology's words begin with (calls/views.py, calls/webhooks/), and what can be done about it.
_ADVICE = {
    "as many calls": _MORE_ROOM,
    "there is no handler": "Add it to STREAM_HANDLERS, or let the number lead to /incoming/ and a handler's name.",
    "the handler": "Mend the handler; the server's log has the traceback.",
    "the document of": "Mend the handler; the server's log has the traceback.",
    "Twilio could not use": "Mend the handler's TwiML: the code is explained at https://www.twilio.com/docs/api/errors.",
}


def _of_answer(answer: str) -> Problem | None:
    """What the caller got instead of a conversation. Of a handler that failed its own event knows more."""
    what, _, why = answer.partition(": ")
    if what == "refused":
        text = "The caller heard a busy tone: as many calls were running as this server takes."
        return Problem("refused", text, _MORE_ROOM, "bad")
    if what != "apologised" or why == "the handler failed":
        return None
    known = (advice for begins, advice in _ADVICE.items() if why.startswith(begins))
    advice = next(known, "The timeline and the server's log say more.")
    return Problem("not taken", f"The caller heard an apology: {why}.", advice, "bad")


def _of_stall(event: CallEvent) -> Problem:
    line, seconds, by = (str(event.data.get(name, "")) for name in ("line", "seconds", "by"))
    where = f", in {line}" if line else ""
    text = f"All audio stood still for {seconds or 'some'} s: {by or 'something'} held the server up{where}."
    advice = "What takes long has to be awaited, or be given to a thread."
    return Problem("held up", text, advice)


def _of_words(event: CallEvent) -> Problem:
    why = str(event.data.get("why", "")) or "nobody knows why"
    text = f"Some of what was said is not written down: {why}."
    return Problem("words missing", text, "manage.py transcribe_calls listens to the recording once more.", "quiet")


def _of_failure(event: CallEvent, streams: Sequence[Stream]) -> Problem:
    stream = next((stream for stream in streams if stream.pk == event.stream_id), None)
    after = f" after {(event.occurred_at - stream.started_at).total_seconds():.1f} s" if stream else ""
    where = f", at {line}" if (line := event.data.get("line")) else ""
    text = " ".join(part for part in (f"The handler failed{after}{where}.", _error(event), _outcome(stream)) if part)
    advice = str(event.data.get("advice", "Mend the handler; the server's log has the traceback."))
    return Problem(_FAILED, text, advice, "bad")


def _of_return(event: CallEvent) -> Problem:
    seconds = event.data.get("seconds", "?")
    text = f"The handler returned after {seconds} s, and the caller was hung up on without having heard anything."
    advice = "A handler talks for as long as it runs: it has to await what it is to wait for."
    return Problem("said nothing", text, advice, "bad")


def _of_await(event: CallEvent) -> Problem:
    what, line = (str(event.data.get(name, "")) for name in ("what", "line"))
    text = f"An await is missing in the handler, at {line}: {what}() alone does nothing."
    return Problem("await missing", text, "Write await in front of it.")


def _of_preparation(event: CallEvent) -> Problem:
    where = f", at {line}" if (line := event.data.get("line")) else ""
    text = f"What the handler prepares for a call was not there{where}: {_error(event)}"
    return Problem("not prepared", text, "Mend its prepare: it has 2 s, and the handler goes on without it.")


def _of_source(event: CallEvent) -> Problem:
    text = f"What we were saying to the caller broke off. {_error(event)}"
    return Problem("broke off", text, "What gives the speech has failed; the server's log has the traceback.")


def _error(event: CallEvent) -> str:
    """The exception, as a sentence."""
    error = str(event.data.get("error", "")).strip()
    return error if not error or error.endswith((".", "!", "?")) else f"{error}."


def _outcome(stream: Stream | None) -> str:
    if stream and not stream.bidirectional:
        return "The call itself went on."
    if settings.FAILED_HANDLER_TWIML:
        return "The call went on as FAILED_HANDLER_TWIML says."
    return "The caller heard an apology."


# --- what Twilio says of a stream ------------------------------------------------------------------------------------


def _of_stream_error(data: dict[str, Any], streams: Sequence[Stream]) -> Problem | None:
    said = next((str(data[name]) for name in ("StreamError", "ErrorCode", "ErrorMessage") if data.get(name)), "")
    code = stream_error_code(said)
    stream = next((stream for stream in streams if stream.sid == data.get("StreamSid")), None)
    if stream and _is_no_news(code, stream):
        return None
    error = STREAM_ERRORS.get(code or 0)
    if error is None:
        text = f"Twilio reported an error of the stream: {said or 'it does not say which'}."
        return Problem("stream error", text, "Twilio's debugger and the server's log may know more.", "bad")
    if error.stage == "warned":
        return Problem("stream warning", f"Twilio warns ({code}): {error.meaning}.", error.advice)
    if error.stage == "broken":
        return Problem("stream broke off", f"The stream broke off ({code}): {error.meaning}.", error.advice, "bad")
    who = "a stream" if streams else "the stream, so the caller reached nobody"
    text = f"Twilio could not open {who} ({code}): {error.meaning}."
    return Problem("not connected", text, error.advice, "bad")


def _is_no_news(code: int | None, stream: Stream) -> bool:
    """Twilio takes the way in which we end a stream for an error: the stream's row knows better how it ended."""
    ends = Stream.EndReason
    by_us = (ends.STOP, ends.HANDLER, ends.SHUTDOWN, ends.ERROR, ends.INTERRUPTED)
    return code == 31921 or (code == 31903 and stream.end_reason in by_us)


# --- what was counted ------------------------------------------------------------------------------------------------


def _of_streams(streams: Sequence[Stream]) -> Iterator[Problem]:
    reasons = {stream.end_reason for stream in streams if not stream.handler_failed}
    if Stream.EndReason.INTERRUPTED in reasons:
        text = "The process that served a stream died; what is missing of it is marked."
        yield Problem("cut short", text, "The server's log of that moment may say why.", "bad")
    if Stream.EndReason.ERROR in reasons:
        yield Problem("stream error", "A stream ended with an error.", "The server's log has it.", "bad")
    if missing := sum(stream.frames_missing for stream in streams):
        text = f"{missing / _FRAMES:.2f} s of the caller's audio never came."
        or_died = ", or our process when it died" if Stream.EndReason.INTERRUPTED in reasons else ""
        yield Problem("audio missing", text, f"The line lost it{or_died}; the timeline shows where.")
    if rejected := sum(stream.frames_rejected for stream in streams):
        yield Problem("messages left out", f"Messages that did not follow Twilio's protocol were left out: {rejected}.")
    if overruns := sum(stream.handler_overruns for stream in streams):
        text = f"The handler was too slow: {overruns / _FRAMES:.1f} s of audio were dropped from its queue."
        yield Problem("handler slow", text, "The recording has them; the handler has to read faster.")
    if unheard := sum(stream.absent for stream in streams if is_worth_a_warning(stream)):
        text = f"For {unheard / SAMPLE_RATE:.1f} s of the call there was no stream: nothing of that was recorded."
        yield Problem("part missing", text, "The server's log of that moment may say why.", "bad")
    # Two that run at once do not replace each other: <Start> beside <Connect>.
    lines = Counter(stream.line for stream in streams if stream.end_reason != Stream.EndReason.DIAL)
    if count := sum(again for again in lines.values() if again > 1):
        yield Problem("reconnected", f"The call was carried by {count} streams, one after the other.", tone="quiet")


def _has_no_audio(call: Call, streams: Sequence[Stream]) -> bool:
    """Erased audio was there once: its streams still have their lengths."""
    over = call.ended_at and call.answered_at and not call.dialing
    return bool(over and not any(stream.length or stream.ended_at is None for stream in streams))
