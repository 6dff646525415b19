"""The socket by which a member of staff talks to a caller: what their microphone says goes to the process that holds
the call (calls.supervision.takeovers), in numbered letters, at most 17 a second.

The browser says {"type": "take"}, and is told {"type": "taken"}, or "refused" and why. From then on it sends µ-law,
8000 samples a second, at all times, silence too; and {"type": "hand-back"} at last. {"type": "over"} says why it ended
otherwise.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from django.contrib.auth.models import User
from django.db import Error as DatabaseError

from calls import about
from calls.media.audio import SAMPLE_RATE
from calls.models import Call
from calls.post.post import Letter, PostAway, mailbox, post
from calls.server.control import GRACE, PATIENCE, ControlError, holder
from calls.supervision.beside import beside
from calls.supervision.lookups import look_up
from calls.supervision.pages import GOING_AWAY, NO_LONGER, Page


logger = logging.getLogger(__name__)

# Seconds between two letters.
EVERY = 1 / 17
# What waits of a microphone while the layer is slow, in samples: older words are worth nothing to a caller.
MOST_WAITING = SAMPLE_RATE * 2 // 5
# Seconds without a word of the process that holds the call after which it is taken for gone.
SILENT = 5.0

# Why it ended, for the timeline …
GONE, NO_LONGER_MAY = "the browser was gone", "the permission was taken, or the login ended"
RENEWED = "the server process of the browser was being stopped"
# … and why it did not begin, or ended, for the page.
NO_ANSWER = "the process that holds this call has not answered within 3 s"
NO_DATABASE = "the database does not answer, so nobody knows which process holds this call"
LOST = "the process that holds this call does not answer any more"


class Talk:
    """One takeover, where the browser is."""

    def __init__(self, owner: str, on_over: Callable[[str], None]) -> None:
        """`owner` is the process that holds the call; `on_over` hears why it ended, if it was not handed back."""
        self.key = uuid.uuid4().hex
        self._to = mailbox(owner)
        self._on_over = on_over
        self._audio = bytearray()
        self._number = 0
        self._told_at = time.monotonic()
        self._wake = asyncio.Event()

    async def begin(self, call_sid: str, user: User) -> str:
        """Takes over. Returns "", or why not."""
        until = time.time() + PATIENCE + GRACE
        letter = self._letter("take", call=call_sid, user=user.pk, name=user.get_username(), until=until)
        _talks[self.key] = self
        why = NO_ANSWER
        try:
            answer = await post.ask(self._to, letter, PATIENCE)
        except TimeoutError:
            pass
        except PostAway:
            why = "the channel layer does not answer"
        else:
            if answer["outcome"] == "taken":
                self._told_at = time.monotonic()
                return ""
            del _talks[self.key]
            return str(answer["why"])
        # It may have done it.
        self.end(GONE)
        return why

    def hear(self, audio: bytes) -> None:
        """What the microphone says."""
        self._audio += audio[-MOST_WAITING:]
        del self._audio[:-MOST_WAITING]
        self._wake.set()

    def told(self, letter: Letter) -> None:
        """The process that holds the call says that they talk, or why they do not any more."""
        self._told_at = time.monotonic()
        if "over" in letter:
            self._give_up(letter["over"])

    async def speak(self) -> None:
        """Sends what the microphone says, until it is over."""
        while await self._has_more():
            audio = bytes(self._audio)
            self._audio.clear()
            self._number += 1
            # The page says that the layer is away; what is said meanwhile is lost, and after 3 s the handler has its
            # caller back.
            with suppress(PostAway):
                await post.send(self._to, self._letter("voice", number=self._number, audio=audio))
            await asyncio.sleep(EVERY)

    async def _has_more(self) -> bool:
        """Waits until they say something; False once it is over, also since nobody knows any more whether it is."""
        while self.key in _talks:
            if time.monotonic() - self._told_at > SILENT:
                self.end(GONE)
                self._on_over(LOST)
            elif self._audio:
                return True
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SILENT):
                        await self._wake.wait()
                self._wake.clear()
        return False

    def end(self, why: str) -> None:
        """Hands back; `why` if it is not the person who wants to."""
        if _talks.pop(self.key, None) is not None:
            self._wake.set()
            beside(_send(self._to, self._letter("hand-back", why=why)))

    def _give_up(self, why: str) -> None:
        if _talks.pop(self.key, None) is not None:
            self._wake.set()
            self._on_over(why)

    def _letter(self, kind: str, **facts: Any) -> Letter:
        return {"type": f"takeover.{kind}", "key": self.key, "from": post.address, **facts}


class VoicePage(Page):
    """One socket. It takes over as often as its browser asks, once at a time."""

    permissions = ("calls.view_call", "calls.supervise_call")

    def find(self, user: User) -> bool:
        self._user = user
        self._call_sid = Call.objects.sid_of(self.arguments["pk"])
        return bool(self._call_sid)

    async def begin(self) -> None:
        about.note(self._call_sid)
        self._talk: Talk | None = None
        self._is_asking = self._is_closed = False

    def take(self, said: dict[str, Any]) -> None:
        match said.get("type"):
            case "take" if self._talk is None and not self._is_asking:
                self._is_asking = True
                beside(self._take())
            case "hand-back" if self._talk is not None:
                self._talk.end("")
                self._talk = None

    def take_bytes(self, data: bytes) -> None:
        if self._talk is not None:
            self._talk.hear(data)

    def end(self) -> None:
        self._is_closed = True
        if self._talk is not None:
            self._talk.end({NO_LONGER: NO_LONGER_MAY, GOING_AWAY: RENEWED}.get(self.code or 0, GONE))

    async def _take(self) -> None:
        try:
            talk = Talk(await look_up(partial(holder, self._call_sid)), self._over)
            why = await talk.begin(self._call_sid, self._user)
        except ControlError as error:
            why = str(error)
        except DatabaseError:
            why = NO_DATABASE
        except Exception:
            logger.exception("takeover_failed call=%s", self._call_sid)
            why = "it failed; the server's log says why"
        finally:
            self._is_asking = False
        if why:
            self.say(type="refused", why=why)
        elif self._is_closed:
            talk.end(GONE)
        else:
            self._talk = talk
            self.say(type="taken")
            beside(talk.speak())

    def _over(self, why: str) -> None:
        self._talk = None
        self.say(type="over", why=why)


def told(letter: Letter) -> None:
    """A process that holds a call says something of a takeover."""
    if talk := _talks.get(letter["key"]):
        talk.told(letter)


async def _send(to: str, letter: Letter) -> None:
    # Who hears nothing for 3 s gives up.
    with suppress(PostAway):
        await post.send(to, letter)


# Those of this process, by their keys.
_talks: dict[str, Talk] = {}
