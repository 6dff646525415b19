"""What is done to a running call from outside of its handler: by code anywhere in Django, and by staff.

    await control(call_sid).clear()

The process that holds the call's stream does it, whichever that is, and says what came of it (calls.supervision.acts).
"""

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.models import AbstractBaseUser

from calls.models import Call, Stream
from calls.post.post import Letter, PostAway, mailbox, post


# Seconds that the process which holds the call has to say what came of it.
PATIENCE = 3.0


class ControlError(Exception):
    """Nothing was done to the call, or nobody knows whether it was."""


class NotLive(ControlError):
    """No stream of this call runs: it is over, it has not begun, or its caller is with somebody else."""


class NoAnswer(ControlError):
    """The process that holds the call has not answered within 3 s: it may have done it, or not."""


class Objection(ControlError):
    """The process that holds the call will not do this, and says why."""


class Remote:
    """A running call, wherever it is held.

    Each method returns what that process acknowledged, and raises NotLive, NoAnswer or Objection. What was done stands
    in the call's timeline, with the user if there is one, and its handler sees a `Control` event.
    """

    def __init__(self, call_sid: str, user: AbstractBaseUser | None = None) -> None:
        self.call_sid = call_sid
        self._user = user

    async def clear(self) -> dict[str, Any]:
        """What plays, and what waits to be played, is not heard. Returns `{"cleared_ms": …}`."""
        return await self._ask("clear")

    async def play(self, audio: bytes, *, name: str = "") -> dict[str, Any]:
        """Plays µ-law, 8000 samples a second, behind what was said before; `name` is what the timeline calls it.

        Returns `{"length_ms": …, "waits_ms": …}` once it is on its way; Objection for more than 60 s of it.
        """
        return await self._ask("play", audio=audio, name=name)

    async def hang_up(self) -> dict[str, Any]:
        """Ends the call once the caller has heard what was given to play. Returns `{"waits_ms": …}`."""
        return await self._ask("hang-up")

    async def dial(self, number: str, *, timeout: int = 20, caller_id: str | None = None) -> dict[str, Any]:
        """Ends the handler, and connects the caller to another number (as MediaStream.dial takes it) or SIP address."""
        return await self._ask("dial", number=number, timeout=timeout, caller_id=caller_id)

    async def hand_over(self, handler: str) -> dict[str, Any]:
        """Ends the handler, and connects the caller to another one, by its name in STREAM_HANDLERS."""
        return await self._ask("hand-over", handler=handler)

    async def _ask(self, act: str, **facts: Any) -> dict[str, Any]:
        """Finds the process, and has it do that."""
        owner = await sync_to_async(_holder)(self.call_sid)
        who = {"user": self._user.pk, "name": self._user.get_username()} if self._user is not None else {}
        letter: Letter = {"type": "control.act", "call": self.call_sid, "act": act, "facts": facts, **who}
        try:
            answer = await post.ask(mailbox(owner), letter, PATIENCE)
        except TimeoutError:
            raise NoAnswer("the process that holds this call has not answered within 3 s") from None
        except PostAway as error:
            raise NoAnswer(f"the channel layer does not answer: {error}") from None
        if answer["outcome"] == "done":
            done: dict[str, Any] = answer["done"]
            return done
        raise (NotLive if answer["outcome"] == "not-live" else Objection)(answer["why"])


def control(call_sid: str, *, user: AbstractBaseUser | None = None) -> Remote:
    """The running call of that CallSid, to be acted upon; `user` is who does it, for the call's timeline."""
    return Remote(call_sid, user)


def _holder(call_sid: str) -> str:
    """The process that holds the stream on which the caller is."""
    streams = Stream.objects.live().filter(call__sid=call_sid).exclude(lease_owner="")
    if owner := streams.order_by("-bidirectional", "-pk").values_list("lease_owner", flat=True).first():
        return owner
    call = Call.objects.filter(sid=call_sid).first()
    if call is None:
        raise NotLive(f"there is no call {call_sid!r}")
    raise NotLive("this call is over" if call.ended_at else "no stream of this call runs at the moment")
