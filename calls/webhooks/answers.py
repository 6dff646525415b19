"""What we answer a voice request with, and what the call's timeline keeps of both: never a token, never a reference."""

import datetime as dt
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from calls import addresses, twiml
from calls.media.rows import EventRow


# What of a request says why it came: https://www.twilio.com/docs/voice/twiml#request-parameters, and of a fallback
# https://www.twilio.com/docs/voice/api/call-resource (FallbackUrl).
TELLING = ("CallStatus", "ErrorCode", "ErrorUrl", "handler", "resumed", "DialCallStatus", "DialCallDuration")
# Our own document was bad: what it was made of would make the same again. 11750 is its size, 12xxx its contents.
# https://www.twilio.com/docs/api/errors
BAD_DOCUMENT = re.compile("11750|12[0-9]{3}")

_TOKEN = re.compile(r'(<Parameter\b[^>]*\bname="(?:token|outing)"[^>]*\bvalue=")[^"]*')
_REF = re.compile(r"(&amp;|&)?\b(?:ref|outing)=[^&\"'\s]+")


def without_ref(text: str) -> str:
    """An address of ours as it may be kept: what it says of a call that we placed is nobody else's business."""
    return _REF.sub("", text)


@dataclass(frozen=True)
class Answer:
    """A document, and in a few words what it does and why."""

    document: str
    words: str

    @property
    def lives_on(self) -> bool:
        return twiml.lives_on(self.document)

    @property
    def without_secrets(self) -> str:
        return without_ref(_TOKEN.sub(r"\1…", self.document))


def event(
    kind: str, call_sid: str, parameters: dict[str, str], answer: Answer, *, at: dt.datetime, delivery: str, **more: str
) -> EventRow:
    """What was asked and answered. A request that is delivered twice has the same `delivery`, and is stored once."""
    asked = {name: without_ref(value) for name in TELLING if (value := parameters.get(name))}
    return EventRow(
        call=call_sid,
        stream=None,
        source="system",
        kind=kind,
        key=f"{kind}:{delivery}",
        occurred_at=at,
        data={**asked, "answer": answer.words, "twiml": answer.without_secrets, **more},
    )


def failed_action(parameters: dict[str, str]) -> dict[str, str] | None:
    """The query of the /stream-ended that Twilio got no answer from, if this is the fallback's request for it.

    A call that still rings has had no stream: whoever places one through a TwiML application may send parameters of
    their own, under these names too.
    """
    url = parameters.get("ErrorUrl", "")
    if parameters.get("CallStatus") == "ringing" or not url.startswith(
        f"{addresses.absolute(addresses.STREAM_ENDED)}?"
    ):
        return None
    try:
        return {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    except ValueError:
        return None
