"""Calls: place one, in one go or in its three steps.

What is asked for is checked (`Order`), put on record (`announce`), and asked of Twilio (`carry_out`). Whoever claims
something else together with the row does the second step within a transaction of theirs.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction

from calls import addresses
from calls import twiml as documents
from calls.media.storable import storable
from calls.models import Call
from calls.rest.calls import note
from calls.rest.client import address, check_settings, twilio
from calls.rest.errors import ADVICE, OutcomeUnknown, RestError, reason
from calls.security import REF_MAX_LENGTH, CallRef


logger = logging.getLogger(__name__)

# What Twilio tells us of a call that we placed: a field for each, since as one value they would be lost.
PROGRESS = ["initiated", "ringing", "answered", "completed"]


@dataclass(frozen=True)
class Order:
    """A call as it is asked for."""

    to: str
    sender: str
    handler: str
    parameters: Mapping[str, str]
    machine_detection: bool = False

    @classmethod
    def checked(
        cls,
        to: str,
        from_: str | None = None,
        handler: str = "",
        parameters: Mapping[str, str] | None = None,
        machine_detection: bool = False,
    ) -> Self:
        """RestError says what is missing or wrong, of it or of the settings."""
        sender = from_ or settings.DEFAULT_FROM_NUMBER
        if not sender:
            raise RestError(ADVICE[21213])
        given = checked_parameters(parameters or {})
        check_settings()
        address(addresses.CALL_STATUS)
        return cls(to, sender, handler, given, machine_detection)


def place_call(
    to: str,
    from_: str | None = None,
    handler: str = "",
    parameters: Mapping[str, str] | None = None,
    machine_detection: bool = False,
    *,
    user: AbstractBaseUser | None = None,
) -> Call:
    """Calls a number, and connects whoever answers to a handler, which finds `parameters` in `stream.parameters`.

    The row is there before Twilio is asked, so that a callback that beats Twilio's reply finds it. RestError: nobody is
    called, and the row is gone again. OutcomeUnknown: somebody may be; the row waits for a callback, which will say.
    https://www.twilio.com/docs/voice/api/call-resource#create-a-call-resource
    """
    order = Order.checked(to, from_, handler, parameters, machine_detection)
    # Durable: a callback must find it, even if our caller has a transaction open and would undo it.
    with transaction.atomic(durable=True):
        call = announce(order, user=user)
    return carry_out(order, call, user=user)


def announce(order: Order, *, user: AbstractBaseUser | None = None) -> Call:
    """The row of a call that Twilio is to be asked for: once it is committed, and not before."""
    call = Call.objects.create(
        account_sid=storable(settings.TWILIO_ACCOUNT_SID, 34),
        to_number=storable(order.to, 255),
        from_number=storable(order.sender, 255),
        direction="outbound-api",
        status=Call.Status.QUEUED,
        handler=storable(order.handler or settings.DEFAULT_STREAM_HANDLER, 100),
    )
    note(call, "place", user, {"parameters": dict(order.parameters)} if order.parameters else {})
    return call


def carry_out(order: Order, call: Call, *, user: AbstractBaseUser | None = None) -> Call:
    """Asks Twilio for a call that is on record, once; the rest as for `place_call`."""
    voice, status = address(addresses.incoming(order.handler)), address(addresses.CALL_STATUS)
    ref = {"with_parameters": CallRef(call.pk, dict(order.parameters)).sign(), "bare": CallRef(call.pk).sign()}
    try:
        with twilio() as account:
            placed = account.calls.create(
                to=order.to,
                from_=order.sender,
                url=f"{voice}?ref={quote(ref['with_parameters'])}",
                method="POST",
                # Asked once if that answer fails: another worker may be there by then.
                fallback_url=f"{voice}?ref={quote(ref['with_parameters'])}",
                fallback_method="POST",
                status_callback=f"{status}?ref={quote(ref['bare'])}",
                status_callback_method="POST",
                status_callback_event=PROGRESS,
                **({"machine_detection": "Enable"} if order.machine_detection else {}),
            )
    except RestError as error:
        _not_placed(call, error, user)
        raise
    Call.objects.claim(call.pk, placed.sid)
    call = Call.objects.note(placed.sid, account_sid=placed.account_sid or "", status=placed.status or "")
    logger.info("call_placed call=%s handler=%s", call.sid, call.handler)
    return call


def checked_parameters(parameters: Mapping[str, str]) -> dict[str, str]:
    """Parameters as they fit into a <Parameter> each, and all of them into the address that carries them. RestError."""
    for name, value in parameters.items():
        try:
            documents.check_parameter(name, value)
        except ValueError as error:
            raise RestError(str(error)) from None
        if storable(name + value, documents.PARAMETER_MAX_LENGTH) != name + value:
            raise RestError(f"The parameter {name[:40]!a} has characters that cannot be stored.")
    given = dict(parameters)
    if len(CallRef(2**63 - 1, given).sign()) > REF_MAX_LENGTH:
        raise RestError("The parameters are too long: together they have about 2000 characters. Pass a key of yours.")
    return given


def _not_placed(call: Call, error: RestError, user: AbstractBaseUser | None) -> None:
    """What did nothing leaves no call: whoever asked has been told why, and would find one more for every try."""
    unknown, who = isinstance(error, OutcomeUnknown), user.pk if user else None
    logger.warning("call_not_placed row=%s unknown=%s code=%s user=%s", call.pk, unknown, error.code, who)
    if unknown:
        note(call, "place-unknown", None, reason(error))
        error.call = call
    else:
        Call.objects.filter(pk=call.pk, sid=None).delete()
