"""What lets a caller who was sent to another number find back to the handler that waits, whatever worker takes them."""

import msgspec

from calls.security import TOKEN_MAX_AGE, seal, unseal


# Seconds for which a pass may be shown: the clocks of two hosts differ by less.
PASS_MAX_AGE = 60


class Dialled(msgspec.Struct, frozen=True):
    """What became of a number that was dialled: https://www.twilio.com/docs/voice/twiml/dial#action."""

    #: Twilio's DialCallStatus: completed, answered, busy, no-answer, failed or canceled; "unknown" if it did not say.
    status: str
    #: Seconds for which they talked (DialCallDuration); 0 if nobody answered.
    duration: int = 0


class ReturnTicket(msgspec.Struct, frozen=True, array_like=True):
    """Whose handler waits for a caller who was sent to another number, and what came of that.

    Travels as `?outing=` in the addresses that Twilio asks when the stream and the <Dial> are over, and back to us as a
    <Parameter> of the stream on which the caller returns.
    """

    call_sid: str
    #: Of the outing, in the process that waits ...
    key: str
    #: ... and where that takes sockets: `host:port`, "" where no other process could reach it.
    address: str = ""
    #: Once it is known.
    dialled: Dialled | None = None

    def sign(self) -> str:
        return seal(self, "calls.outing")

    @classmethod
    def read(cls, text: object, call_sid: str) -> "ReturnTicket | None":
        """The ticket of that call; None if there is none, or it is not ours, another call's, or older than a call."""
        ticket = unseal(text, "calls.outing", cls, TOKEN_MAX_AGE)
        return ticket if ticket is not None and ticket.call_sid == call_sid else None

    def stamped(self, status: str, duration: int) -> "ReturnTicket":
        """With what became of the number that was dialled."""
        return msgspec.structs.replace(self, dialled=Dialled(status[:20] or "unknown", duration))


class Pass(msgspec.Struct, frozen=True, array_like=True):
    """What one of our processes shows another that it carries a caller to, and what that one shows in return.

    Twilio's signature would open the other's door too, but it is the same for every stream: whoever has got the address
    of a worker that died could use it again.
    """

    key: str
    is_answer: bool = False

    def sign(self) -> str:
        return seal(self, "calls.carried")

    @classmethod
    def read(cls, text: object) -> "Pass | None":
        """None if it is not ours, or was not made just now."""
        return unseal(text, "calls.carried", cls, PASS_MAX_AGE)
