"""What becomes of a number that is dialled: https://www.twilio.com/docs/voice/twiml/dial."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.documents import TwimlError, Verb


# DialCallStatus. "answered" is that of a conference.
STATUSES = ("completed", "answered", "busy", "no-answer", "failed", "canceled")
NOUNS = ("Number", "Sip", "Client", "Conference", "Queue")
# Seconds that it rings if the document does not say, and the least and the most that it may say.
RING, SHORTEST_RING, LONGEST_RING = 30, 5, 600


@dataclass(frozen=True)
class Dialled:
    """One number's fate. `seconds`: how long they talk, or it rings in vain; None if the call itself decides that."""

    status: str = "completed"
    seconds: float | None = None

    @property
    def is_answered(self) -> bool:
        return self.status in ("completed", "answered")

    def rings(self, verb: Verb) -> float:
        """Seconds until it is over."""
        if self.seconds is not None:
            return self.seconds
        return float(verb.get("timeout", str(RING))) if self.status == "no-answer" else 1.0


Dial = str | Dialled | Sequence[str | Dialled]


def dialled(dial: Dial) -> tuple[Dialled, ...]:
    """Each number's fate, of "busy", "completed:5" or a list of these. ValueError for what is none."""
    each = [dial] if isinstance(dial, str | Dialled) else dial
    return tuple(one if isinstance(one, Dialled) else _fate(one) for one in each)


def _fate(text: str) -> Dialled:
    status, colon, seconds = text.partition(":")
    try:
        lasting = float(seconds) if colon else None
    except ValueError:
        lasting = math.nan
    if status not in STATUSES or not (lasting is None or 0 <= lasting < math.inf):
        raise ValueError(f"dial={text!r}: write OUTCOME or OUTCOME:SECONDS, with one of {', '.join(STATUSES)}")
    return Dialled(status, lasting)


def read_dial(verb: Verb) -> str:
    """Whom a <Dial> calls. TwimlError if nobody, or if it may not ring for so long."""
    called = [noun.text for noun in verb.nouns if noun.name in NOUNS] or [verb.text]
    if not all(called):
        raise TwimlError(f"{verb} has nobody to dial (13221)")
    timeout = verb.get("timeout", str(RING))
    if not timeout.isdecimal() or not SHORTEST_RING <= int(timeout) <= LONGEST_RING:
        raise TwimlError(f"<Dial> cannot have timeout={timeout!r} (13212)")
    return ", ".join(called)
