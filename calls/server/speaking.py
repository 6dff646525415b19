"""What a handler has said: it waits for its turn, is heard, and may be cleared or taken back.

`Outgoing` sends it, and the mark behind it tells what became of it.
"""

import asyncio
import logging
import time
from typing import Any

from django.utils import timezone

from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE
from calls.media.hearing import Hearing
from calls.media.protocol import StreamProtocol
from calls.media.script import Cue, Speech
from calls.server.inbox import Outcome
from calls.server.marks import Marks, Settled
from calls.server.outgoing import Outgoing
from calls.server.speeches import Cues


logger = logging.getLogger(__name__)

# How long after its audio a mark may stay away before we go on without it, in seconds.
MARK_PATIENCE = 10.0


class Speaking:
    """One stream's."""

    def __init__(self, outgoing: Outgoing, protocol: StreamProtocol, hearing: Hearing, marks: Marks) -> None:
        self._outgoing = outgoing
        self._protocol = protocol
        self._hearing = hearing
        self._playback = hearing.playback
        self._marks = marks
        self.speeches = outgoing.speeches
        #: Marks behind what was said while a person talked.
        self._unheard: Cues = []
        #: Sends what waits, as far as there is room for it; and where the stream is by now, in samples.
        self.flow, self.now = outgoing.flow, outgoing.now

    @property
    def is_done(self) -> bool:
        """Whether all that was said was heard or cleared, for certain."""
        return self._outgoing.is_idle and self._hearing.is_complete

    @property
    def ahead(self) -> int:
        """Samples that were given to play by now, and that the caller has not heard."""
        self._hearing.advance(time.monotonic())
        return self._playback.pending + self.speeches.script.samples

    @property
    def is_over(self) -> bool:
        """Whether the caller hears nothing any more: what was not heard by now is cut."""
        return self._outgoing.is_over

    @property
    def is_held(self) -> bool:
        """Whether a person talks to the caller: nothing that is said here is heard."""
        return self._outgoing.is_held

    def check(self) -> None:
        """StreamEnded if the stream is over, StateError if it is one on which we only listen."""
        self._outgoing.check_open()
        self._protocol.check_sending("media")

    async def add(self, speech: Speech, audio: bytes) -> None:
        """Adds to a speech that is open."""
        self._outgoing.is_idle = False
        self.speeches.add(speech, audio)
        await self.flow()

    def say(self, *items: Speech | Cue[Settled]) -> None:
        """Puts these behind what was said before; `flow` sends them."""
        if self._outgoing.is_held:
            self._pass_over(items)
            return
        self._outgoing.is_idle = False
        self.speeches.say(*items)

    async def mark(self, name: str) -> None:
        """Sends a mark behind everything that was said."""
        self.say(Cue(name, self._protocol.mark(name)))
        await self.flow()

    async def until_heard(self) -> Outcome:
        """Waits until all that was said until now was heard, or cleared."""
        cue: Cue[Settled] = Cue(played=asyncio.get_running_loop().create_future())
        self.say(cue)
        await self.flow()
        while (outcome := await self.settled(cue)) is None:
            continue
        return outcome

    async def settled(self, cue: Cue[Settled], *others: asyncio.Future[None] | None) -> Outcome | None:
        """What the mark behind a speech says; None if one of the others is done before, or it is to be asked again.

        If it stays away, whether the other side lives decides.
        """
        assert cue.played is not None  # it is one of ours
        mark = cue.mark
        ahead = 0 if mark is None else max(mark.position - self._outgoing.now(), 0)
        waiting: set[asyncio.Future[Any]] = {cue.played, *(other for other in others if other is not None)}
        patience = ahead / SAMPLE_RATE + MARK_PATIENCE
        await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if cue.played.done():
            return cue.played.result()
        if mark is None or mark is not cue.mark or any(other is not None and other.done() for other in others):
            return None
        self._marks.give_up(mark)
        tape = self._hearing.tape
        logger.warning("mark_lost call=%s stream=%s: no echo of %s", tape.call_sid, tape.sid, mark.name)
        return "played" if self._hearing.lives(self._outgoing.now()) else "cleared"

    def sent(self, speech: Speech) -> int:
        """Samples of it that Twilio was given by now."""
        self.speeches.land()
        return speech.sent

    def heard(self, speech: Speech) -> int:
        """Samples of it that the caller has heard by now."""
        self.speeches.land()
        self._hearing.advance(time.monotonic())
        return speech.heard(self._playback.front)

    # --- what is not to be heard --------------------------------------------------------------------------------------

    async def clear(self, *, is_noted: bool = True) -> int:
        """Empties Twilio's buffer, and forgets what waits here. Returns how many samples are never heard.

        Whoever has a line of the timeline for it wants none that says that we stopped talking (`is_noted`). A person's
        words, if one talks, stay in the buffer.
        """
        self._outgoing.check_open()
        if self._outgoing.is_held:
            return 0
        text, lost = self._clear(is_noted=is_noted)
        await self._outgoing.send(text)
        return lost

    def hold(self) -> str:
        """Nothing of all this is heard until `release`, nor what is said meanwhile. Returns what tells Twilio so."""
        text, _ = self._clear()
        self._outgoing.is_held, self._outgoing.is_idle = True, False
        return text

    def release(self) -> None:
        """What is said from here on is heard; what was said before counts as cleared."""
        self._outgoing.is_held = False
        self._outgoing.look_on()
        unheard, self._unheard = self._unheard, []
        self._marks.forgo(unheard, self._outgoing.now())

    def _clear(self, *, is_noted: bool = True) -> tuple[str, int]:
        """What tells Twilio, and how many samples are never heard."""
        text = self._protocol.clear()
        lost = self._hearing.clear(self._outgoing.now())
        back, unsent = self._drop(self._playback.sent - lost)
        lost += self._hearing.note_cleared(back)
        if is_noted:
            self._note_cleared(lost, unsent)
        self._marks.clear()
        return text, lost + unsent

    async def take_out(self, speech: Speech, cues: Cues) -> bool:
        """Takes one speech out of all that was said. What of it lies at Twilio is cleared, and the rest sent again.

        False if all there is of it has been heard by now.
        """
        self._outgoing.check_open()
        self._hearing.advance(time.monotonic())
        text = ""
        if self.speeches.is_on_its_way(speech):
            text = self._protocol.clear()
            audio = self._hearing.take_back(self._outgoing.now())
            self._marks.withdraw(self.speeches.script.put_back(audio, self._playback.sent - len(audio)))
        is_left = bool(speech.waiting) or not speech.is_whole
        if is_left:
            self.speeches.take_out(speech, cues)
        if text:
            await self._outgoing.send(text)
        await self.flow()
        return is_left

    async def put_in(self, speech: Speech) -> None:
        """A speech that was taken out goes on, as soon as what is being said is over."""
        self._outgoing.check_open()
        self.speeches.put_in(speech)
        await self.flow()

    def give_up(self, speech: Speech) -> None:
        """What is left of a speech that was taken out is never said."""
        back, unsent, cues = self.speeches.give_up(speech)
        self._note_cleared(self._hearing.note_cleared(back), unsent)
        self._marks.forgo(cues, self._outgoing.now())

    def stop(self, speech: Speech, cues: Cues) -> None:
        """Nobody waits for this any more: what was sent of it is heard, and nothing else."""
        self.speeches.stop(speech, cues)
        self._outgoing.look_on()

    async def break_off(self, speech: Speech, cues: Cues) -> None:
        """Nothing more comes of this: what there is of it is heard, and what was said after it follows."""
        speech.is_whole = True
        self.speeches.script.remove(*cues)
        await self.flow()

    def end(self, at: float, *, is_stopped: bool) -> None:
        """The stream is over since `at` (monotonic seconds): settles what was heard."""
        position, lost = self._hearing.end(at, is_stopped=is_stopped)
        self._outgoing.stop()
        back, unsent = self._drop(self._playback.sent - lost)
        self._hearing.note_cleared(back)
        if unsent >= FRAME_SAMPLES:
            self._hearing.tape.event("unsent", timezone.now(), samples=unsent)
        self._marks.end(position)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _pass_over(self, items: tuple[Speech | Cue[Settled], ...]) -> None:
        for item in items:
            if isinstance(item, Speech):
                item.cut(self._playback.front)
            else:
                self._unheard.append(item)

    def _note_cleared(self, lost: int, unsent: int) -> None:
        if lost or unsent >= FRAME_SAMPLES:
            more = {"unsent": unsent} if unsent else {}
            self._hearing.tape.event("cleared", timezone.now(), samples=lost, **more)

    def _drop(self, front: int) -> tuple[int, int]:
        """What waits is never sent, and who waits for it learns that.

        Returns how many samples were sent before in vain, and how many never are.
        """
        back, unsent, cues = self.speeches.drop(front)
        self._outgoing.look_on()
        self._marks.forgo(cues, self._outgoing.now())
        return back, unsent
