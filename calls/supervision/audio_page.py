"""The socket on which a browser hears a running call, both lanes as they are recorded.

The browser says {"type": "listen"} and {"type": "stop"}, and about twice a second how far it is: {"type": "heard",
"stream": StreamSid, "got": samples, "from": …, "to": … (what it has played since)}. It is sent pieces (calls.media
.pieces), before them {"type": "stream", "stream": StreamSid} whenever another one is heard, and as the case may be
"listening", "refused" (the listen could not be put on record), "paused", "resumed", "over".
"""

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from typing import Any

from django.contrib.auth.models import User
from django.db import Error as DatabaseError

from calls import about
from calls.media import pieces
from calls.media.audio import SAMPLE_RATE
from calls.models import Call
from calls.supervision.beside import beside
from calls.supervision.followers import followers
from calls.supervision.listens import Listen
from calls.supervision.lookups import look_up
from calls.supervision.pages import TOO_SLOW, Page


logger = logging.getLogger(__name__)

# Seconds that a browser may be behind. daphne keeps whatever a peer does not read (`send` never waits there), so it is
# the browser that says how far it is.
PATIENCE = 5.0
# Seconds of which nothing was told of a stream for another one to be heard in its place.
SILENT = 1.0
# Seconds between two looks whether the call is over, if nothing is new; and at least between any two.
EVERY, SELDOM = 5.0, 1.0
# What a browser may say at once that it has played.
MOST_PLAYED = 60 * SAMPLE_RATE


class Choice:
    """Which of a call's streams is heard: one at a time.

    Of two that run at once it is the one on which we speak too; of two of those the one that came later, since the
    earlier one is a socket that has broken.
    """

    def __init__(self) -> None:
        self.stream = ""
        self._at = 0.0
        self._left: set[str] = set()

    def takes(self, entry: dict[str, Any], now: float) -> bool:
        """Whether it is heard, of which the process that holds it has just told that."""
        stream = entry["stream"]
        if stream != self.stream:
            is_newer = entry["is_bidirectional"] and stream not in self._left
            if self.stream and not is_newer and now - self._at < SILENT:
                return False
            self._left.add(self.stream)
            self.stream = stream
        self._at = now
        return True


class AudioPage(Page):
    """A Follower while its browser listens."""

    permissions = ("calls.view_call", "calls.supervise_call")
    listens = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._listen: Listen | None = None
        self._choice = Choice()
        self._is_paused = False
        #: Where each batch ended that the browser has not said that it has, and when it was sent.
        self._unheard: deque[tuple[int, float]] = deque()
        self._end = 0
        self._news = asyncio.Event()

    def find(self, user: User) -> bool:
        self._user = user
        self._call = int(self.arguments["pk"])
        self.call_sid = Call.objects.sid_of(self._call)
        return bool(self.call_sid)

    async def begin(self) -> None:
        about.note(self.call_sid)
        self._watching = asyncio.create_task(self._watch())

    def end(self) -> None:
        self._watching.cancel()
        self._stop()

    # --- what the browser says ----------------------------------------------------------------------------------------

    def take(self, said: dict[str, Any]) -> None:
        match said.get("type"):
            case "listen" if self._listen is None:
                self._listen = Listen(self._user, self._call, (self.scope.get("client") or [""])[0])
                beside(self._start(self._listen))
            case "stop":
                self._stop()
            case "heard":
                self._note_heard(said.get("stream"), said.get("got"), said.get("from"), said.get("to"))

    async def _start(self, listen: Listen) -> None:
        try:
            await look_up(listen.begin)
        except Exception as error:
            if not isinstance(error, DatabaseError):
                logger.exception("listen_failed call=%s", self.call_sid)
            if self._listen is listen:
                self._listen = None
                self.say(type="refused")
            return
        if self._listen is listen:
            self.listens = True
            followers.add(self)
            self.say(type="listening")

    def _stop(self) -> None:
        self.listens = False
        followers.remove(self)
        listen, self._listen = self._listen, None
        self._choice, self._is_paused = Choice(), False
        self._unheard.clear()
        if listen is not None:
            beside(listen.end())

    def _note_heard(self, stream: object, got: object, start: object, stop: object) -> None:
        if self._listen is None or not isinstance(stream, str) or stream != self._choice.stream:
            return
        if isinstance(got, int):
            while self._unheard and self._unheard[0][0] <= got:
                self._unheard.popleft()
        if (
            isinstance(start, int)
            and isinstance(stop, int)
            and 0 <= start < stop <= min(self._end, start + MOST_PLAYED)
        ):
            self._listen.play(stream, start, stop)

    # --- what the process says that holds the call --------------------------------------------------------------------

    def told(self, entry: dict[str, Any]) -> None:
        audio, now = entry.get("audio"), time.monotonic()
        before = self._choice.stream
        # It is told of without audio until that process knows that somebody listens.
        if self._listen is None or audio is None or not self._choice.takes(entry, now):
            return
        if self._unheard and now - self._unheard[0][1] > PATIENCE:
            self._drop()
            return
        if self._choice.stream != before:
            self._change(entry["stream"])
        if self._is_paused and not entry["is_paused"]:
            self.say(type="resumed")
        self._give(self._listen, entry["stream"], audio, now)
        if entry["is_paused"] and not self._is_paused:
            self.say(type="paused", unrecorded=entry["is_unrecorded"])
        self._is_paused = entry["is_paused"]

    def changed(self) -> None:
        self._news.set()

    def _change(self, stream: str) -> None:
        self.say(type="stream", stream=stream)
        self._end, self._is_paused = 0, False
        # Whatever it has of the new one shows that it has had these.
        self._unheard = deque((0, at) for _, at in self._unheard)

    def _give(self, listen: Listen, stream: str, audio: list[tuple[int, int, bytes]], now: float) -> None:
        for lane, start, mulaw in audio:
            listen.send(stream, start, start + len(mulaw))
            self.give(pieces.pack(lane, start, mulaw))
        if audio:
            self._end = max(self._end, *(start + len(mulaw) for _, start, mulaw in audio))
            self._unheard.append((self._end, now))

    def _drop(self) -> None:
        """It does not keep up: nothing more crosses the layer for it, and what waits is worth nothing."""
        self._stop()
        self.close(TOO_SLOW, at_once=True)

    # --- the call's end -----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Says when the call is over, and writes down meanwhile how far they have listened."""
        while True:
            try:
                if await look_up(self._is_over):
                    self.say(type="over")
                    self.close(1000)
                    return
                if self._listen is not None:
                    await self._listen.note()
            except DatabaseError:
                # The next look tells; a call that is heard goes on to be.
                logger.info("listen_unseen call=%s: the database is away", self.call_sid)
            await asyncio.sleep(SELDOM)
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._news.wait()
            self._news.clear()

    def _is_over(self) -> bool:
        return not Call.objects.filter(pk=self._call, ended_at=None).exists()
