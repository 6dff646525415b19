"""What the streams of a call had to do with its timeline: what is unknown of it, and whom its lanes are of."""

from collections.abc import Callable

from calls.measuring.lanes import Lane
from calls.media.audio import SAMPLE_RATE
from calls.media.conversation import joined, without
from calls.media.turns import Span
from calls.models import Call, Stream, Track
from calls.recordings.rendering import Recording
from calls.recordings.unknown import unknown


# An answer that lies further before the first stream is no start of a conversation with us: an announcement of the
# number's own TwiML came in between, or a queue, of which there is no recording.
SETTING_UP = 5 * SAMPLE_RATE


class Line:
    """Of one call, as it was when it was looked at."""

    def __init__(self, call: Call) -> None:
        recording = Recording.of(call)
        self._recording = recording
        self._answered_at = call.answered_at
        self._places = {placed.stream_id: placed for placed in recording.streams}
        self._streams = list(call.streams.filter(pk__in=self._places))

    @property
    def samples(self) -> int:
        return self._recording.samples

    def lane(self, track: str, start: int = 0, stop: int | None = None) -> Lane:
        """All of it, or only that part, whose beginning is its 0 then."""
        recording, end = self._recording, self.samples if stop is None else stop
        return Lane(end - start, lambda first, last: recording.lanes(start + first, start + last, [track])[0])

    def starts(self, before: int) -> list[tuple[int, int]]:
        """The streams that began before there, each with where it did."""
        return [(placed.stream_id, placed.start) for placed in self._recording.streams if placed.start < before]

    def answered(self) -> int:
        """When Twilio said that the call was answered, or where its first stream begins, whichever is earlier."""
        at = self._recording.when(self._answered_at) if self._answered_at else 0
        return at if -SETTING_UP <= at < 0 else 0

    def unknown(self) -> list[Span]:
        return unknown(self._recording)

    def somebody_else(self) -> list[Span]:
        """Where the outbound lane is a person whom Twilio lets us hear, and not what a handler of ours has sent."""
        theirs = self._where(lambda stream: Track.OUTBOUND in stream.tracks)
        ours = self._where(lambda stream: Track.OUTBOUND not in stream.tracks and stream.bidirectional)
        return without(theirs, ours)

    def place(self, position: int) -> tuple[int, int]:
        """A stream that has that, and where on its own clock: of several at once the one that began first."""
        placed = next(placed for placed in self._places.values() if placed.start <= position < placed.stop)
        return placed.stream_id, position - placed.start

    def _where(self, is_meant: Callable[[Stream], bool]) -> list[Span]:
        meant = [self._places[stream.pk] for stream in self._streams if is_meant(stream)]
        return joined([Span(placed.start, placed.stop) for placed in meant], 0)
