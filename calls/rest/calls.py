"""Calls: place one, end one, redirect one."""

import datetime as dt
import logging
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.utils import timezone

from calls import addresses
from calls import twiml as documents
from calls.media.storable import storable, storable_json
from calls.models import Call, CallEvent
from calls.rest.client import address, check_settings, twilio
from calls.rest.errors import (
    ADVICE,
    NOT_IN_PROGRESS,
    TWIML_MAX_LENGTH,
    UNKNOWN,
    OutcomeUnknown,
    RestError,
    host,
    reason,
)
from calls.security import REF_MAX_LENGTH, CallRef
from calls.summaries.summary import summarise


logger = logging.getLogger(__name__)

# What Twilio tells us of a call that we placed: a field for each, since as one value they would be lost.
PROGRESS = ["initiated", "ringing", "answered", "completed"]


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
    sender = from_ or settings.DEFAULT_FROM_NUMBER
    if not sender:
        raise RestError(ADVICE[21213])
    given = _checked(parameters or {})
    check_settings()
    voice, status = address(addresses.incoming(handler)), address(addresses.CALL_STATUS)
    call = _pending(to, sender, handler, given, user)
    ref = {"with_parameters": CallRef(call.pk, given).sign(), "bare": CallRef(call.pk).sign()}
    try:
        with twilio() as account:
            placed = account.calls.create(
                to=to,
                from_=sender,
                url=f"{voice}?ref={quote(ref['with_parameters'])}",
                method="POST",
                # Asked once if that answer fails: another worker may be there by then.
                fallback_url=f"{voice}?ref={quote(ref['with_parameters'])}",
                fallback_method="POST",
                status_callback=f"{status}?ref={quote(ref['bare'])}",
                status_callback_method="POST",
                status_callback_event=PROGRESS,
                **({"machine_detection": "Enable"} if machine_detection else {}),
            )
    except RestError as error:
        _not_placed(call, error, user)
        raise
    Call.objects.claim(call.pk, placed.sid)
    call = Call.objects.note(placed.sid, account_sid=placed.account_sid or "", status=placed.status or "")
    logger.info("call_placed call=%s handler=%s", call.sid, call.handler)
    return call


def _checked(parameters: Mapping[str, str]) -> dict[str, str]:
    """Parameters as they fit into a <Parameter> each, and all of them into the address that carries them."""
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


def _pending(to: str, sender: str, handler: str, given: dict[str, str], user: AbstractBaseUser | None) -> Call:
    # Durable: a callback must find it, even if our caller has a transaction open and would undo it.
    with transaction.atomic(durable=True):
        call = Call.objects.create(
            account_sid=storable(settings.TWILIO_ACCOUNT_SID, 34),
            to_number=storable(to, 255),
            from_number=storable(sender, 255),
            direction="outbound-api",
            status=Call.Status.QUEUED,
            handler=storable(handler or settings.DEFAULT_STREAM_HANDLER, 100),
        )
        note(call, "place", user, {"parameters": given} if given else {})
    return call


def _not_placed(call: Call, error: RestError, user: AbstractBaseUser | None) -> None:
    """What did nothing leaves no call: whoever asked has been told why, and would find one more for every try."""
    unknown, who = isinstance(error, OutcomeUnknown), user.pk if user else None
    logger.warning("call_not_placed row=%s unknown=%s code=%s user=%s", call.pk, unknown, error.code, who)
    if unknown:
        note(call, "place-unknown", None, reason(error))
        error.call = call
    else:
        Call.objects.filter(pk=call.pk, sid=None).delete()


def note(call: Call, kind: str, user: AbstractBaseUser | None, data: dict[str, Any]) -> CallEvent:
    """What was asked of a call, by whom."""
    return CallEvent.objects.create(
        call=call,
        source=CallEvent.Source.CONTROL if user else CallEvent.Source.SYSTEM,
        kind=kind,
        key=f"control:{uuid.uuid4().hex}",
        occurred_at=timezone.now(),
        data=storable_json(data),
        user_id=user.pk if user else None,
    )


def end_call(call: Call, *, user: AbstractBaseUser | None = None) -> bool:
    """Hangs up. False if the call was over already, which is as good."""
    return _change(call, "hang-up", user, {}, status="completed")


def say_goodbye(call: Call, text: str, *, user: AbstractBaseUser | None = None) -> bool:
    """Stops whatever runs, says this, and hangs up. False if the call was over already."""
    return _change(call, "goodbye", user, {"text": text}, twiml=documents.goodbye(text))


def transfer(call: Call, number: str, *, user: AbstractBaseUser | None = None) -> bool:
    """Connects whoever is on the line to another number; our stream ends. False if the call was over already."""
    before = call.dialing
    # First, lest the call that has lost its stream be taken for one that nobody will ever end.
    _set_dialing(call, True)
    try:
        done = _change(call, "transfer", user, {"number": number}, twiml=documents.transfer(number))
    except OutcomeUnknown:
        raise
    except RestError:
        _set_dialing(call, before)
        raise
    if not done:
        _set_dialing(call, before)
    return done


def look_up(call: Call) -> Call:
    """Asks Twilio how a call is, where its callbacks are late or lost, and returns the row as it is then."""
    if call.sid is not None:
        _refuse_simulated(call)
        found = _fetch(call)
        with transaction.atomic():
            # A callback may come at this very moment.
            Call.objects.select_for_update().filter(pk=call.pk).first()
            call.refresh_from_db()
            _learn(call, found.status, found.duration, found.end_time)
    return call


def _fetch(call: Call) -> Any:
    """The call as Twilio has it. RestError if it knows none of this SID: it keeps those that are over for a year."""
    try:
        with twilio() as account:
            return account.calls(call.sid).fetch()
    except RestError as error:
        if error.code not in UNKNOWN:
            raise
        if call.account_sid and call.account_sid != settings.TWILIO_ACCOUNT_SID:
            advice = "it is of another Twilio account than TWILIO_ACCOUNT_SID, perhaps a subaccount"
        else:
            advice = "check TWILIO_ACCOUNT_SID, and TWILIO_API_URL if the call is in another region"
        sentence = f"Twilio knows no such call at {host()}, so nothing was done: {advice}."
        raise RestError(sentence, code=error.code, message=error.message, call=call) from None


def _refuse_simulated(call: Call) -> None:
    """A made-up CallSid is nothing to ask the real Twilio about."""
    if call.is_simulated:
        raise RestError(
            "This call was simulated, and Twilio knows nothing of it: only its simulator ends it.", call=call
        )


def _set_dialing(call: Call, dialing: bool) -> None:
    call.dialing = dialing
    call.save(update_fields=["dialing"])


def _change(call: Call, kind: str, user: AbstractBaseUser | None, said: dict[str, Any], **fields: str) -> bool:
    """Asks Twilio to change a call. What is asked is on record before, and how it went after."""
    if call.sid is None:
        raise RestError("Twilio has not confirmed this call yet, so it cannot be changed.", call=call)
    _refuse_simulated(call)
    if len(fields.get("twiml", "")) > TWIML_MAX_LENGTH:
        raise RestError(ADVICE[32018], code=32018, call=call)
    if "twiml" in fields and call.direction != "outbound-api":
        # The last that we hear of a call whose number has no StatusCallback, when its stream is gone.
        fields |= {"status_callback": address(addresses.CALL_STATUS), "status_callback_method": "POST"}
    event = note(call, kind, user, said)
    try:
        with twilio() as account:
            reply = account.calls(call.sid).update(**fields)
    except RestError as error:
        try:
            if _is_over(call, error):
                _conclude(event, kind, {"outcome": "the call was over already"})
                return False
        except RestError as unknown:
            error = unknown
        error.call = call
        logger.warning("call_not_changed call=%s act=%s code=%s", call.sid, kind, error.code)
        _conclude(event, f"{kind}-{'unknown' if isinstance(error, OutcomeUnknown) else 'failed'}", reason(error))
        raise error from None
    logger.info("call_changed call=%s act=%s user=%s", call.sid, kind, user.pk if user else "none")
    _learn(call, reply.status, reply.duration)
    return True


def _conclude(event: CallEvent, kind: str, data: dict[str, Any]) -> None:
    event.kind, event.data = kind, {**event.data, **data}
    event.save(update_fields=["kind", "data"])


def _is_over(call: Call, error: RestError) -> bool:
    """Whether a refusal means that the call is over; if so, the row learns how it ended.

    404 alone does not: a call of another account or region is answered so too. RestError if Twilio knows none.
    """
    if error.code not in (*UNKNOWN, NOT_IN_PROGRESS):
        return False
    try:
        found = _fetch(call)
    except RestError as again:
        if again.code in UNKNOWN:
            raise
        return False
    _learn(call, found.status, found.duration)
    return Call.Status.is_terminal(found.status)


def _learn(call: Call, status: str | None, duration: str | None = None, ended: dt.datetime | None = None) -> None:
    """Takes over what Twilio says; `ended` is when, if it is over."""
    seconds = int(duration) if duration and duration.isdecimal() else None
    at = max(min(ended, timezone.now()), call.created_at) if ended else None
    if changed := call.advance(status or "", duration=seconds, at=at):
        call.save(update_fields=changed)
        if "ended_at" in changed:
            summarise(call.pk, using="default")
