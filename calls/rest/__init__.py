"""Twilio's REST API: place a call, end or redirect one, ask what one cost, point a number at us.

Everything goes through the twilio library's own client (https://www.twilio.com/docs/libraries/reference/twilio-python)
at TWILIO_API_URL. All of it is synchronous and has a timeout, and raises RestError with a sentence for the user.
"""

from calls.rest.calls import end_call, look_up, say_goodbye, transfer
from calls.rest.client import has_credentials
from calls.rest.dialable import e164
from calls.rest.errors import OF_THE_NUMBER, UNKNOWN, NotReached, OutcomeUnknown, RestError
from calls.rest.numbers import Change, Number, configure_number, numbers
from calls.rest.placing import Order, announce, carry_out, checked_parameters, place_call
from calls.rest.prices import look_up_price
from calls.rest.streams import start_stream, stop_stream


__all__ = [
    "OF_THE_NUMBER",
    "UNKNOWN",
    "Change",
    "NotReached",
    "Number",
    "Order",
    "OutcomeUnknown",
    "RestError",
    "announce",
    "carry_out",
    "checked_parameters",
    "configure_number",
    "e164",
    "end_call",
    "has_credentials",
    "look_up",
    "look_up_price",
    "numbers",
    "place_call",
    "say_goodbye",
    "start_stream",
    "stop_stream",
    "transfer",
]
