"""Why a call ended, in one sentence, for somebody who was asked: from how its streams ended and what was said of it."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from django.utils import timezone

from calls.access.numbers import mask_all
from calls.admin.wording import in_vain
from calls.models import Call, CallEvent, Stream, Worker
from calls.server.departures import Departure
from calls.summaries.problems import KINDS as PROBLEMS
from calls.summaries.problems import of_event, of_whom
from calls.summaries.stream_errors import STREAM_ERRORS, stream_error_code


# The events that say something of a call's end.
_ASKED = {"hang-up": "hung up", "goodbye": "said goodbye and hung up", "transfer": "transferred the call"}
KINDS = (*PROBLEMS, *_ASKED, "presumed-over", "completed", "busy", "no-answer", "failed", "canceled")
# A socket closes, and its call ends, within this time of each other.
TOGETHER = dt.timedelta(seconds=5)

Tone = Literal["good", "warn", "bad", "quiet"]
Workers = Mapping[str, Worker]


@dataclass(frozen=True)
class Ending:
    """A sentence, and how bad that is: `bad` if it was no end that anybody wanted."""

    text: str
    tone: Tone = "good"


def workers_of(streams: Iterable[Stream]) -> dict[str, Worker]:
    """The workers that have carried these streams, as far as they are still known. One query."""
    owners = {stream.lease_owner for stream in streams if stream.lease_owner}
    return {worker.owner: worker for worker in Worker.objects.filter(owner__in=owners).defer("problems")}


def ending(
    call: Call, streams: Iterable[Stream], events: Iterable[CallEvent], workers: Workers, *, whole: bool
) -> Ending | None:
    """Why it ended; None while it runs. Of the events only those of KINDS are looked at; this asks for nothing itself.

    `whole`: whether whoever reads it may see numbers, which the words of a handler or of staff may hold.
    """
    if call.ended_at is None:
        return None
    streams = sorted(streams, key=lambda stream: (stream.started_at, stream.pk))
    case = _Case(call, [stream for stream in streams if stream.bidirectional] or streams, list(events), workers)
    found = case.ending()
    if moves := case.moves():
        found = replace(found, text=f"{found.text} {moves}")
    found = replace(found, text=of_whom(call, found.text))
    return found if whole else replace(found, text=mask_all(found.text, call))


class _Case:
    """One call, and who can say how it ended: the first one that knows is believed."""

    def __init__(self, call: Call, streams: Sequence[Stream], events: Sequence[CallEvent], workers: Workers) -> None:
        self.call = call
        self.streams = streams
        self.last = streams[-1] if streams else None
        self.events = events
        self.workers = workers

    def ending(self) -> Ending:
        steps = (self.not_answered, self.by_staff, self.by_answer, self.by_stream, self.without_stream)
        return next(found for step in steps if (found := step()))

    # --- who may know -------------------------------------------------------------------------------------------------

    def not_answered(self) -> Ending | None:
        match self.call.status:
            case Call.Status.BUSY if self._latest("refused"):
                return Ending("Turned away with a busy tone: as many calls were running as the worker takes.", "bad")
            case Call.Status.BUSY:
                return Ending("Never answered: the line was busy.", "warn")
            case Call.Status.NO_ANSWER:
                return Ending("Never answered: nobody picked up.", "warn")
            case Call.Status.CANCELED:
                asked = self.by_staff()
                return asked or Ending("Called off before it was answered.", "quiet")
            case Call.Status.FAILED:
                return Ending(f"It could not be put through{self._code('failed')}.", "bad")
        return None

    def by_staff(self) -> Ending | None:
        asked = [event for event in self.events if event.kind in _ASKED and not in_vain(event.data)]
        if not asked:
            return None
        event = max(asked, key=lambda event: event.occurred_at)
        if self.last is not None and self.last.started_at > event.occurred_at:
            return None
        who = str(event.user or "A program of ours")
        return Ending(f"{who} {_ASKED[event.kind]}{_at(event.occurred_at)}.", "quiet")

    def by_answer(self) -> Ending | None:
        """Twilio asked how to go on, or what to do at first, and our answer ended it."""
        event = self._latest("stream-ended") or self._latest("incoming")
        if event is None or self._is_overtaken(event):
            return None
        what, _, why = str(event.data.get("answer", "")).partition(": ")
        if why == "the handler failed":
            return self._handler_failed()
        if what in ("apologised", "refused"):
            problem = of_event(event, self.streams)
            return Ending(problem.text if problem else f"The caller heard an apology: {why}.", "bad")
        if what.startswith("hung up, as "):
            return Ending(f"{what.removeprefix('hung up, as ').removesuffix(' asked')} hung up.", "quiet")
        if why == "the call to the other number is over":
            return Ending("The call to the other number, to which the caller had been connected, was over.")
        return None

    def by_stream(self) -> Ending | None:
        stream = self.last
        if stream is None:
            return None
        if stream.ended_at is None:
            return Ending("Twilio says that it is over. Our stream of it has not ended yet.", "quiet")
        ends = Stream.EndReason
        departure = Departure.read(stream.dial)
        if stream.handler_failed and stream.end_reason not in (ends.STOP, ends.DISCONNECT):
            return self._handler_failed()
        if departure is not None and departure.is_goodbye and departure.is_asked_for:
            return Ending(f"{departure.by or 'A program of ours'} hung up.", "quiet")
        match stream.end_reason:
            case ends.HANDLER:
                return Ending(f"Our handler {stream.handler} had finished, and hung up.")
            case ends.STOP:
                return Ending("The caller hung up.")
            case ends.DIAL:
                return Ending("The caller had been connected to another number, and did not come back.")
            case ends.DISCONNECT:
                return self._disconnected(stream)
            case ends.INTERRUPTED:
                return Ending(f"{_upper(self._death(stream))}, and no other one took the call over.", "bad")
            case ends.SHUTDOWN:
                gone = f"{self._worker(stream)} was shut down{_at(stream.ended_at)}, as a deploy does"
                return Ending(f"{_upper(gone)}, and no other one took the call over.", "bad")
            case ends.ERROR:
                return Ending(f"The stream ended with an error of ours{_at(stream.ended_at)}.", "bad")
        return Ending("Nobody has said why.", "warn")

    def without_stream(self) -> Ending:
        if (error := self._stream_error(None)) is not None:
            return Ending(error, "bad")
        if event := self._latest("presumed-over"):
            reason = event.data.get("reason", "nothing was heard of it any more")
            return Ending(f"Taken for over: {reason}.", "warn")
        if self.call.answered_at is None:
            return Ending("It ended before it was answered: the caller hung up.", "quiet")
        return Ending("It was answered, and no stream of it was ever opened.", "bad")

    # --- what they say ------------------------------------------------------------------------------------------------

    def moves(self) -> str:
        """What its caller has noticed before: each time that a stream broke and another one went on."""
        said = []
        for before, after in zip(self.streams, self.streams[1:], strict=False):
            if before.ended_at is None or before.line != after.line:
                continue
            gone = {
                "interrupted": self._death(before),
                "shutdown": f"{self._worker(before)} was shut down{_at(before.ended_at)}",
                "disconnect": f"the connection broke off{_at(before.ended_at)}",
                "error": f"a stream ended with an error{_at(before.ended_at)}",
            }.get(before.end_reason)
            if gone:
                seconds = max(0.0, before.absent / 8000 or (after.started_at - before.ended_at).total_seconds())
                said.append(f"{gone}, and {self._worker(after, short=True)} went on after {seconds:.1f} s")
        if not said:
            return ""
        return (
            f"Before that {'; '.join(said[-3:])}." if len(said) <= 3 else f"Before that it was moved {len(said)} times."
        )

    def _handler_failed(self) -> Ending:
        name = self.last.handler if self.last else self.call.handler
        event = self._latest("handler-failed")
        error, line = (str(event.data.get(key, "")).strip(" .") if event else "" for key in ("error", "line"))
        return Ending(
            f"Our handler {name} failed{f': {error}' if error else ''}{f', at {line}' if line else ''}.", "bad"
        )

    def _disconnected(self, stream: Stream) -> Ending:
        if (error := self._stream_error(stream)) is not None:
            return Ending(error, "bad")
        if event := self._latest("presumed-over"):
            reason = event.data.get("reason", "")
            text = f"The connection broke off{_at(stream.ended_at)}, and nothing more was heard of the call: {reason}."
            return Ending(text, "bad")
        if stream.ended_at and self.call.ended_at and abs(self.call.ended_at - stream.ended_at) <= TOGETHER:
            return Ending("The caller hung up.")
        code = f" with code {stream.close_code}" if stream.close_code else ""
        text = f"The connection between Twilio and us broke off{_at(stream.ended_at)}{code}, and none took its place."
        return Ending(text, "bad")

    def _death(self, stream: Stream) -> str:
        """When it was heard of last, for as long as that is known; else when somebody noticed."""
        worker = self.workers.get(stream.lease_owner)
        # One that lives on had lost its way to the database, so that others took it for dead.
        if worker is not None and stream.ended_at is not None and worker.seen_at <= stream.ended_at:
            return f"worker {worker} died (last heard of at {_clock(worker.seen_at)})"
        return f"the worker died (noticed{_at(stream.ended_at)})"

    def _worker(self, stream: Stream, *, short: bool = False) -> str:
        worker = self.workers.get(stream.lease_owner)
        return f"worker {worker}" if worker else "another one" if short else "the worker"

    def _stream_error(self, stream: Stream | None) -> str | None:
        """What Twilio says was wrong: with that stream, or with opening one."""
        events = [event for event in self.events if event.kind == "stream-error"]
        for event in sorted(events, key=lambda event: event.occurred_at, reverse=True):
            said = next((str(event.data[name]) for name in ("StreamError", "ErrorCode") if event.data.get(name)), "")
            code = stream_error_code(said)
            known = STREAM_ERRORS.get(code or 0)
            if code == 31921 or (known and known.stage == "warned"):
                continue
            if stream is None or event.data.get("StreamSid") in (None, "", stream.sid):
                what = known.meaning if known else said or "it does not say which"
                where = "Twilio could not open a stream" if stream is None else "The connection to Twilio was lost"
                return f"{where}{_at(event.occurred_at)}: {what} (Twilio's error {code or 'unknown'})."
        return None

    def _code(self, kind: str) -> str:
        event = self._latest(kind)
        data = event.data if event else {}
        said = next((f"{name} {data[name]}" for name in ("SipResponseCode", "ErrorCode") if data.get(name)), "")
        return f" ({said.replace('SipResponseCode', 'SIP').replace('ErrorCode', 'Twilio error')})" if said else ""

    def _latest(self, kind: str) -> CallEvent | None:
        found = [event for event in self.events if event.kind == kind]
        return max(found, key=lambda event: event.occurred_at, default=None)

    def _is_overtaken(self, event: CallEvent) -> bool:
        """Whether a stream has begun since, so that it was not the end."""
        return self.last is not None and self.last.started_at > event.occurred_at


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _clock(at: dt.datetime) -> str:
    return f"{timezone.localtime(at):%H:%M:%S}"


def _at(at: dt.datetime | None) -> str:
    return f" at {_clock(at)}" if at else ""
