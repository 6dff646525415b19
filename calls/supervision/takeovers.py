"""Members of staff who talk to callers of this process, from a browser on this or another one (calls.supervision.
voice_page), and until when: what they say comes in letters, and whoever sends none for 3 s is gone.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import Any

from calls.media.protocol import StateError
from calls.post.post import Letter, PostAway, post
from calls.server.hold import Taken
from calls.server.live_stream import LiveStream
from calls.server.outgoing import StreamEnded
from calls.supervision.acts import TOO_LATE, held, is_late
from calls.supervision.beside import beside


# Seconds without anything from the microphone, which sends silence too, after which the handler has its caller back.
SILENT = 3.0
# Seconds between two words to the page that the person still has the caller.
EVERY = 1.0
# Letters that wait while Twilio's socket takes nothing; what they hold would come too late.
MOST_WAITING = 4
# Letters that are remembered, for the layer may deliver one twice.
REMEMBERED = 64

# What somebody says who wants to talk to a caller.
_SHAPE = {"key": str, "from": str, "answer_to": str, "call": str, "user": int, "name": str, "until": float}

OVER = "the call has ended meanwhile"
ONLY_LISTENS = "we only listen to this call: the caller talks to somebody else, and cannot hear us"
SILENCE = "nothing came from the browser for 3 s"


class Person:
    """One of them, from the moment at which they have taken over."""

    def __init__(self, live: LiveStream, letter: Letter) -> None:
        self.key: str = letter["key"]
        self._live = live
        self._page: str = letter["from"]
        self._number = 0
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._heard_at = self._told_at = time.monotonic()
        self._wake = asyncio.Event()

    def hear(self, letter: Letter) -> None:
        """What they say. The layer may deliver a letter twice, and what one of those was that it lost is silence."""
        if letter["number"] <= self._number:
            return
        self._number = letter["number"]
        self._heard_at = time.monotonic()
        self._waiting.append(letter["audio"])
        self._wake.set()

    async def talk(self) -> str:
        """Until they hand back, are gone, or the stream is over. Returns why it ended."""
        hold = self._live.hold
        freed = asyncio.create_task(hold.until_free())
        freed.add_done_callback(lambda _: self._wake.set())
        try:
            # The one may be true again: somebody else has the caller then.
            while hold.is_on and not freed.done():
                await self._pass_on()
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY / 2):
                        await self._wake.wait()
                self._wake.clear()
        except StreamEnded:
            hold.end(OVER)
            return OVER
        except Exception:
            hold.end("it failed; the server's log says why")
            raise
        finally:
            freed.cancel()
        return hold.why

    async def _pass_on(self) -> None:
        now = time.monotonic()
        if self._waiting:
            audio = b"".join(self._waiting)
            self._waiting.clear()
            await self._live.hold.say(audio)
        elif now - self._heard_at > SILENT:
            self._live.hold.end(SILENCE)
        if now - self._told_at >= EVERY:
            self._told_at = now
            takeovers.tell(self._page, self.key)

    def hand_back(self, why: str) -> None:
        self._live.hold.end(why)


class Takeovers:
    """Those of one process."""

    def __init__(self) -> None:
        self._people: dict[str, Person] = {}
        #: Who has asked lately.
        self._keys: deque[str] = deque(maxlen=REMEMBERED)

    # --- letters ------------------------------------------------------------------------------------------------------

    def take(self, letter: Letter) -> None:
        """Somebody wants to talk to a caller. ValueError if it does not say who, and to whom."""
        if not all(isinstance(letter.get(name), kind) for name, kind in _SHAPE.items()):
            raise ValueError("this does not say who takes over which call")
        # The layer delivers some letters twice.
        if letter["key"] not in self._keys:
            self._keys.append(letter["key"])
            beside(self._answer(letter))

    def hear(self, letter: Letter) -> None:
        """Somebody says something. Whom we do not know has handed back, or has been given up."""
        if person := self._people.get(letter["key"]):
            person.hear(letter)
        else:
            self.tell(letter["from"], letter["key"], over=OVER)

    def hand_back(self, letter: Letter) -> None:
        if person := self._people.get(letter["key"]):
            person.hand_back(letter["why"])

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _answer(self, letter: Letter) -> None:
        live = held(letter["call"])
        why = OVER if live is None else await _objection(live, letter)
        answer: Letter = {"outcome": "refused", "why": why} if why else {"outcome": "taken"}
        self._send_soon(letter["answer_to"], {"type": "takeover.answer", **answer})
        if live is None or why:
            return
        person = Person(live, letter)
        self._people[person.key] = person
        try:
            # Should that be lost, the page notices that nobody says more.
            self.tell(letter["from"], person.key, over=await person.talk())
        finally:
            del self._people[person.key]

    def tell(self, page: str, key: str, **facts: Any) -> None:
        """That they have the caller, or why they do not any more, to the process of their browser. Never waits."""
        self._send_soon(page, {"type": "takeover.told", "key": key, **facts})

    def _send_soon(self, to: str, letter: Letter) -> None:
        beside(self._send(to, letter))

    async def _send(self, to: str, letter: Letter) -> None:
        # Who hears nothing will say so.
        with suppress(PostAway):
            await post.send(to, letter)


async def _objection(live: LiveStream, letter: Letter) -> str:
    """Why they do not have the caller from now on; "" if they do."""
    if is_late(letter, "take-over"):
        return TOO_LATE
    if live.departure is not None:
        return "the call is about to be hung up or sent on, as somebody has asked"
    try:
        await live.hold.begin(letter["user"], letter["name"])
    except Taken as taken:
        return str(taken) if live.hold.user != letter["name"] else "you have taken over already, in another window"
    except StateError:
        return ONLY_LISTENS
    except StreamEnded:
        return OVER
    return ""


# Those of this process.
takeovers = Takeovers()
