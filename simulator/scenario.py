"""What a simulated call is to do."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from simulator.audio import FRAME_SAMPLES
from simulator.deliveries import Manner
from simulator.dialled import Dialled
from simulator.report import Report


# What a caller does, for each 20 ms that the call is connected: a frame of µ-law, or None if nothing comes over the
# line (on hold). It is given the Caller; when it is exhausted, the caller hangs up.
Script = Callable[[Any], Iterator[bytes | None]]
Judge = Callable[[Report], None]
StreamEvent = Literal["", "stream-started", "stream-stopped", "stream-error"]


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
    name: str = ""  # for reports
    script: Script | None = None  # instead of `audio`, and of a caller who leaves by themselves
    judge: Judge | None = None  # told the report once the call is over, in a thread; adds its findings
    callbacks: Manner = "in-order"  # how status callbacks come
    last_stream_event: StreamEvent = ""  # what a stream tells last; stream-started: only that
    repeat_webhook: bool = False  # the voice webhook comes twice, and the second document is the one that runs
    trace: bool = False  # keep every message of both sides in StreamReport.trace

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
