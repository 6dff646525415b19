"""What a call cost, as Twilio has it."""

from decimal import Decimal, InvalidOperation

from calls.media.storable import storable
from calls.models import Call
from calls.rest.client import asked


_PLACES = Decimal("0.000001")
# What the column holds.
_MOST = Decimal(10) ** 8


def look_up_price(call: Call) -> bool:
    """Asks what a call cost. False if Twilio does not know yet; RestError if it does not answer, or knows no such call.

    "Populated after the call is completed. May not be immediately available", and for the connection alone: machine
    detection and Twilio's own speech cost extra. No callback says it.
    https://www.twilio.com/docs/voice/api/call-resource#call-properties
    """
    with asked() as account:
        found = account.calls(call.sid).fetch()
    price, unit = amount(found.price), storable(found.price_unit or "", 3).upper()
    if price is None:
        return False
    Call.objects.filter(pk=call.pk, price=None).update(price=price, price_unit=unit)
    return True


def amount(text: object) -> Decimal | None:
    """A sum as Twilio writes it, like -0.00850; None if there is none, or if it is nothing that can be stored."""
    try:
        value = Decimal(str(text))
        return value.quantize(_PLACES) if value.is_finite() and -_MOST < value < _MOST else None
    except InvalidOperation:
        return None
