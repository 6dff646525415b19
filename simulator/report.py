"""What came of a simulated call."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from simulator.audio import SAMPLE_RATE, SILENCE, stereo_wav
from simulator.pacer import Lateness
from simulator.playbuffer import Outcome, flatten


@dataclass(frozen=True)
class Traced:
    """A message: when, in seconds since the stream opened, and whether we sent it."""

    at: float
    sent: bool
    text: str


@dataclass(frozen=True)
class Event:
    """Something that came about, in ms since the first stream's first frame, as in `Report.heard`.

    Kinds: stream (sid), said (ms), pressed (digit), hold (ms), clear, mark (name, outcome), hang_up, closed (by, code),
    document (verbs), callback (event, status).
    """

    at_ms: float
    kind: str
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """An expectation in words, whether it held, and what was found. `line` is that of the scenario's file."""

    what: str
    ok: bool
    found: str = ""
    line: int | None = None


@dataclass
class StreamReport:
    """One stream. Position 0 is the first sample of the first media message, in both `sent` and `heard`."""

    sid: str
    tracks: list[str]
    parameters: dict[str, str]
    sent: bytes = b""  # what the caller said; lost packets are silence
    heard: list[tuple[int, bytes]] = field(default_factory=list)  # (position in samples, µ-law)
    marks: list[tuple[str, Outcome]] = field(default_factory=list)
    unreturned: list[str] = field(default_factory=list)  # marks that still waited at the end
    clears: int = 0
    frames_sent: int = 0
    frames_received: int = 0  # media messages of the server
    frames_dropped: int = 0
    closed_code: int | None = None  # 1005: a close frame without a code; 1006: no close frame
    closed_by: str = ""  # "server" or "caller"
    trace: list[Traced] = field(default_factory=list)  # every message, if the scenario wants that
    rejected: int = 0  # messages of the server that Twilio would reject
    mistakes: list[str] = field(default_factory=list)  # what is wrong with the first of them, code first
    warnings: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return len(self.sent) / SAMPLE_RATE

    @property
    def heard_audio(self) -> bytes:
        """As long as `sent`, or longer, silence where nothing was played."""
        return flatten(self.heard, len(self.sent))


@dataclass
class Report:
    """What happened. `ok` and `errors` are the verdict; the rest is for tests and for the summary."""

    call_sid: str
    name: str = ""
    streams: list[StreamReport] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)  # every number that a <Dial> called
    twiml: list[str] = field(default_factory=list)  # every document, as received
    requests: list[tuple[str, int]] = field(default_factory=list)  # (address, status) of every webhook and callback
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    lateness: Lateness = field(default_factory=Lateness)
    ended: str = ""  # how, in words

    @property
    def ok(self) -> bool:
        return not self.errors

    def add(self, finding: Finding) -> None:
        """One that does not hold is an error."""
        self.findings.append(finding)
        if not finding.ok:
            self.errors.append(f"{finding.what}: {finding.found}")

    def fail(self, reason: str) -> None:
        """Something went wrong; said once, however often it does."""
        if reason not in self.errors:
            self.errors.append(reason)

    def warn(self, text: str) -> None:
        """Something that Twilio minds nothing about; said once, however often it comes about."""
        if text not in self.warnings:
            self.warnings.append(text)

    @property
    def reason(self) -> str:
        """The first thing that went wrong, in one line."""
        return " ".join(self.errors[0].split()) if self.errors else ""

    @property
    def stream_sids(self) -> list[str]:
        return [stream.sid for stream in self.streams]

    @property
    def seconds(self) -> float:
        return sum(stream.seconds for stream in self.streams)

    @property
    def sent(self) -> bytes:
        """All streams, one after the other."""
        return b"".join(stream.sent for stream in self.streams)

    @property
    def heard(self) -> list[tuple[int, bytes]]:
        """As of each stream, on the timeline of `heard_audio`."""
        pieces, base = [], 0
        for stream in self.streams:
            pieces += [(base + at, audio) for at, audio in stream.heard]
            base += max(len(stream.sent), len(stream.heard_audio))
        return pieces

    @property
    def heard_audio(self) -> bytes:
        return b"".join(stream.heard_audio for stream in self.streams)

    @property
    def said_audio(self) -> bytes:
        """What the caller said, as long as `heard_audio` and on the same timeline."""
        return b"".join(s.sent + SILENCE * (len(s.heard_audio) - len(s.sent)) for s in self.streams)

    @property
    def marks(self) -> list[tuple[str, Outcome]]:
        return [mark for stream in self.streams for mark in stream.marks]

    @property
    def clears(self) -> int:
        return sum(stream.clears for stream in self.streams)

    @property
    def closed_code(self) -> int | None:
        """Of the last stream."""
        return self.streams[-1].closed_code if self.streams else None

    def wav(self) -> bytes:
        """Stereo PCM16: left what the caller said, right what the caller heard."""
        return stereo_wav(self.said_audio, self.heard_audio)

    def summary(self) -> str:
        """One line."""
        outcomes = [outcome for _, outcome in self.marks]
        sent, received = (sum(getattr(s, name) for s in self.streams) for name in ("frames_sent", "frames_received"))
        return (
            f"{self.call_sid}: {self.seconds:.1f} s on {len(self.streams)} stream(s), {sent} frames sent, "
            f"{received} received, {outcomes.count('played')} marks played, {outcomes.count('cleared')} cleared; "
            f"{self.ended or 'the call failed'}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON: everything but the audio."""
        audio = ("sent", "heard")
        whole = asdict(replace(self, streams=[replace(stream, sent=b"", heard=[]) for stream in self.streams]))
        streams = [
            {name: value for name, value in told.items() if name not in audio} | {"seconds": stream.seconds}
            for told, stream in zip(whole["streams"], self.streams, strict=True)
        ]
        return {**whole, "ok": self.ok, "seconds": self.seconds, "streams": streams}
