"""What this process does to calls that it holds because somebody has asked (calls.server.control), and its answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from calls.media.audio import SAMPLES_PER_MS
from calls.post.post import Letter, PostAway, post
from calls.server.control import Objection
from calls.server.inbox import Control
from calls.server.live_stream import LiveStream
from calls.server.outgoing import StreamEnded
from calls.server.switchboard import switchboard


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What somebody wants of a call."""

    act: str
    facts: dict[str, Any]
    #: The user's key and name; None and "" if it was code.
    user: int | None
    name: str


# What an act does; it returns facts of what came of it, for who asked and for the timeline.
Act = Callable[[LiveStream, Asked], Awaitable[dict[str, Any]]]


class Acts:
    """One process's."""

    def __init__(self, acts: dict[str, Act]) -> None:
        self._acts = acts
        self._running: set[asyncio.Task[None]] = set()

    def take(self, letter: Letter) -> None:
        """Does it in a task of its own, and answers."""
        task = asyncio.create_task(self._answer(letter))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _answer(self, letter: Letter) -> None:
        answer = await self._outcome(letter)
        # Who asked will say that nobody has answered.
        with suppress(PostAway):
            await post.send(letter["answer_to"], {"type": "control.answer", **answer})

    async def _outcome(self, letter: Letter) -> Letter:
        asked = Asked(letter["act"], letter["facts"], letter.get("user"), letter.get("name", ""))
        live, act = held(letter["call"]), self._acts.get(asked.act)
        if live is None:
            return {"outcome": "not-live", "why": "the call has ended meanwhile"}
        try:
            if act is None:
                raise Objection(f"this process does not know how to {asked.act}")
            done = await act(live, asked)
        except StreamEnded:
            return {"outcome": "not-live", "why": "the call has ended meanwhile"}
        except Objection as objection:
            return {"outcome": "objection", "why": str(objection)}
        except Exception:
            logger.exception("act_failed call=%s act=%s", live.call_sid, asked.act)
            return {"outcome": "objection", "why": "it failed; the server's log says why"}
        note(live, asked, done)
        return {"outcome": "done", "done": done}


def held(call_sid: str) -> LiveStream | None:
    """The stream of that call on which the caller can be spoken to, or one on which they are heard."""
    own = [live for live in switchboard.live.values() if live.call_sid == call_sid and not live.lifetime.is_over]
    return max(own, key=lambda live: live.bidirectional, default=None)


def note(live: LiveStream, asked: Asked, done: dict[str, Any]) -> None:
    """It stands in the timeline, and the handler is told."""
    live.tape.act(asked.act, timezone.now(), asked.user, **done)
    live.inbox.put(Control(asked.act, asked.name))


async def clear(live: LiveStream, asked: Asked) -> dict[str, Any]:
    before = live.hearing.playback.cleared
    live.speaking.check()
    await live.speaking.clear()
    return {"cleared_ms": (live.hearing.playback.cleared - before) // SAMPLES_PER_MS}


# Those of this process.
acts = Acts({"clear": clear})
