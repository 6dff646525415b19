"""What a handler has said that is not sent yet: audio and marks in their order, in whole frames. Pure.

What does not fit waits here, outside of Twilio's buffer, where a `clear` costs nothing.
"""

from collections import deque
from typing import Generic, TypeVar

from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE
from calls.media.playback import PendingMark


# One media message: small enough that clear and mark stay fine-grained, Twilio takes any size.
MESSAGE_SAMPLES = 1 * SAMPLE_RATE

P = TypeVar("P")


class Cue(Generic[P]):
    """A mark in its place behind what was said before it: of the handler's, or of a play that waits (`played`)."""

    __slots__ = ("mark", "name", "played", "text")

    def __init__(self, name: str = "", text: str = "", played: P | None = None) -> None:
        self.name = name
        self.text = text
        self.played = played
        #: Once it was sent.
        self.mark: PendingMark | None = None


class Script(Generic[P]):
    """One stream's queue towards Twilio."""

    __slots__ = ("_items", "_rest", "samples")

    def __init__(self) -> None:
        self._items: deque[bytearray | Cue[P]] = deque()
        #: The end of a speech that is no whole frame yet: what is said next goes on from here.
        self._rest = b""
        #: Samples that wait, in whole frames.
        self.samples = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def has_rest(self) -> bool:
        return bool(self._rest)

    def say(self, audio: bytes) -> None:
        """Audio of a speech, of any length, directly behind what was said before."""
        audio = self._rest + audio
        whole = len(audio) - len(audio) % FRAME_SAMPLES
        self._rest = audio[whole:]
        last = self._items[-1] if self._items else None
        if isinstance(last, bytearray):
            last += audio[:whole]
        elif whole:
            self._items.append(bytearray(audio[:whole]))
        self.samples += whole

    def say_all(self, audio: bytes, cue: Cue[P]) -> bytearray:
        """Audio that ends a speech, and the mark behind it. Returns what `take_back` wants."""
        audio, self._rest = self._rest + audio, b""
        whole = bytearray(audio + SILENCE * (-len(audio) % FRAME_SAMPLES))
        if whole:
            self._items.append(whole)
            self.samples += len(whole)
        self._items.append(cue)
        return whole

    def cue(self, cue: Cue[P]) -> None:
        """A mark behind everything that was said."""
        self.end_speech()
        self._items.append(cue)

    def end_speech(self) -> None:
        """What comes next is something else: the last frame is filled with silence."""
        if self._rest:
            self.say(SILENCE * (FRAME_SAMPLES - len(self._rest)))

    def take_back(self, audio: bytearray, cue: Cue[P]) -> None:
        """Nobody waits for it any more: what was not sent yet never is."""
        if any(item is audio for item in self._items):
            self.samples -= len(audio)
        self._items = deque(item for item in self._items if item is not audio and item is not cue)

    def drop(self) -> tuple[int, list[Cue[P]]]:
        """Nothing of what waits is sent. Returns how many samples that is, and the marks."""
        dropped = self.samples + len(self._rest)
        cues = [item for item in self._items if isinstance(item, Cue)]
        self._items.clear()
        self._rest, self.samples = b"", 0
        return dropped, cues

    @property
    def next_size(self) -> int:
        """Samples of the next message; a mark has none."""
        item = self._items[0]
        return 0 if isinstance(item, Cue) else min(len(item), MESSAGE_SAMPLES)

    def next(self, room: int) -> "bytes | Cue[P] | None":
        """Takes the audio of the next message, or the next mark; None if there is no room for that many samples."""
        item = self._items[0]
        if isinstance(item, Cue):
            self._items.popleft()
            return item
        if self.next_size > room:
            return None
        piece = bytes(item[:MESSAGE_SAMPLES])
        del item[:MESSAGE_SAMPLES]
        if not item:
            self._items.popleft()
        self.samples -= len(piece)
        return piece
