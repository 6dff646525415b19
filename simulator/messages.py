"""Twilio's WebSocket messages as literals, and the strictest reading of ours.

https://www.twilio.com/docs/voice/media-streams/websocket-messages. Counters are decimal strings; the order of keys is
the one that captures of real calls show.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from typing import Any, Literal

import msgspec


CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'
MALFORMED = "31950 Malformed Message"
INVALID = "31951 Invalid Message"
PROTOCOL_ERROR = "31924 Protocol Error"

# What may stand in each message beside `event` and `streamSid`.
_WANTED = {"media": "payload", "mark": "name", "clear": None}


class BadMessage(ValueError):
    """What Twilio would write to its debugger, code first (https://www.twilio.com/docs/api/errors/31951)."""


@dataclass(frozen=True)
class Order:
    """A message of the server's: media with its audio (µ-law), mark with its name, or clear."""

    event: Literal["media", "mark", "clear"]
    audio: bytes = b""
    name: str = ""


def start(
    sequence: int, stream_sid: str, account_sid: str, call_sid: str, tracks: list[str], parameters: dict[str, str]
) -> str:
    form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    body: dict[str, Any] = {"accountSid": account_sid, "streamSid": stream_sid, "callSid": call_sid, "tracks": tracks}
    body |= {"mediaFormat": form, "customParameters": parameters}
    return _dump({"event": "start", "sequenceNumber": str(sequence), "start": body, "streamSid": stream_sid})


def media(sequence: int, stream_sid: str, track: str, chunk: int, timestamp: int, audio: bytes) -> str:
    """One frame of µ-law; `timestamp` is ms since the stream began."""
    return (
        f'{{"event":"media","sequenceNumber":"{sequence}","media":{{"track":"{track}","chunk":"{chunk}",'
        f'"timestamp":"{timestamp}","payload":"{b64encode(audio).decode()}"}},"streamSid":"{stream_sid}"}}'
    )


def dtmf(sequence: int, stream_sid: str, digit: str) -> str:
    return (
        f'{{"event":"dtmf","streamSid":"{stream_sid}","sequenceNumber":"{sequence}",'
        f'"dtmf":{{"track":"inbound_track","digit":"{digit}"}}}}'
    )


def mark(sequence: int, stream_sid: str, name: str) -> str:
    message = {"event": "mark", "sequenceNumber": str(sequence), "streamSid": stream_sid, "mark": {"name": name}}
    return _dump(message)


def stop(sequence: int, stream_sid: str, account_sid: str, call_sid: str) -> str:
    return (
        f'{{"event":"stop","sequenceNumber":"{sequence}","streamSid":"{stream_sid}",'
        f'"stop":{{"accountSid":"{account_sid}","callSid":"{call_sid}"}}}}'
    )


def _dump(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


class _Audio(msgspec.Struct, forbid_unknown_fields=True):
    payload: bytes


class _Media(msgspec.Struct, forbid_unknown_fields=True, tag_field="event", tag="media"):
    streamSid: str
    media: _Audio


_decode_media = msgspec.json.Decoder(_Media).decode


def read(text: str, stream_sid: str) -> Order:
    """What the server asks for; BadMessage for everything that is not exactly media, mark or clear of this stream.

    https://www.twilio.com/docs/api/errors/31951 lists what is wrong: not JSON, an unknown event, a missing, extra or
    wrongly structured field.
    """
    try:
        # Nearly every message is audio, and right.
        message = _decode_media(text)
    except msgspec.DecodeError:
        return _read(text, stream_sid)
    audio = message.media.payload
    return Order("media", audio) if audio and message.streamSid == stream_sid else _read(text, stream_sid)


def _read(text: str, stream_sid: str) -> Order:
    """The same, and what is wrong."""
    try:
        message = json.loads(text)
    except ValueError:
        raise BadMessage(f"{INVALID}: not JSON: {text[:60]!r}") from None
    event = message.get("event") if isinstance(message, dict) else None
    if not isinstance(event, str) or event not in _WANTED:
        raise BadMessage(f"{INVALID}: no event of Twilio's: {text[:60]!r}")
    wanted = _WANTED[event]
    _check_keys(message, {"event", "streamSid"} | ({event} if wanted else set()), event)
    if message["streamSid"] != stream_sid:
        raise BadMessage(f"{INVALID}: {event} for streamSid {message['streamSid']!r}, this stream is {stream_sid}")
    value = _only_string(message[event], wanted, event) if wanted else ""
    match event:
        case "media":
            return Order("media", audio=_decode(value))
        case "mark":
            return Order("mark", name=value)
    return Order("clear")


def _check_keys(found: dict[str, Any], wanted: set[str], where: str) -> None:
    if missing := wanted - found.keys():
        raise BadMessage(f"{INVALID}: {where} without {', '.join(sorted(missing))}")
    if extra := found.keys() - wanted:
        raise BadMessage(f"{INVALID}: {where} with extra field {', '.join(sorted(extra))}")


def _only_string(body: object, key: str, event: str) -> str:
    if not isinstance(body, dict):
        raise BadMessage(f"{INVALID}: {event} is no object")
    _check_keys(body, {key}, event)
    value = body[key]
    if not isinstance(value, str) or not value:
        raise BadMessage(f"{INVALID}: {event}.{key} has to be a string that is not empty")
    return value


def _decode(payload: str) -> bytes:
    try:
        return b64decode(payload, validate=True)
    except (Base64Error, ValueError):
        raise BadMessage(f"{INVALID}: media.payload is not base64: {payload[:30]!r}") from None
