"""What a simulated call is to do, and what came of it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from simulator.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE, stereo_wav
from simulator.dialled import Dialled
from simulator.playbuffer import Outcome, flatten


def new_sid(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


def frames_in(audio: bytes) -> int:
    return -(-len(audio) // FRAME_SAMPLES)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One call. Times are seconds since the first stream began; audio is µ-law, 8000 bytes a second.

    Everything is signed for `public_url` and dialled to `server`, whatever host the TwiML names: nothing leaves for
    the real world. With `server=""` each address is dialled as it stands, which is what Twilio does.

    Without `duration` the caller stays until the audio is over and `linger` more, and as long as the server still talks
    (a minute at most).
    """

    public_url: str
    auth_token: str
    account_sid: str
    server: str = "http://127.0.0.1:8000"
    insecure: bool = False  # accept a self-signed certificate of an https server
    call_sid: str = field(default_factory=lambda: new_sid("CA"))
    from_number: str = "+14155550100"
    to_number: str = "+14155550199"
    direction: str = "inbound"
    handler: str = ""  # /incoming/<handler>; empty: /incoming
    url: str = ""  # where the first document is instead: a number's voice URL, or the Url of a call placed by REST
    extra: Mapping[str, str] = field(default_factory=dict)  # further parameters of the voice webhook
    audio: bytes = b""
    callee_audio: bytes = b""  # what the person whom a <Dial> reaches says; empty: a tone
    dial: tuple[Dialled, ...] = ()  # what becomes of one <Dial> after the other; empty: both say all they have to say
    dtmf: tuple[tuple[float, str], ...] = ()
    duration: float | None = None
    linger: float = 2.0
    hang_up_after: float | None = None
    cut_after: float | None = None  # once: the TCP connection goes away without stop and without a close frame
    silence_timeout: float = 10.0  # 0 for handlers that only listen
    drop: float = 0.0  # share of the caller's packets that are lost
    jitter: float = 0.0  # each packet comes up to this many seconds late
    burst: int = 1  # packets that arrive together
    seed: int = 0  # of drop and jitter
    first_timestamp: int = 153
    status_callback: bool = True  # whether the number has one: /call-status, or ...
    status_url: str = ""  # ... this

    @property
    def voice_url(self) -> str:
        return self.url or f"{self.public_url.rstrip('/')}/incoming" + (
            f"/{quote(self.handler)}" if self.handler else ""
        )

    @property
    def status_callback_url(self) -> str:
        return self.status_url or f"{self.public_url.rstrip('/')}/call-status"

    @property
    def frames(self) -> int:
        """Frames of 20 ms in the caller's audio; the last one is filled up with silence."""
        return frames_in(self.audio)

    @property
    def spoken(self) -> float:
        """When the caller has said everything, pressed the last key, and waited a little."""
        return max([self.frames / 50, *(at for at, _ in self.dtmf)]) + self.linger

    @property
    def expected_seconds(self) -> float:
        """How long the caller stays if the server does not talk on."""
        stays = self.spoken if self.duration is None else self.duration
        return stays if self.hang_up_after is None else min(stays, self.hang_up_after)


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
    mistakes: list[str] = field(default_factory=list)  # messages that Twilio would reject, code first
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
    streams: list[StreamReport] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)  # every number that a <Dial> called
    twiml: list[str] = field(default_factory=list)  # every document, as received
    requests: list[tuple[str, int]] = field(default_factory=list)  # (address, status) of every webhook and callback
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    ended: str = ""  # how, in words

    @property
    def ok(self) -> bool:
        return not self.errors

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
        left = b"".join(s.sent + SILENCE * (len(s.heard_audio) - len(s.sent)) for s in self.streams)
        return stereo_wav(left, self.heard_audio)

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
        streams = [{k: v for k, v in vars(s).items() if k not in audio} | {"seconds": s.seconds} for s in self.streams]
        return {**vars(self), "ok": self.ok, "seconds": self.seconds, "streams": streams}
