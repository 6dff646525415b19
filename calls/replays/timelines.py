"""What happened on one stream of a call, as far as two of them can be compared. Pure.

Positions are ms on the stream's own clock, as its recording has it: its first frame lies at 0.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from calls.media.audio import SAMPLES_PER_MS
from calls.media.conversation import Conversation, Said, Speaker


#: `key` is the caller's; `failure` is what an exception said; `end` comes once, its name is who ended the stream.
Kind = Literal["key", "mark", "clear", "dial", "note", "data", "failure", "end"]


class Spoken(msgspec.Struct, frozen=True):
    """A turn of one side, as `Said` has it; `talked_on_ms` is None if nobody interrupted it.

    `words` is what a transcriber understood, if one was asked; `audio` is µ-law, of our own turns alone.
    """

    speaker: Speaker
    start_ms: int
    end_ms: int
    response_ms: int | None = None
    talked_on_ms: int | None = None
    words: str = ""
    audio: bytes = b""

    @property
    def at_ms(self) -> int:
        return self.start_ms

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms


class Happened(msgspec.Struct, frozen=True):
    """Anything else. `name` tells which one it is (a mark's name, a number, a note), `value` what became of it.

    `length_ms`, of a `clear`: how much of what we had sent was never heard.
    """

    at_ms: int
    kind: Kind
    name: str = ""
    value: str = ""
    length_ms: int = 0


class Figures(msgspec.Struct, frozen=True):
    """As on Call, in ms, of this stream alone: `first_audio_ms` counts from its first frame."""

    first_audio_ms: int | None = None
    response_ms: int | None = None
    response_ms_max: int | None = None
    dead_air_ms: int = 0
    talk_over_ms: int = 0


class Timeline(msgspec.Struct, frozen=True):
    """All of one stream, each in order of time."""

    spoken: tuple[Spoken, ...] = ()
    events: tuple[Happened, ...] = ()
    figures: Figures = Figures()

    @property
    def end_ms(self) -> int | None:
        """When the stream ended, if that is known."""
        return next((event.at_ms for event in self.events if event.kind == "end"), None)

    def until(self, end_ms: int | None) -> "Timeline":
        """What had begun before that; how it ended is left out. None: all of it."""
        if end_ms is None:
            return self
        spoken = tuple(said for said in self.spoken if said.start_ms < end_ms)
        events = tuple(event for event in self.events if event.at_ms < end_ms and event.kind != "end")
        return msgspec.structs.replace(self, spoken=spoken, events=events)


class Text(msgspec.Struct, frozen=True):
    """Words of one side, from where to where they were said."""

    speaker: Speaker
    start_ms: int
    end_ms: int
    text: str


def timeline(
    conversation: Conversation, our: bytes, events: Iterable[Happened], texts: Iterable[Text] = ()
) -> Timeline:
    """Of what was measured on a stream and what else is known of it; `our` is the lane of what the caller heard."""
    known = sorted(texts, key=lambda text: text.start_ms)
    return Timeline(
        spoken=tuple(_spoken(turn, our, known) for turn in conversation.turns),
        events=tuple(sorted(events, key=lambda event: (event.kind == "end", event.at_ms, event.kind, event.name))),
        figures=Figures(**{name: getattr(conversation, name) for name in Figures.__struct_fields__}),
    )


def _spoken(turn: Said, our: bytes, texts: list[Text]) -> Spoken:
    start, end = turn.start // SAMPLES_PER_MS, turn.end // SAMPLES_PER_MS
    words = " ".join(
        text.text
        for text in texts
        if text.speaker == turn.speaker and start <= (text.start_ms + text.end_ms) // 2 < end
    )
    audio = our[turn.start : turn.end] if turn.speaker == "us" else b""
    return Spoken(turn.speaker, start, end, turn.response_ms, turn.talked_on_ms, words, audio)
