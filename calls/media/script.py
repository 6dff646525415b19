"""What a handler has said: what waits to be sent, in its order and in whole frames, and what is on its way. Pure.

What does not fit waits here, outside of Twilio's buffer, where a `clear` costs nothing. What was sent is remembered
until it was heard, so that of each speech it is known how much the caller heard, and that the rest can be sent again.

Samples that were sent are counted: the first one of a stream has the ordinal 0. `front` is the ordinal of the next
sample to be heard, so whatever lies before it was heard or cleared (calls.media.playback).
"""

from collections import deque
from typing import Generic, TypeVar

from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE
from calls.media.playback import PendingMark


# One media message: small enough that clear and mark stay fine-grained, Twilio takes any size.
MESSAGE_SAMPLES = 1 * SAMPLE_RATE

P = TypeVar("P")


class Speech:
    """What is said in one go, all at once or as it comes: µ-law, and how much of it was sent and heard.

    It goes out in one run, unless it is put back and sent again from where the caller had come to.
    """

    __slots__ = ("_begin", "_cut", "_heard", "_waiting", "back", "flying", "is_cut", "is_over", "is_whole")

    def __init__(self) -> None:
        self._waiting = bytearray()
        #: What follows need not wait for more of it.
        self.is_whole = False
        #: Nothing more is taken; and something of it was not heard.
        self.is_over = False
        self.is_cut = False
        #: Samples that were sent in this run, the first of which has the ordinal `_begin`.
        self.flying = 0
        self._begin = 0
        #: Samples of earlier runs: heard; sent and not heard, and to be sent again; and those that never will be.
        self._heard = 0
        self.back = 0
        self._cut = 0

    def add(self, audio: bytes) -> None:
        """More of it."""
        if not self.is_over:
            self._waiting += audio

    @property
    def waiting(self) -> int:
        """Samples that are to be sent."""
        return len(self._waiting)

    @property
    def sent(self) -> int:
        """Samples that were given to Twilio, each counted once."""
        return self._heard + self._cut + self.back + self.flying

    @property
    def end(self) -> int:
        """The ordinal behind its last sample that was sent."""
        return self._begin + self.flying

    def heard(self, front: int) -> int:
        """Samples that the caller has heard."""
        return self._heard + max(0, min(front - self._begin, self.flying))

    def is_heard(self, front: int) -> bool:
        """Whether the caller has heard everything that there is of it by now."""
        return self.sent > 0 and not self._waiting and self.heard(front) == self.sent

    def take(self, samples: int, ordinal: int) -> bytes:
        """Its next samples, which are being sent."""
        piece = bytes(self._waiting[:samples])
        del self._waiting[:samples]
        self.back -= min(self.back, len(piece))
        self.fly(len(piece), ordinal)
        return piece

    def fly(self, samples: int, ordinal: int) -> None:
        """So many samples of it are being sent."""
        if not self.flying:
            self._begin = ordinal
        self.flying += samples

    def put_back(self, audio: bytes, front: int) -> None:
        """These samples, its last ones that were sent, were not heard and wait again."""
        self._heard = self.heard(front)
        self.flying = 0
        self.back += len(audio)
        self._waiting[:0] = audio

    def cut(self, front: int) -> tuple[int, int]:
        """Nothing more of it is heard. Returns how many samples were sent before in vain, and how many never are."""
        heard, back, unsent = self.heard(front), self.back, self.waiting - self.back
        self._cut = self.sent - heard
        self.is_cut = self.is_cut or bool(self._cut or unsent) or not self.is_whole
        self._heard, self.back, self.flying = heard, 0, 0
        self.stop()
        return back, unsent

    def stop(self) -> None:
        """Nothing more of it is sent."""
        self._waiting.clear()
        self.is_whole = self.is_over = True


class Cue(Generic[P]):
    """A mark in its place behind what was said before it: of the handler's, or of a speech (`played`)."""

    __slots__ = ("mark", "name", "ordinal", "played", "text")

    def __init__(self, name: str = "", text: str = "", played: P | None = None) -> None:
        self.name = name
        self.text = text
        self.played = played
        #: Once it was sent: what comes back, and the ordinal of the sample behind it.
        self.mark: PendingMark | None = None
        self.ordinal = 0


class Script(Generic[P]):
    """One stream's queue towards Twilio, and what of it is on its way."""

    __slots__ = ("_flight", "_is_closing", "_items")

    def __init__(self) -> None:
        self._items: deque[Speech | Cue[P]] = deque()
        #: What was sent and may not have been heard yet.
        self._flight: deque[Speech | Cue[P]] = deque()
        #: The last frame need not be whole.
        self._is_closing = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def samples(self) -> int:
        """How many wait."""
        return sum(item.waiting for item in self._items if isinstance(item, Speech))

    # --- what waits ---------------------------------------------------------------------------------------------------

    def say(self, *items: Speech | Cue[P]) -> None:
        """Behind everything else. Two speeches without a mark between them are joined without a seam."""
        self._items.extend(items)

    def say_next(self, *items: Speech | Cue[P]) -> None:
        """Before everything that waits, but for the end of a speech that has begun."""
        at = 0
        if self._items and isinstance(head := self._items[0], Speech) and head.sent:
            at = 2 if len(self._items) > 1 and isinstance(self._items[1], Cue) else 1
        for item in reversed(items):
            self._items.insert(at, item)

    def close(self) -> None:
        """Nothing follows for a while: what is left of a frame is sent, filled with silence."""
        self._is_closing = True

    @property
    def next_size(self) -> int:
        """Samples of the next message: 0 if it is a mark; -1 if there is none before more is said."""
        available, is_end = self._available()
        if available >= MESSAGE_SAMPLES:
            return MESSAGE_SAMPLES
        if is_end or (self._is_closing and available):
            return available + -available % FRAME_SAMPLES
        return available - available % FRAME_SAMPLES or -1

    @property
    def has_rest(self) -> bool:
        """Whether the beginning of a frame waits for more."""
        return self.next_size < 0 and self._available()[0] > 0

    def _available(self) -> tuple[int, bool]:
        """Samples that may be sent in a run, a message's worth at most, and whether a mark follows them."""
        available = 0
        for item in self._items:
            if isinstance(item, Cue):
                return available, True
            available += item.waiting
            if available >= MESSAGE_SAMPLES or not item.is_whole:
                break
        return available, False

    def next(self, room: int, ordinal: int) -> "bytes | Cue[P] | None":
        """Takes the next message, whose first sample will have that ordinal: audio in whole frames, or a mark.

        None if there is no room for that many samples, or nothing to send before more is said.
        """
        size, self._is_closing = self.next_size, False
        if size < 0 or size > room:
            self._drop_spoken()
            return None
        return self._take(size, ordinal) if size else self._take_cue(ordinal)

    def _take(self, size: int, ordinal: int) -> bytes:
        message = b""
        while len(message) < size and self._items:
            speech = self._items[0]
            if isinstance(speech, Cue) or not (speech.waiting or speech.is_whole):
                break
            if speech.waiting:
                message += speech.take(size - len(message), ordinal + len(message))
                self.note_flight(speech)
            self._drop_spoken()
        return message + SILENCE * (size - len(message))

    def _take_cue(self, ordinal: int) -> Cue[P]:
        self._drop_spoken()
        cue = self._items.popleft()
        assert isinstance(cue, Cue)  # a message without samples is a mark
        cue.ordinal = ordinal
        self._flight.append(cue)
        return cue

    def _drop_spoken(self) -> None:
        """Speeches of which nothing waits any more."""
        while self._items and isinstance(speech := self._items[0], Speech) and speech.is_whole and not speech.waiting:
            self._items.popleft()

    # --- what is on its way -------------------------------------------------------------------------------------------

    def note_flight(self, speech: Speech) -> None:
        """Samples of this speech are being sent."""
        if not self._flight or self._flight[-1] is not speech:
            self._flight.append(speech)

    def forget_heard(self, front: int) -> None:
        """What lies before the front is no longer on its way."""
        while self._flight and _end(self._flight[0]) <= front:
            self._flight.popleft()

    def put_back(self, audio: bytes, front: int) -> list[Cue[P]]:
        """What was sent and not heard, from the front on, waits again, in its order. Returns the marks among it."""
        self.forget_heard(front)
        again: list[Speech | Cue[P]] = []
        cues = []
        for item in self._flight:
            if isinstance(item, Cue):
                cues.append(item)
            else:
                first = max(item.end - item.flying, front)
                item.put_back(audio[first - front : item.end - front], front)
                if self._items and self._items[0] is item:
                    self._items.popleft()
            again.append(item)
        self._flight.clear()
        self._items.extendleft(reversed(again))
        return cues

    # --- what is not to be heard --------------------------------------------------------------------------------------

    def is_on_its_way(self, speech: Speech) -> bool:
        return speech in self._flight

    def remove(self, *items: Speech | Cue[P]) -> None:
        """Takes these out of what waits."""
        self._items = deque(item for item in self._items if not any(item is one for one in items))

    def drop(self, front: int) -> tuple[int, int, list[Cue[P]]]:
        """Nothing more of all this is heard.

        Returns how many samples were sent before in vain, how many never are, and the marks that are not.
        """
        cuts = [item.cut(front) for item in (*self._flight, *self._items) if isinstance(item, Speech)]
        cues = [item for item in self._items if isinstance(item, Cue)]
        self._items.clear()
        self._flight.clear()
        return sum(back for back, _ in cuts), sum(unsent for _, unsent in cuts), cues


def _end(item: "Speech | Cue[P]") -> int:
    return item.end if isinstance(item, Speech) else item.ordinal
