"""What is said on a stream, in its order: what waits, what is said in chunks, and what was taken out to go on later."""

from typing import Any

from calls.media.formats import Form, to_mulaw
from calls.media.playback import Playback
from calls.media.script import Cue, Script, Speech
from calls.server.marks import Settled


Cues = list[Cue[Settled]]


class Opened:
    """A speech that is said in chunks, as they come, until something else is said."""

    __slots__ = ("converter", "form", "playing", "speech")

    def __init__(self, form: Form) -> None:
        self.form = form
        self.converter = to_mulaw(*form)
        self.speech = Speech()
        #: What handlers hold of it, made when they first do.
        self.playing: Any = None
        # What follows never waits for more of it.
        self.speech.is_whole = True


class Speeches:
    """One stream's. Nothing here sends."""

    __slots__ = ("_aside", "_playback", "current", "is_flying", "script")

    def __init__(self, playback: Playback) -> None:
        self._playback = playback
        self.script: Script[Settled] = Script()
        #: Speeches that were taken out, with their marks.
        self._aside: dict[Speech, Cues] = {}
        #: The speech to which chunks are added at the moment.
        self.current: Opened | None = None
        #: Frames of it are being sent one after the other, and have not been counted yet.
        self.is_flying = False

    @property
    def is_held_back(self) -> bool:
        """Whether the end of a chunk waits for the next one, which decides how it sounds."""
        return self.current is not None and self.current.converter.holds

    def open(self, form: Form) -> Opened:
        """The speech to which chunks of that form are added. Whatever else is said ends it, and so does a pause."""
        self.land()
        opened = self.current
        if opened is None or opened.form != form or opened.speech.is_heard(self._playback.front):
            self.close()
            opened = self.current = Opened(form)
        return opened

    def add(self, speech: Speech, audio: bytes) -> None:
        """Adds to a speech that is open."""
        if not speech.waiting:
            self.script.say(speech)
        speech.add(audio)

    def take_off(self, form: Form) -> None:
        """From now on what is sent is of the open speech, frame after frame, and nothing waits: `land` counts it."""
        speech = (self.current or self.open(form)).speech
        self.script.note_flight(speech)
        speech.fly(0, self._playback.sent)
        self.is_flying = True

    def land(self) -> None:
        """Counts the frames that were sent."""
        if self.is_flying and self.current is not None:
            self.is_flying = False
            speech = self.current.speech
            speech.fly(self._playback.sent - speech.end, speech.end)

    def close(self) -> None:
        """What was said in chunks is over, and something else follows."""
        self.land()
        opened, self.current = self.current, None
        if opened is not None and (end := opened.converter.flush()):
            self.add(opened.speech, end)

    def say(self, *items: Speech | Cue[Settled]) -> None:
        """Behind what was said before."""
        self.close()
        self.script.say(*items)

    # --- taken out, and put in again ----------------------------------------------------------------------------------

    def is_on_its_way(self, speech: Speech) -> bool:
        """Whether something of it lies at Twilio and was not heard."""
        self.land()
        self.script.forget_heard(self._playback.front)
        return self.script.is_on_its_way(speech)

    def take_out(self, speech: Speech, cues: Cues) -> None:
        """Nothing of it lies at Twilio: until it is put in again, it is not said."""
        self.close()
        self.script.remove(speech, *cues)
        self._aside[speech] = cues

    def put_in(self, speech: Speech) -> None:
        """It goes on, as soon as what is being said is over."""
        self.close()
        self.script.say_next(speech, *self._aside.pop(speech))

    def give_up(self, speech: Speech) -> tuple[int, int, Cues]:
        """What was taken out is never said. Returns samples that were sent in vain, those never sent, and its marks."""
        cues = self._aside.pop(speech)
        return *speech.cut(self._playback.front), cues

    def stop(self, speech: Speech, cues: Cues) -> None:
        """What of it was sent is heard, and nothing else is said of it."""
        speech.stop()
        self._aside.pop(speech, None)
        self.script.remove(speech, *cues)

    def drop(self, front: int) -> tuple[int, int, Cues]:
        """Nothing more of all this is heard; returns what `give_up` does, of all together."""
        self.land()
        self.current = None
        back, unsent, cues = self.script.drop(front)
        for speech, its_cues in self._aside.items():
            its_back, its_unsent = speech.cut(front)
            back, unsent, cues = back + its_back, unsent + its_unsent, cues + its_cues
        self._aside.clear()
        return back, unsent, cues
