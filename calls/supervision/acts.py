"""What this process does to calls that it holds because somebody has asked (calls.server.control), and its answer."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from django.utils import timezone

from calls import about
from calls.post.post import Letter, PostAway, post
from calls.server.control import PATIENCE, Objection
from calls.server.conversation import commit
from calls.server.inbox import Control
from calls.server.live_stream import LiveStream
from calls.server.outgoing import StreamEnded
from calls.server.outings import outings
from calls.server.switchboard import switchboard
from calls.supervision.beside import beside
from calls.supervision.stepping_in import ACTS, Act, Asked


logger = logging.getLogger(__name__)


TOO_LATE = "it came too late, and was not done"


class Acts:
    """One process's. What is asked of one call is done in its order, once, and not after nobody waits for it."""

    def __init__(self, acts: Mapping[str, Act]) -> None:
        self._acts = acts
        #: By CallSid: whose turn it is.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        #: By the letter's id: until when it may come again, and what came of it.
        self._outcomes: dict[str, tuple[float, asyncio.Task[Letter]]] = {}

    def take(self, letter: Letter) -> None:
        """Does it in a task of its own, and answers. ValueError if it asks for nothing."""
        shape = {"id": str, "call": str, "act": str, "facts": dict, "answer_to": str, "until": float}
        if not all(isinstance(letter.get(name), kind) for name, kind in shape.items()):
            raise ValueError("this asks for nothing that could be done")
        beside(self._answer(letter))

    async def _answer(self, letter: Letter) -> None:
        # A layer that had a fault delivers some letters twice. They have one outcome, and each an answer.
        now = time.time()
        self._outcomes = {key: known for key, known in self._outcomes.items() if known[0] > now}
        if (known := self._outcomes.get(letter["id"])) is None:
            known = self._outcomes[letter["id"]] = letter["until"], asyncio.create_task(self._outcome(letter))
        answer = await known[1]
        # Who asked will say that nobody has answered.
        with suppress(PostAway):
            await post.send(letter["answer_to"], {"type": "control.answer", **answer})

    async def _outcome(self, letter: Letter) -> Letter:
        asked = Asked(letter["act"], letter["facts"], letter.get("user"), letter.get("name", ""))
        turn = self._turns.setdefault(letter["call"], asyncio.Lock())
        async with turn:
            if is_late(letter, asked.act):
                return {"outcome": "objection", "why": TOO_LATE}
            return await self._done(letter["call"], asked)

    async def _done(self, call_sid: str, asked: Asked) -> Letter:
        live, act = held(call_sid), self._acts.get(asked.act)
        about.note(call_sid, live.sid if live is not None else "")
        if live is None:
            return {"outcome": "not-live", "why": _whereabouts(call_sid)}
        try:
            if act is None:
                raise Objection(f"this process does not know how to {asked.act}")
            async with asyncio.timeout(PATIENCE):
                done = await act(live, asked)
        except StreamEnded:
            return {"outcome": "not-live", "why": _whereabouts(call_sid)}
        except Objection as objection:
            return {"outcome": "objection", "why": str(objection)}
        except TimeoutError:
            return {"outcome": "objection", "why": "the other side of the line takes nothing at the moment"}
        except Exception:
            logger.exception("act_failed call=%s act=%s", call_sid, asked.act)
            return {"outcome": "objection", "why": "it failed; the server's log says why"}
        note(live, asked, done)
        by = ascii(asked.name)[1:-1] or "code"
        logger.info("act_done call=%s act=%s user=%s by=%s", call_sid, asked.act, asked.user or "none", by)
        if live.departure is not None:
            # From here on it holds, also if this process dies before the stream has ended.
            await commit(live.cut(time.monotonic()))
        return {"outcome": "done", "done": done}


def held(call_sid: str) -> LiveStream | None:
    """The stream of that call on which the caller can be spoken to, or one on which they are heard.

    Of two such ones it is the later one: the earlier one is a socket that has broken.
    """
    own = [live for live in switchboard.live.values() if live.call_sid == call_sid and not live.lifetime.is_over]
    return max(reversed(own), key=lambda live: live.bidirectional, default=None)


def is_late(letter: Letter, act: str) -> bool:
    """Whether it has waited, in the layer or behind another act: who asked was told that nobody has answered."""
    late: float = time.time() - letter["until"]
    if late > 0:
        logger.warning(
            "act_late call=%s act=%s by %.1f s: not done (it waited, or the clocks of two hosts differ)",
            *(letter["call"], act, late),
        )
    return late > 0


def _whereabouts(call_sid: str) -> str:
    if outings.of_call(call_sid) is not None:
        return "its handler has had another number dialled, and waits for the caller"
    return "the call has ended meanwhile"


def note(live: LiveStream, asked: Asked, done: dict[str, Any]) -> None:
    """It stands in the timeline, and the handler is told."""
    live.tape.act(asked.act, timezone.now(), asked.user, **done, **asked.by)
    live.inbox.put(Control(asked.act, asked.name))


# Those of this process.
acts = Acts(ACTS)
