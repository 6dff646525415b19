"""How a call goes on whose stream ends on purpose: what is committed before the socket closes, for /stream-ended.

Any process can answer Twilio with it, also after the one that wrote it has died.
"""

import re
from typing import Any, Literal

import msgspec
import phonenumbers

from calls.server.tickets import ReturnTicket


# Seconds for which a phone may ring: https://www.twilio.com/docs/voice/twiml/dial#timeout.
SHORTEST_RING, LONGEST_RING = 5, 600
# https://www.twilio.com/docs/voice/twiml/sip: at most 255 characters.
_SIP = re.compile(r"sips?:[^\s@<>\"&]{1,100}@[^\s@<>\"&]{1,140}")


class Order(msgspec.Struct, frozen=True):
    """Whom to connect a caller to."""

    number: str
    timeout: int
    caller_id: str = ""

    @classmethod
    def checked(cls, number: str, timeout: int, caller_id: str | None) -> "Order":
        """ValueError says what Twilio would not dial."""
        if not SHORTEST_RING <= timeout <= LONGEST_RING:
            raise ValueError(f"a phone rings for {SHORTEST_RING} to {LONGEST_RING} s, not for {timeout!r}")
        to = number if _SIP.fullmatch(number) else _e164(number)
        return cls(to, int(timeout), "" if caller_id is None else _e164(caller_id))


class Departure(msgspec.Struct, frozen=True):
    """With an order that number is dialled, with a handler's name that one takes over; with neither the call is over.

    With a ticket it is the handler's own doing, and it waits for its caller. Without one somebody else has asked for it
    (calls.server.control), and the handler ends.
    """

    order: Order | None = None
    ticket: ReturnTicket | None = None
    handler: str = ""
    #: How often the call had been handed over before.
    handed: int = 0
    #: The name of the member of staff who asked for it; "" if it was code.
    by: str = ""

    @classmethod
    def read(cls, stored: object) -> "Departure | None":
        """None if there is none, or if it was called off."""
        return msgspec.convert(stored, cls) if stored else None

    def stored(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @property
    def is_asked_for(self) -> bool:
        """Whether it was somebody else than the handler who wanted it."""
        return self.ticket is None

    @property
    def key(self) -> str:
        """That of the handler which waits."""
        return "" if self.ticket is None else self.ticket.key

    @property
    def is_goodbye(self) -> bool:
        """Whether the call is over."""
        return self.order is None and not self.handler

    @property
    def what(self) -> str:
        """What becomes of the call, for people."""
        sent_on = f"handed over to {self.handler}" if self.handler else "sent to another number"
        done = "hung up" if self.is_goodbye else sent_on
        return f"the call was {done}, as {self.by or ('code' if self.is_asked_for else 'the handler')} asked"

    @property
    def reason(self) -> Literal["handler", "dial"]:
        """What its stream's row says of its end (Stream.EndReason)."""
        return "handler" if self.is_goodbye else "dial"


def _e164(text: str) -> str:
    """A number with + and its country code. A client: address, an extension or a national number is none."""
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_possible_number(number):
        raise ValueError(f"{text[:40]!r} cannot be dialled: write a number like +14155550100, or sip:name@host")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
