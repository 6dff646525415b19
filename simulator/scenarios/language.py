"""What a scenario's file can hold. The schema and the table in docs/scenarios.md are made of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from simulator.deliveries import Manner
from simulator.outbound import Answer
from simulator.scenario import StreamEvent
from simulator.scenarios.kinds import AccountSid, Address, Clip, Count, FileName, Seconds, Share
from simulator.scenarios.shapes import Shape
from simulator.scenarios.steps import Step
from simulator.scenarios.whole import WholeCall


DialOutcome = Literal["completed", "answered", "busy", "no-answer", "failed", "canceled"]


@dataclass(frozen=True, kw_only=True)
class Server(Shape):
    """What is called."""

    voice_url: Annotated[Address | None, "of the number: signed for, and asked for TwiML"] = None
    address: Annotated[Address | None, "called instead of each host that an address names", "http://127.0.0.1:5000"] = (
        None
    )
    public_url: Annotated[
        Address | None, "the origin that it has for Twilio; default: that of voice_url", "https://example.org"
    ] = None
    status_callback: Annotated[
        Address | None, "of the number; without it there is none", "https://example.org/status"
    ] = None
    account_sid: Annotated[AccountSid | None, "default: ${env:TWILIO_ACCOUNT_SID}, or all zeros"] = None
    auth_token: Annotated[str, "signs every request; default: ${env:TWILIO_AUTH_TOKEN}", "${env:MY_TOKEN}"] = ""
    insecure: Annotated[bool, "accepts a self-signed certificate"] = False


Quality = Literal["good", "mobile", "bad"]
# (loss, jitter in seconds, burst)
QUALITIES: dict[Quality, tuple[float, float, int]] = {
    "good": (0.0, 0.0, 1),
    "mobile": (0.01, 0.04, 1),
    "bad": (0.05, 0.12, 3),
}


@dataclass(frozen=True, kw_only=True)
class Line(Shape):
    """The line between the caller and the server. What is not said is as the quality has it."""

    SHORTHAND: ClassVar[str] = "quality"
    quality: Annotated[
        Quality, "mobile: 1% loss and 40ms jitter; bad: 5%, 120ms, and packets come three at a time", "bad"
    ] = "good"
    loss: Annotated[Share | None, "of the caller's packets"] = None
    jitter: Annotated[Seconds | None, "packets come up to so much late", "40ms"] = None
    burst: Annotated[Count | None, "packets come so many at a time", "5"] = None
    seed: Annotated[Count, "another one loses other packets"] = 0

    def __post_init__(self) -> None:
        if self.burst is not None and not 1 <= self.burst <= 500:
            raise ValueError("`burst` is a number of packets, from 1 to 500")

    @property
    def faults(self) -> tuple[float, float, int]:
        """(loss, jitter in seconds, burst)."""
        loss, jitter, burst = QUALITIES[self.quality]
        return (
            loss if self.loss is None else self.loss,
            jitter if self.jitter is None else self.jitter,
            burst if self.burst is None else self.burst,
        )


@dataclass(frozen=True, kw_only=True)
class Webhooks(Shape):
    """How Twilio's requests reach the server."""

    repeat: Annotated[bool, "the voice webhook comes twice, and the second answer counts"] = False
    callbacks: Annotated[
        Manner, "how status callbacks come; late: when the call is over; shuffled: so, in any order"
    ] = "in-order"
    last_stream_event: Annotated[
        StreamEvent,
        "what a stream's last status callback says, whatever came about; stream-started: no other one comes",
    ] = ""
    parameters: Annotated[
        Mapping[str, str] | None, "further fields of the voice webhook", "{ForwardedFrom: '+14155550111'}"
    ] = None


@dataclass(frozen=True, kw_only=True)
class Order(Shape):
    """A request that makes the server place the call."""

    SHORTHAND: ClassVar[str] = "url"
    url: Annotated[Address, "where it goes", "http://127.0.0.1:8000/orders"]
    method: Annotated[Literal["POST", "GET", "PUT"], "the request's"] = "POST"
    headers: Annotated[Mapping[str, str] | None, "the request's", "{Authorization: Bearer 123}"] = None
    form: Annotated[Mapping[str, str] | None, "fields of a form", "{to: '+14155550100'}"] = None
    json: Annotated[Mapping[str, str] | None, "fields of a JSON object", "{to: '+14155550100'}"] = None

    def __post_init__(self) -> None:
        if self.form is not None and self.json is not None:
            raise ValueError("has either `form` or `json`")


@dataclass(frozen=True, kw_only=True)
class Outbound(Shape):
    """The server places the call, through Twilio's REST API, which is served here. The caller is who is called."""

    answer: Annotated[Answer, "who answers"] = "human"
    rings: Annotated[Seconds, "for how long before", "2s"] = 1.0
    order: Annotated[Order | None, "a request that makes the server place the call"] = None
    command: Annotated[
        tuple[str, ...], "a program that does so, and its arguments; without a shell", "[python, place_call.py]"
    ] = ()
    within: Annotated[Seconds, "how long it may take until the server places it", "30s"] = 30.0
    api_port: Annotated[Count, "where the REST API is: the server has TWILIO_API_URL=http://127.0.0.1:<this>", "8765"]

    def __post_init__(self) -> None:
        if self.order is not None and self.command:
            raise ValueError("has either `order` or `command`")
        if not self.api_port <= 65535:
            raise ValueError("`api_port` is a port: 65535 at most")


@dataclass(frozen=True, kw_only=True)
class Dial(Shape):
    """What becomes of a number that the server dials."""

    SHORTHAND: ClassVar[str] = "outcome"
    outcome: Annotated[DialOutcome, "Twilio's DialCallStatus"]
    lasting: Annotated[Seconds | None, "how long they talk, or it rings in vain", "5s"] = None


@dataclass(frozen=True, kw_only=True)
class Callee(Shape):
    """The person whom a dialled number reaches."""

    SHORTHAND: ClassVar[str] = "say"
    say: Annotated[str, "a sentence", "Hello, how can I help?"] = ""
    play: Annotated[Clip | None, "a WAV file", "callee.wav"] = None

    def __post_init__(self) -> None:
        if bool(self.say) == (self.play is not None):
            raise ValueError("has either `say` or `play`")


@dataclass(frozen=True, kw_only=True)
class File(Shape):
    """A scenario: one call, or with a matrix one call for each combination."""

    name: Annotated[str, "for reports; default: the file's", "orders a pizza"] = ""
    description: Annotated[str, "for whoever reads it"] = ""
    include: Annotated[
        tuple[FileName, ...],
        "files whose keys hold here too, unless they are written here; also as a step",
        "base.yaml",
    ] = ()
    variables: Annotated[
        Mapping[str, str] | None, "what ${name} stands for; `--set name=value` has the last word", "{size: large}"
    ] = None
    matrix: Annotated[
        Mapping[str, tuple[Any, ...]] | None,
        "the call is placed once for each combination: of `line`, or another key of this table, and of variables",
        "{line: [good, {loss: 3%}]}",
    ] = None
    server: Annotated[Server, "what is called"] = field(default_factory=Server)
    from_: Annotated[str, "the caller's number; of a call that the server places, the server's", "'+14155550100'"] = (
        "+14155550100"
    )
    to: Annotated[
        str, "the number that is called; of a call that the server places, the one that answers", "'+14155550199'"
    ] = "+14155550199"
    line: Annotated[Line, "the line between the caller and the server", "{loss: 3%}"] = field(default_factory=Line)
    webhooks: Annotated[Webhooks, "how Twilio's requests reach the server"] = field(default_factory=Webhooks)
    outbound: Annotated[Outbound | None, "the server places the call"] = None
    dial: Annotated[tuple[Dial, ...], "what becomes of one dialled number after the other", "[busy, completed]"] = ()
    callee: Annotated[Callee | None, "what the person says whom a dialled number reaches"] = None
    silence_timeout: Annotated[
        Seconds, "the call fails if the server sends nothing at all for so long from its start; 0s: never", "10s"
    ] = 0.0
    steps: Annotated[tuple[Step, ...], "what the caller does, one step after the other"] = ()
    expect: Annotated[WholeCall, "what is expected of the call as a whole"] = field(default_factory=WholeCall)
