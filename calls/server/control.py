"""What is done to a running call from outside of its handler: by code anywhere in Django, and by staff.

    await control(call_sid).clear()

The process that holds the call's stream does it, whichever that is, and says what came of it (calls.supervision.acts).
Synchronous code calls `async_to_sync(control(call_sid).clear)()`.
"""

import logging
import time
import uuid
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import Error as DatabaseError
from django.utils import timezone

from calls.media.audio import SAMPLE_RATE
from calls.media.storable import storable_json
from calls.models import Call, CallEvent, Stream
from calls.post.post import Letter, PostAway, mailbox, post
from calls.server.hints import hints
from calls.server.questions import letting_go


logger = logging.getLogger(__name__)

# Seconds that the process which holds the call has to say what came of it, and how much longer it may still do it.
PATIENCE, GRACE = 3.0, 1.0
# What may be played at once, in samples.
LONGEST_PLAY = 60 * SAMPLE_RATE


class ControlError(Exception):
    """Nothing was done to the call, or nobody knows whether it was. Says in a sentence what is the matter."""

    #: In a word, for the call's timeline.
    outcome = "failed"


class NotLive(ControlError):
    """No stream of this call runs: it is over, it has not begun, or its caller is with somebody else."""

    outcome = "not live"


class NoAnswer(ControlError):
    """The process that holds the call has not answered within 3 s: it may have done it, or not."""

    outcome = "no answer"


class Objection(ControlError):
    """The process that holds the call will not do this, and says why. Nothing was done."""

    outcome = "objection"


class Remote:
    """A running call, wherever it is held.

    Each method returns what that process acknowledged, and raises NotLive, NoAnswer or Objection. What was done stands
    in the call's timeline, with the user if there is one, and its handler sees a `Control` event. What a user has asked
    for that did not reach the call stands there too.

    `hang_up`, `dial` and `hand_over` end the stream, and the handler's iteration with it, once the caller has heard
    what was given to play by then, after 30 s at the latest: `clear` before them, or after, if that is to be at once.
    They are in the database before they are acknowledged, if that answers within 2 s: a process that dies meanwhile, or
    a handler that returns or fails, does not undo them. The handler has 5 s to clean up.
    """

    def __init__(self, call_sid: str, user: AbstractBaseUser | None = None) -> None:
        self.call_sid = call_sid
        self._user = user

    async def clear(self) -> dict[str, Any]:
        """What plays, and what waits to be played, is not heard. Returns `{"cleared_ms": …}`."""
        return await self._ask("clear")

    async def play(self, audio: bytes, *, name: str = "") -> dict[str, Any]:
        """Plays µ-law, 8000 samples a second, behind what was said before; `name` is what the timeline calls it.

        Returns `{"name": …, "length_ms": …, "waits_ms": …}` once it is on its way; the timeline says later whether it
        was heard. Objection for more than 60 s of it (480,000 bytes), for none, and for what is no µ-law.
        """
        check_audio(audio)
        return await self._ask("play", audio=bytes(audio), name=name)

    async def hang_up(self) -> dict[str, Any]:
        """Ends the call once the caller has heard what was given to play. Returns `{"waits_ms": …}`.

        It needs no credentials of Twilio's API. A <Start> stream cannot end its call: `calls.rest.end_call` can.
        """
        return await self._ask("hang-up")

    async def dial(self, number: str, *, timeout: int = 20, caller_id: str | None = None) -> dict[str, Any]:
        """Ends the handler, and connects the caller to another number (as MediaStream.dial takes it) or SIP address.

        When whoever is dialled hangs up the call is over; a caller whom nobody answers hears an apology before that.
        Returns `{"number": …, "waits_ms": …}`; Objection for a number that Twilio would not dial.
        """
        return await self._ask("dial", number=number, timeout=timeout, caller_id=caller_id)

    async def hand_over(self, handler: str) -> dict[str, Any]:
        """Ends the handler, and connects the caller to another one, by its name in STREAM_HANDLERS.

        That one begins as on a new call, with its own `prepare` and `twiml`: `stream.resumed` is 0, so that it greets,
        and `stream.handed` counts such changes. `stream.parameters` have what the first handler was told of the caller
        and what the call was placed with; what that one has set with `stream.set` is in `Call.data`, and `Call.handler`
        is the new one. Returns `{"handler": …, "waits_ms": …}`; Objection for a name that nobody knows.
        """
        return await self._ask("hand-over", handler=handler)

    async def _ask(self, act: str, **facts: Any) -> dict[str, Any]:
        """Finds the process, and has it do that."""
        key = uuid.uuid4().hex
        try:
            return await self._answered(act, key, facts)
        except (NotLive, NoAnswer) as error:
            if self._user is not None:
                failed = partial(_note_failure, self.call_sid, self._user, act, key, facts, error)
                await sync_to_async(letting_go(failed))()
                if post.address:
                    hints.add(self.call_sid)
            raise

    async def _answered(self, act: str, key: str, facts: dict[str, Any]) -> dict[str, Any]:
        owner = await sync_to_async(letting_go(partial(holder, self.call_sid)))()
        who = {"user": self._user.pk, "name": self._user.get_username()} if self._user is not None else {}
        letter: Letter = {"type": "control.act", "call": self.call_sid, "act": act, "facts": facts, **who}
        # One that waits longer than whoever has sent it is not to be done any more.
        letter |= {"id": key, "until": time.time() + PATIENCE + GRACE}
        try:
            answer = await post.ask(mailbox(owner), letter, PATIENCE)
        except TimeoutError:
            raise NoAnswer("the process that holds this call has not answered within 3 s") from None
        except PostAway:
            raise NoAnswer("the channel layer does not answer") from None
        if answer["outcome"] == "done":
            done: dict[str, Any] = answer["done"]
            return done
        raise (NotLive if answer["outcome"] == "not-live" else Objection)(answer["why"])


def control(call_sid: str, *, user: AbstractBaseUser | None = None) -> Remote:
    """The running call of that CallSid, to be acted upon; `user` is who does it, for the call's timeline."""
    return Remote(call_sid, user)


def check_audio(audio: object) -> None:
    """Objection for what is never played."""
    if not isinstance(audio, bytes | bytearray | memoryview):
        raise Objection(f"play takes µ-law as bytes, not {type(audio).__name__}")
    if not len(audio):
        raise Objection("there is nothing to play")
    if len(audio) > LONGEST_PLAY:
        raise Objection(f"{len(audio) / SAMPLE_RATE:.0f} s are too long: at most 60 s are played at once")


def holder(call_sid: str) -> str:
    """The process that holds the stream on which the caller is. NotLive, or NoAnswer if nothing reaches it."""
    streams = Stream.objects.live().filter(call__sid=call_sid).exclude(lease_owner="")
    if owner := streams.order_by("-bidirectional", "-pk").values_list("lease_owner", flat=True).first():
        if not settings.REDIS_URL and post.address != mailbox(owner):
            raise NoAnswer("another process holds this call, and REDIS_URL is not set: without it letters reach nobody")
        return owner
    call = Call.objects.filter(sid=call_sid).first()
    if call is None:
        raise NotLive(f"there is no call {call_sid!r}")
    if call.ended_at:
        raise NotLive("this call is over")
    if call.dialing:
        raise NotLive("its caller is with somebody else at the moment")
    raise NotLive("no stream of this call runs at the moment")


def _note_failure(
    call_sid: str, user: AbstractBaseUser, act: str, key: str, facts: dict[str, Any], error: ControlError
) -> None:
    """Each act of staff stands in the timeline, also one that did not reach the call."""
    known = {name: value for name, value in facts.items() if name != "audio" and value not in ("", None)}
    try:
        call = Call.objects.filter(sid=call_sid).first()
        if call is not None:
            CallEvent.objects.create(
                call=call,
                source=CallEvent.Source.CONTROL,
                kind=act,
                key=f"control:{key}",
                occurred_at=timezone.now(),
                data=storable_json({**known, "outcome": error.outcome, "why": str(error)}),
                user_id=user.pk,
            )
    except DatabaseError:
        logger.exception("act_not_noted call=%s act=%s user=%s: %s", call_sid, act, user.pk, error)
