"""Measures both sides of a stream, before and after, with the code that measures every call."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from calls.measuring import listening
from calls.measuring.lanes import Lane
from calls.media.turns import Span
from calls.replays.timelines import Happened, Text, Timeline, timeline


@dataclass(frozen=True)
class Heard:
    """When a caller speaks: heard once, since they say the same each time."""

    spans: list[Span]

    @classmethod
    def of(cls, caller: bytes) -> Self:
        """Of that lane, µ-law. Takes 4 s of a core for an hour."""
        return cls(listening.callers(_lane(caller)))

    def timeline(self, our: bytes, events: Iterable[Happened], texts: Iterable[Text] = ()) -> Timeline:
        """Of a stream as long as `our` lane, which is what they heard of us meanwhile, µ-law on the same clock."""
        caller = [Span(span.start, min(span.end, len(our))) for span in self.spans if span.start < len(our)]
        ours = listening.ours(_lane(our), [])
        conversation = listening.conversation(caller, ours, [], answered=0, length=len(our))
        return timeline(conversation, our, events, texts)


def _lane(audio: bytes) -> Lane:
    return Lane(len(audio), lambda start, stop: audio[start:stop])
