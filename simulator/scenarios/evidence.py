"""What there is to judge a call by once it is over, from its report: what was heard, by whom, and when."""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from simulator.audio import SAMPLE_RATE
from simulator.hearing import Found, Response, Span, nearest, responses, speech
from simulator.playbuffer import flatten
from simulator.report import Event, Report


# A server that paces what it sends leaves gaps of a few ms between its messages, which no phone lets anybody hear.
JITTER_SAMPLES = 60 * SAMPLE_RATE // 1000


@dataclass(frozen=True)
class Verdict:
    """`found`: what was found, in words, with its number."""

    ok: bool
    found: str


@dataclass(frozen=True)
class Moment:
    """Where in the call something is expected; times as in Evidence."""

    since_ms: float = 0.0
    words_ms: float = 0.0  # when the caller last began to speak, or pressed a key
    number: int = 1  # which of the marks of that name, from 1
    events: tuple[Event, ...] = ()  # of this step, once the call is over


class Evidence:
    """Times are ms since the first stream's first frame."""

    def __init__(self, report: Report) -> None:
        self.report = report

    @cached_property
    def heard(self) -> bytes:
        """What the caller heard: µ-law, silence where nothing was played."""
        return self.report.heard_audio

    @cached_property
    def speech(self) -> list[Span]:
        """What the server said."""
        return speech(self.heard)

    def talked_on(self, since_ms: float) -> float:
        """How many ms longer the server talked from there on; pauses of half a second are its end."""
        talking = (span for span in speech(self.heard, pause_ms=500) if span.start_ms <= since_ms < span.end_ms)
        return next((span.end_ms - since_ms for span in talking), 0.0)

    @cached_property
    def has_words(self) -> bool:
        """Whether the caller said anything."""
        return bool(speech(self.report.sent))

    @cached_property
    def responses(self) -> list[Response]:
        return responses(self.report.said_audio, self.heard)

    @cached_property
    def end_ms(self) -> float:
        return max(self.report.seconds * 1000, len(self.heard) * 1000 / SAMPLE_RATE)

    @property
    def ended_by(self) -> str:
        """Who ended a call that was answered; "" for one that never was."""
        if not self.report.streams:
            return ""
        return "caller" if self.report.ended.startswith("the caller") else "server"

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.report.events if event.kind == kind]

    def begun(self, since_ms: float) -> float | None:
        """When speech was heard first from there on; None if never."""
        return next((max(since_ms, span.start_ms) for span in self.speech if span.end_ms > since_ms), None)

    def sound(self, begin_ms: float, end_ms: float) -> bytes:
        """What was heard from there to there, without the gaps between the server's messages."""
        begin, end = (round(at * SAMPLE_RATE / 1000) for at in (begin_ms, end_ms))
        pieces = [
            (max(at, begin), audio[max(0, begin - at) : end - at])
            for at, audio in self.report.heard
            if at < end and at + len(audio) > begin
        ]
        return flatten([(at - begin, audio) for at, audio in _closed(pieces)])

    def nearest(self, needle: bytes, since_ms: float = 0.0, until_ms: float = float("inf")) -> Found | None:
        """What was most like it, as if the server's messages had come without gaps; it may begin until then."""
        since = round(since_ms * SAMPLE_RATE / 1000)
        pieces = [
            (max(at, since), audio[max(0, since - at) :])
            for at, audio in self.report.heard
            if at + len(audio) > since and at * 1000 / SAMPLE_RATE < until_ms + len(needle) * 1000 / SAMPLE_RATE
        ]
        closed = _closed(pieces)
        found = nearest(needle, flatten([(at - since, audio) for at, audio in closed]))
        return None if found is None else Found(_opened(found, pieces, closed, since), found.likeness)


def _closed(pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Each directly behind the one before it if that is what was meant."""
    closed, end, shift = list[tuple[int, bytes]](), -JITTER_SAMPLES - 1, 0
    for at, audio in pieces:
        if 0 < at - end <= JITTER_SAMPLES:
            shift += at - end
        closed.append((at - shift, audio))
        end = at + len(audio)
    return closed


def _opened(found: Found, pieces: list[tuple[int, bytes]], closed: list[tuple[int, bytes]], since: int) -> float:
    """Where that was in truth, in ms."""
    at = since + round(found.at_ms * SAMPLE_RATE / 1000)
    number = bisect_right([begin for begin, _ in closed], at) - 1
    shift = pieces[number][0] - closed[number][0] if number >= 0 else 0
    return (at + shift) * 1000 / SAMPLE_RATE
