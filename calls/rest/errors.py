"""What Twilio refuses and what gets lost on the way, each in a sentence that says what to do."""

import re
import ssl
from typing import Any
from urllib.parse import urlsplit

import requests
from django.conf import settings
from twilio.base.exceptions import TwilioRestException, TwilioServiceException
from urllib3.exceptions import NameResolutionError, NewConnectionError, SSLError

from calls.media.storable import storable
from calls.models import Call


# https://www.twilio.com/docs/api/errors/32018
TWIML_MAX_LENGTH = 4000
# A call that is over, and one of another account or region.
UNKNOWN = (404, 20404)
# A call that is over cannot be ended again, and that is what was wanted; or it has not been answered yet.
NOT_IN_PROGRESS = 21220

# What to do about each of Twilio's errors (https://www.twilio.com/docs/api/errors).
ADVICE = {
    10001: "The Twilio account is not active: the Console says why it was suspended or closed.",
    10002: "A trial account cannot do this: upgrade it in the Console.",
    10004: "Too many calls run at once for this account: wait until some are over, or have Twilio raise its limit.",
    13224: "That number cannot be called: write it with + and its country code, like +14155550100.",
    13227: "Calls to that country are not allowed: allow it under Voice > Geographic Permissions in the Console.",
    20003: "Twilio does not accept our credentials: check TWILIO_ACCOUNT_SID and TWILIO_API_KEY with its secret, "
    "or the first TWILIO_AUTH_TOKEN if there is no key.",
    20005: "The Twilio account is not active: the Console says why it was suspended or closed.",
    20008: "These are test credentials, which cannot do this: set the account's live ones.",
    20404: "Twilio knows no such call or number in this account: it may be over, or belong to another account.",
    20429: "Twilio has had too many requests and did nothing with this one: try again in a few seconds.",
    21201: "No number to call was given.",
    21203: "Calls to that country are not allowed: allow it under Voice > Geographic Permissions in the Console.",
    21205: "Twilio cannot use our address: PUBLIC_URL has to be an https origin that it can reach.",
    21210: "We may not call from that number: use one of the account's own numbers, or verify it in the Console.",
    21211: "The number to call is not one: write it with + and its country code, like +14155550100.",
    21212: "The number to call from is not one: write it with + and its country code, like +14155550100.",
    21213: "No number to call from was given: name one, or set DEFAULT_FROM_NUMBER.",
    21214: "That number cannot be called: check it, it may not be in service.",
    21215: "Calls to that country are not allowed: allow it under Voice > Geographic Permissions in the Console.",
    21216: "Twilio does not call that number: it is blocked, for this account or for all.",
    21217: "The number to call is not one: write it with + and its country code, like +14155550100.",
    21219: "A trial account calls verified numbers only: verify this one in the Console, or upgrade the account.",
    21220: "The call is not in progress: it is over, or has not been answered yet.",
    21402: "Twilio cannot use our address: PUBLIC_URL has to be an https origin that it can reach.",
    21609: "Twilio cannot use our address for callbacks: PUBLIC_URL has to be an https origin that it can reach.",
    21626: "Twilio does not know one of the status callback events that we asked for: this is a defect of ours.",
    32018: f"That text is too long: a document for a running call has at most {TWIML_MAX_LENGTH} characters.",
}


# Those that say something of the number to be called, and nothing of the next one.
OF_THE_NUMBER = {13224, 13227, 21201, 21203, 21211, 21214, 21215, 21216, 21217, 21219}
# How an OutcomeUnknown ends, and what is said instead where nothing was to be done.
UNSURE = ", and may have done it all the same: look before trying again."
JUST_ASKED = ": try again in a minute."


class RestError(Exception):
    """Why Twilio did not do something, in a sentence that says what to do. Nothing was done."""

    def __init__(self, sentence: str, *, code: int | None = None, message: str = "", call: Call | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        #: Twilio's own words.
        self.message = message
        #: The row that says so, if there is one.
        self.call = call


class NotReached(RestError):
    """There was no connection, so Twilio knows nothing of it."""


class OutcomeUnknown(RestError):
    """Twilio was asked and did not answer: it may have done it. Nothing repeats this by itself."""


def of_a_question(error: RestError) -> RestError:
    """The same where Twilio was only asked: nothing can have happened."""
    if not isinstance(error, OutcomeUnknown):
        return error
    return RestError(str(error).replace(UNSURE, JUST_ASKED), code=error.code, message=error.message)


def explained(error: TwilioRestException | TwilioServiceException) -> RestError:
    """What Twilio says, and what to do about it."""
    code = error.code or error.status
    said = error.msg if isinstance(error, TwilioRestException) else f"{error.title} {error.detail or ''}"
    # The library puts "Unable to create record: " before Twilio's words.
    message = storable(re.sub(r"^Unable to \w+ (record|page)(: )?", "", str(said)), 500).strip()
    if code not in ADVICE and error.status >= 500:
        return OutcomeUnknown(f"Twilio failed (HTTP {error.status}){UNSURE}", code=code, message=message)
    quoted = f"“{message}”" if message else f"HTTP {error.status}"
    return RestError(f"{ADVICE.get(code, 'Twilio refused.')} Twilio says {code}: {quoted}", code=code, message=message)


def host() -> str:
    return urlsplit(settings.TWILIO_API_URL).netloc.rpartition("@")[2]


def disconnected(error: requests.RequestException, timeout: float) -> RestError:
    """Whether Twilio can have got the request, or there was no connection at all."""
    where = host()
    cause = getattr(error.args[0] if error.args else None, "reason", None)
    # requests' own ValueErrors are addresses that it cannot use.
    never_sent = (requests.ConnectTimeout, requests.exceptions.ProxyError, ValueError)
    never_met = isinstance(cause, NewConnectionError | NameResolutionError) or _is_of_a_certificate(cause)
    if isinstance(error, never_sent) or never_met:
        return NotReached(
            f"Twilio cannot be reached at {where}, so nothing was done: check the network, then try again."
        )
    if isinstance(error, requests.Timeout):
        return OutcomeUnknown(f"Twilio did not answer within {timeout:g} s ({where}){UNSURE}")
    return OutcomeUnknown(f"The connection to Twilio broke ({where}){UNSURE}")


def _is_of_a_certificate(cause: Any) -> bool:
    """Any other failure of TLS may have come after the request: an alert instead of the answer, say."""
    return isinstance(cause, SSLError) and isinstance(cause.args[0], ssl.SSLCertVerificationError)


def reason(error: RestError) -> dict[str, Any]:
    """The same for a CallEvent."""
    said = {"code": error.code, "message": error.message}
    return {"reason": str(error), **{name: value for name, value in said.items() if value}}
