"""What was said, as a transcriber tells it and as a handler gets it. Pure."""

from collections.abc import Sequence

import msgspec

from calls.media.audio import SAMPLES_PER_MS
from calls.media.protocol import Track
from calls.media.rows import UtteranceRow


class Heard(msgspec.Struct, frozen=True):
    """What a transcriber has understood for good, in seconds of the audio that it was given, from its first sample on.

    Without text it says that up to `end` nobody said anything, or nothing more. `words` are (word, start, end).
    """

    text: str
    start: float
    end: float
    words: Sequence[tuple[str, float, float]] = ()


class Word(msgspec.Struct, frozen=True):
    text: str
    start_ms: int
    end_ms: int


class Said(msgspec.Struct, frozen=True):
    """What one side said between two pauses, in ms of the stream's own clock, as `Media.timestamp` is about.

    `track` is "inbound" for the caller and "outbound" for us; `words` is empty if the transcriber gives none.
    """

    track: Track
    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...] = ()


def said(row: UtteranceRow) -> Said:
    """A row as a handler gets it."""
    words = tuple(Word(word, at // SAMPLES_PER_MS, (at + length) // SAMPLES_PER_MS) for word, at, length in row.words)
    end = (row.start + row.length) // SAMPLES_PER_MS
    return Said("inbound" if row.track == "inbound" else "outbound", row.start // SAMPLES_PER_MS, end, row.text, words)
