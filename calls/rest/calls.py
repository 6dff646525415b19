"""Calls that there are: end one, redirect one, ask how one is."""

import datetime as dt
import logging
import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.utils import timezone

from calls import addresses
from calls import twiml as documents
from calls.media.storable import storable_json
from calls.models import Call, CallEvent
from calls.rest.client import address, twilio
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
from calls.summaries.summary import summarise


logger = logging.getLogger(__name__)


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
