"""A request that Twilio signed: what it says of the call, and what of it is kept."""

import datetime as dt
import hashlib
import re
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from calls.media.rows import CallRow
from calls.models import Call
from calls.security import SIMULATED, CallRef, is_simulators
from calls.webhooks.answers import without_ref


# What a handler is told as <Parameter>s, being too long for its token, and how much of it: 500 characters are allowed.
TOLD = ("CallerName", "ForwardedFrom", "AnsweredBy")
CUT = 400
# Never stored: long opaque tokens, and what has a column of its own.
SECRET_PARAMETERS = {"CallToken", "StirPassportToken", "ref", "outing"}
COLUMNS = {
    "AccountSid": "account_sid",
    "From": "from_number",
    "To": "to_number",
    "Direction": "direction",
    "CallStatus": "status",
    "CallerName": "caller_name",
    "ForwardedFrom": "forwarded_from",
    "AnsweredBy": "answered_by",
}


def number(text: str | None) -> int | None:
    """A counter of Twilio's, as large as a column takes; None for anything else."""
    return min(int(text), 2**31 - 1) if text and re.fullmatch("[0-9]{1,18}", text) else None


@dataclass(frozen=True)
class Webhook:
    """A request that Twilio signed, with a usable CallSid."""

    request: HttpRequest
    parameters: dict[str, str]

    @property
    def call_sid(self) -> str:
        return self.parameters["CallSid"]

    @property
    def occurred_at(self) -> dt.datetime:
        """When what a callback tells of happened."""
        return _moment(self.parameters.get("Timestamp", ""))

    @property
    def is_answered(self) -> bool:
        """Whether somebody has picked up, and the call is not over."""
        return self.parameters.get("CallStatus") == Call.Status.IN_PROGRESS

    @property
    def call(self) -> CallRow:
        """What this request says of the call."""
        facts: dict[str, Any] = {
            field: value for name, field in COLUMNS.items() if (value := self.parameters.get(name))
        }
        if (duration := number(self.parameters.get("CallDuration"))) is not None:
            facts["duration"] = duration
        return CallRow(self.call_sid, facts, self.ref.call if self.ref else None, timezone.now())

    @property
    def ref(self) -> CallRef | None:
        """Which row of ours this call is, if we placed it."""
        return CallRef.read(self.parameters.get("ref"))

    @property
    def custom(self) -> dict[str, str]:
        """What the handler is told beside the numbers: what a call that we placed was given, and who answered it."""
        said = {name: value[:CUT] for name in TOLD if (value := self.parameters.get(name))}
        given = self.ref.parameters if self.ref else {}
        return {**said, **given, **{name: said[name] for name in ("AnsweredBy",) if name in said}}

    def reminded(self, **known: str) -> "Webhook":
        """With what the call's first request said: whether later ones repeat it is not documented."""
        missing = {name: value for name, value in known.items() if value and not self.parameters.get(name)}
        return replace(self, parameters={**self.parameters, **missing})

    @property
    def delivery(self) -> str:
        """The same for each delivery of one request: https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides."""
        if token := self.request.headers.get("I-Twilio-Idempotency-Token", "")[:64]:
            return token
        names = ("CallStatus", "ErrorCode", "handler", "resumed", "DialCallSid", "DialCallStatus")
        key = ":".join([self.request.path[:60], *(self.parameters.get(name, "")[:40] for name in names)])
        # Two ends of streams may fail in the same way: their addresses differ.
        url = self.parameters.get("ErrorUrl", "").encode(errors="replace")
        return f"{key}:{hashlib.sha256(url).hexdigest()[:16]}" if url else key

    @property
    def other_parameters(self) -> dict[str, str]:
        left_out = {"CallSid", *COLUMNS, SIMULATED}
        others = {name: value for name, value in self.data.items() if name not in left_out}
        # Only our simulator can say so: with a TwiML application, callers choose parameters themselves.
        return {**others, **({SIMULATED: "yes"} if is_simulators(self.parameters.get(SIMULATED, "")) else {})}

    @property
    def data(self) -> dict[str, str]:
        """Everything that is worth keeping of a callback."""
        return {
            name: without_ref(value)
            for name, value in self.parameters.items()
            if value and name not in SECRET_PARAMETERS
        }


def _moment(text: str) -> dt.datetime:
    """A Timestamp: RFC 2822 on calls, ISO 8601 with nanoseconds on streams; now if it is neither."""
    for parse in (dt.datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
            # Year 1 or 9999 of another zone may not exist in ours.
            return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return timezone.now()
