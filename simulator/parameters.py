"""The form fields of Twilio's requests: https://www.twilio.com/docs/voice/twiml#request-parameters."""

import secrets
import time
from datetime import UTC, datetime
from email.utils import format_datetime

from simulator.scenario import Scenario


def voice(scenario: Scenario, status: str) -> dict[str, str]:
    """What every request about a call carries. Called and Caller mirror To and From; a failed lookup is sent empty."""
    sides = {"From": scenario.from_number, "Caller": scenario.from_number}
    sides |= {"To": scenario.to_number, "Called": scenario.to_number}
    places = {f"{side}{part}": "" for side in sides for part in ("City", "State", "Zip", "Country")}
    sids = {"AccountSid": scenario.account_sid, "CallSid": scenario.call_sid}
    return {
        **sids,
        "ApiVersion": "2010-04-01",
        "CallStatus": status,
        "Direction": scenario.direction,
        **sides,
        **places,
    }


def first(scenario: Scenario, status: str) -> dict[str, str]:
    """The voice webhook's: with what only the first request of an inbound call carries."""
    inbound = {"CallToken": secrets.token_urlsafe(60), "StirVerstat": "TN-Validation-Passed-A"}
    return voice(scenario, status) | (inbound if scenario.direction == "inbound" else {}) | dict(scenario.extra)


def completed(scenario: Scenario, seconds: float) -> dict[str, str]:
    """The call status callback: https://www.twilio.com/docs/voice/api/call-resource#statuscallback.

    An inbound call has this one alone, so it is number 0; Duration is in minutes, rounded up.
    """
    return progress(scenario, "completed", 0, seconds)


def progress(scenario: Scenario, status: str, number: int, seconds: float | None = None) -> dict[str, str]:
    """A status callback of a call placed by REST; `seconds` are the last one's, which says how long the call was."""
    last = {} if seconds is None else {"CallDuration": str(round(seconds)), "Duration": str(-(-round(seconds) // 60))}
    return (
        voice(scenario, status)
        | last
        | {
            "SequenceNumber": str(number),
            "CallbackSource": "call-progress-events",
            "Timestamp": format_datetime(datetime.now(UTC)),
        }
    )


def stream(scenario: Scenario, sid: str, name: str, event: str, error: str = "") -> dict[str, str]:
    """A stream's status callback: https://www.twilio.com/docs/voice/twiml/stream#statuscallback."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return {
        "AccountSid": scenario.account_sid,
        "CallSid": scenario.call_sid,
        "StreamSid": sid,
        "StreamName": name,
        "StreamEvent": event,
        **({"StreamError": error} if error else {}),
        "Timestamp": f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z",
    }
