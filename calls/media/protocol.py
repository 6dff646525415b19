"""Twilio's Media Streams messages, both directions, and the order in which they are legal. Pure: no I/O, no clock.

The contract: give every text of the socket to `StreamProtocol.receive`. It returns the message or raises ProtocolError,
after which the stream simply goes on: nothing that arrives ends a stream which Twilio would not end. What is to be
sent comes from `media`, `mark` and `clear` as the text for the socket; sending in the wrong state is our own fault and
raises StateError.

Source of the shapes: https://www.twilio.com/docs/voice/media-streams/websocket-messages. All counters are decimal
strings there; numbers are accepted too. Unknown fields, key orders, versions and payload sizes are tolerated.
"""

import enum
import re
from binascii import b2a_base64
from typing import Annotated, Any, Literal, NoReturn

import msgspec

from calls.media.sids import is_call_sid, is_stream_sid


# The largest text that is parsed. A 20 ms message has 0.4 KB; no documented message comes near this.
MAX_MESSAGE_SIZE = 64 * 1024
# Keys of a stream, beyond which they are a flood.
MAX_KEYS = 1000
# Half an hour of messages: a sequence number further ahead is wrong, and what follows it would all look repeated.
MAX_SEQUENCE_JUMP = 100_000

Counter = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Track = Literal["inbound", "outbound"]


class ProtocolError(Exception):
    """A message that is not legal. Theirs, not ours: it is counted and survived.

    `kind` is one of a few words (json, shape, size, binary, order, stream, timestamp, flood), `excerpt` is safe to log.
    """

    def __init__(self, kind: str, reason: str, text: str | bytes = "") -> None:
        # The reasons of msgspec quote what they did not expect, at any length.
        self.reason = _shorten(reason, 200)
        super().__init__(f"{kind}: {self.reason}")
        self.kind = kind
        self.excerpt = excerpt(text)


class StateError(Exception):
    """We tried to send what may not be sent now."""


# Tokens, payloads and SIDs; points and backquotes divide the paths that msgspec names.
_LONG_RUN = re.compile(r"[^\s\"'`,:{}\[\].]{17,}")
_KEY_PRESSED = re.compile(r"(?i)(digit[^:]*:)[^,}]*")
_DECIMAL = re.compile(r"\d")


def excerpt(text: str | bytes, length: int = 120) -> str:
    """At most `length` characters, escaped, without the tokens, payloads, keys and numbers that a message may hold."""
    text = text[: 8 * length]
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return _shorten(_DECIMAL.sub("?", _KEY_PRESSED.sub(r"\1?", text)), length)


def _shorten(text: str, length: int) -> str:
    return ascii(_LONG_RUN.sub(lambda run: run[0][:4] + "...", text[: 8 * length]))[1:-1][:length]


class Message(msgspec.Struct, frozen=True, gc=False, tag_field="event", rename="camel"):
    """What every message has, except `connected`, which has neither field."""

    stream_sid: str = ""
    sequence_number: Counter | None = None


class ConnectedMessage(Message, frozen=True, gc=False, tag="connected", rename="camel"):
    """First of all. The version was 0.2.0 in 2019 and is 1.0.0 today; no version is refused."""

    protocol: str = "Call"
    version: str = ""


class Start(msgspec.Struct, frozen=True, rename="camel"):
    call_sid: str
    stream_sid: str = ""
    account_sid: str = ""
    tracks: tuple[str, ...] = ("inbound",)
    custom_parameters: dict[str, Any] = {}
    media_format: dict[str, Any] = {}


class StartMessage(Message, frozen=True, kw_only=True, tag="start", rename="camel"):
    """Says which call this is. Sent once, before any audio."""

    start: Start


class Media(msgspec.Struct, frozen=True, gc=False):
    """`timestamp` in ms since Twilio's stream began (the first one is not 0), `payload` raw µ-law of any length."""

    timestamp: Counter
    payload: bytes
    track: Track = "inbound"
    chunk: Counter = 0


class MediaMessage(Message, frozen=True, gc=False, kw_only=True, tag="media", rename="camel"):
    media: Media


class Dtmf(msgspec.Struct, frozen=True, gc=False):
    """`track` is always "inbound_track" here, not "inbound"."""

    digit: Annotated[str, msgspec.Meta(pattern=r"^[0-9*#A-Da-d]\Z")]
    track: str = "inbound_track"


class DtmfMessage(Message, frozen=True, gc=False, kw_only=True, tag="dtmf", rename="camel"):
    """A key was pressed; bidirectional streams only."""

    dtmf: Dtmf


class ReturnedMark(msgspec.Struct, frozen=True, gc=False):
    name: str


class MarkMessage(Message, frozen=True, gc=False, kw_only=True, tag="mark", rename="camel"):
    """A mark of ours comes back: its audio was played, or cleared. Twilio does not say which."""

    mark: ReturnedMark


class Stop(msgspec.Struct, frozen=True, rename="camel"):
    account_sid: str = ""
    call_sid: str = ""


class StopMessage(Message, frozen=True, tag="stop", rename="camel"):
    """The stream is over; the call may go on (a redirect stops the stream too)."""

    stop: Stop = Stop()


class Unknown(msgspec.Struct, frozen=True):
    """An event that does not exist yet. Tolerated."""

    event: str
    stream_sid: str = ""
    sequence_number: Counter | None = None


AnyMessage = ConnectedMessage | StartMessage | MediaMessage | DtmfMessage | MarkMessage | StopMessage
_KNOWN = frozenset({"connected", "start", "media", "dtmf", "mark", "stop"})


class _Envelope(msgspec.Struct, rename="camel"):
    event: str
    stream_sid: str = ""
    sequence_number: Counter | None = None


# Not strict: counters are strings on the wire and integers here, without a second pass.
_messages: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage, strict=False)
_envelope = msgspec.json.Decoder(_Envelope, strict=False)


def decode(text: str | bytes) -> AnyMessage | Unknown:
    """One text of the socket as a message. Any text gives a message or ProtocolError, nothing else."""
    if len(text) > MAX_MESSAGE_SIZE:
        raise ProtocolError("size", f"{len(text)} characters, at most {MAX_MESSAGE_SIZE} are taken", text)
    try:
        return _messages.decode(text)
    except msgspec.ValidationError as error:
        return _unknown(text, error)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError("json", str(error), text) from None


def _unknown(text: str | bytes, error: msgspec.ValidationError) -> Unknown:
    """The message of an event that we do not know; one that we know has the wrong shape."""
    try:
        envelope = _envelope.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ProtocolError("shape", str(error), text) from None
    if envelope.event in _KNOWN:
        raise ProtocolError("shape", str(error), text) from None
    return Unknown(envelope.event[:64], envelope.stream_sid, envelope.sequence_number)


class State(enum.IntEnum):
    #: The socket is there, nothing was said.
    CONNECTING = 0
    #: `connected` came.
    CONNECTED = 1
    #: `start` came: audio may flow both ways.
    STREAMING = 2
    #: `stop` came, or the socket is gone.
    STOPPED = 3


class StreamProtocol:
    """The conversation on one socket: its state, what was missing and what was refused."""

    __slots__ = (
        "_prefix",
        "bidirectional",
        "duplicates",
        "keys",
        "next_sequence",
        "rejected",
        "sequence_gaps",
        "state",
        "stream_sid",
        "unknown",
    )

    def __init__(self) -> None:
        self.state = State.CONNECTING
        self.stream_sid = ""
        #: False on a `<Start>` stream, on which nothing may be sent (error 31924).
        self.bidirectional = True
        #: The number that the next message should have; "1" is `start`.
        self.next_sequence = 1
        #: Sequence numbers that never came, and those that came again or late.
        self.sequence_gaps = 0
        self.duplicates = 0
        #: Messages refused, by kind.
        self.rejected: dict[str, int] = {}
        self.unknown = 0
        self.keys = 0
        self._prefix = ""

    def receive(self, text: str | bytes) -> AnyMessage | Unknown:
        """One text of the socket. Raises ProtocolError, already counted, for what is not legal here and now."""
        try:
            message = decode(text)
            # Audio in order, 50 times a second for every call, takes the short way.
            if (
                type(message) is MediaMessage
                and message.sequence_number == self.next_sequence
                and self._is_ours(message)
            ):
                self.next_sequence += 1
                return message
            self._check(message, text)
        except ProtocolError as error:
            self.reject(error)
            raise
        return message

    def receive_binary(self, data: bytes | None) -> NoReturn:
        """A binary frame, which Twilio never sends (its own answer to one is error 31950): raises ProtocolError."""
        error = ProtocolError("binary", f"a binary frame of {len(data or b'')} bytes")
        self.reject(error)
        raise error

    def reject(self, error: ProtocolError) -> bool:
        """Counts an illegal message; True if it is the first of its kind on this stream, and so worth a log line."""
        count = self.rejected.get(error.kind, 0)
        self.rejected[error.kind] = count + 1
        return count == 0

    @property
    def frames_rejected(self) -> int:
        return sum(self.rejected.values())

    def _check(self, message: AnyMessage | Unknown, text: str | bytes) -> None:
        """The legal order: connected, start, any of media, dtmf and mark, stop; then nothing."""
        if self.state is not State.STREAMING:
            self._check_opening(message, text)
        elif isinstance(message, ConnectedMessage | StartMessage):
            raise ProtocolError("order", f"a second {_name(message)}", text)
        elif message.stream_sid != self.stream_sid and (message.stream_sid or not isinstance(message, Unknown)):
            raise ProtocolError("stream", f"it names another stream than {self.stream_sid}", text)
        self._count_sequence(message.sequence_number)
        self._note(message, text)

    def _is_ours(self, message: MediaMessage) -> bool:
        return self.state is State.STREAMING and message.stream_sid == self.stream_sid

    def _check_opening(self, message: AnyMessage | Unknown, text: str | bytes) -> None:
        if self.state is State.STOPPED or not isinstance(message, ConnectedMessage | StartMessage | Unknown):
            raise ProtocolError("order", f"{_name(message)} while {self.state.name.lower()}", text)
        if isinstance(message, ConnectedMessage) and self.state is State.CONNECTED:
            raise ProtocolError("order", "a second connected", text)

    def _count_sequence(self, number: int | None) -> None:
        """One number for every message of the stream; lost ones and repeated ones are told apart by the sign."""
        if number is None or self.state is not State.STREAMING or number > self.next_sequence + MAX_SEQUENCE_JUMP:
            return
        if number < self.next_sequence:
            self.duplicates += 1
        else:
            self.sequence_gaps += number - self.next_sequence
            self.next_sequence = number + 1

    def _note(self, message: AnyMessage | Unknown, text: str | bytes) -> None:
        """What a message other than audio changes."""
        match message:
            case ConnectedMessage():
                self._move(State.CONNECTED)
            case StartMessage():
                self._open(message, text)
            case StopMessage():
                self._move(State.STOPPED)
            case DtmfMessage():
                self.keys += 1
                if self.keys > MAX_KEYS:
                    raise ProtocolError("flood", f"more than {MAX_KEYS} keys", text)
            case Unknown():
                self.unknown += 1

    def _open(self, message: StartMessage, text: str | bytes) -> None:
        sid = message.stream_sid or message.start.stream_sid
        if not is_stream_sid(sid) or message.start.stream_sid not in ("", sid):
            raise ProtocolError("shape", "start without a usable streamSid", text)
        if not is_call_sid(message.start.call_sid):
            raise ProtocolError("shape", "start without a usable callSid", text)
        self.stream_sid = sid
        self.next_sequence = (message.sequence_number or 1) + 1
        self._prefix = f'{{"event":"media","streamSid":"{sid}","media":{{"payload":"'
        self._move(State.STREAMING)

    def stop(self) -> None:
        """The socket is gone or about to be: nothing is sent any more."""
        if self.state is not State.STOPPED:
            self._move(State.STOPPED)

    def _move(self, state: State) -> None:
        """The one place where the state changes; it only ever goes up."""
        assert state > self.state, f"{self.state.name} -> {state.name}"
        self.state = state

    def media(self, payload: bytes) -> str:
        """The text that plays raw µ-law, a multiple of 160 bytes (odd sizes click, openai-agents-python#1906)."""
        if self.state is not State.STREAMING or not self.bidirectional:
            self.check_sending("media")
        if not payload or len(payload) % 160:
            raise ValueError(f"audio comes in multiples of 160 bytes, not {len(payload)}")
        # One join and one base64 a message: this runs 50 times a second for every call.
        return self._prefix + b2a_base64(payload, newline=False).decode("ascii") + '"}}'

    def mark(self, name: str) -> str:
        """The text that asks for an echo once everything before it has been played."""
        self.check_sending("mark")
        return msgspec.json.encode({"event": "mark", "streamSid": self.stream_sid, "mark": {"name": name}}).decode()

    def clear(self) -> str:
        """The text that empties Twilio's play buffer and brings every outstanding mark back."""
        self.check_sending("clear")
        return f'{{"event":"clear","streamSid":"{self.stream_sid}"}}'

    def check_sending(self, what: str) -> None:
        """StateError if nothing can be sent here and now."""
        if not self.bidirectional:
            raise StateError(f"{what}: nothing can be sent on a <Start> stream; <Connect> makes a bidirectional one")
        if self.state is not State.STREAMING:
            raise StateError(f"{what}: the stream is {self.state.name.lower()}, not streaming")


def _name(message: AnyMessage | Unknown) -> str:
    return message.event if isinstance(message, Unknown) else str(message.__struct_config__.tag)
