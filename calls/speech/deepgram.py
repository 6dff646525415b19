"""A streaming WebSocket as Deepgram's: µ-law goes in as it is.

https://developers.deepgram.com/reference/speech-to-text/listen-streaming
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from django.conf import settings
from websockets.asyncio.client import ClientConnection

from calls.media.transcript import Heard
from calls.speech.sockets import connected, sending


URL = "wss://api.deepgram.com/v1/listen"
# It closes a socket that was sent nothing for 10 s.
KEEP_ALIVE = 5.0
PARAMETERS = {
    "encoding": "mulaw",
    "sample_rate": "8000",
    "channels": "1",
    "interim_results": "false",
    "punctuate": "true",
}


class Word(msgspec.Struct):
    word: str
    start: float
    end: float
    punctuated_word: str = ""


class Alternative(msgspec.Struct):
    transcript: str
    words: list[Word] = []


class Channel(msgspec.Struct):
    alternatives: list[Alternative] = []


class Results(msgspec.Struct):
    """What was said from `start` on for `duration` seconds; it may still change unless `is_final`."""

    start: float
    duration: float
    channel: Channel
    is_final: bool = False


class Message(msgspec.Struct):
    type: str


async def transcribe(audio: AsyncIterator[bytes]) -> AsyncGenerator[Heard]:
    """As TRANSCRIBER_URL and TRANSCRIBER_KEY say; options of the service's own stand in the URL's query."""
    key = {"Authorization": f"Token {settings.TRANSCRIBER_KEY}"}
    async with connected(address(), key) as socket, sending(_send(socket, audio), socket.transport.abort):
        async for text in socket:
            if heard := read(text):
                yield heard


def address() -> str:
    url = urlsplit(settings.TRANSCRIBER_URL or URL)
    language = {"language": settings.TRANSCRIBER_LANGUAGE} if settings.TRANSCRIBER_LANGUAGE else {}
    return url._replace(query=urlencode({**PARAMETERS, **language, **dict(parse_qsl(url.query))})).geturl()


async def _send(socket: ClientConnection, audio: AsyncIterator[bytes]) -> None:
    async for piece in _with_pauses(audio):
        await socket.send(piece or '{"type":"KeepAlive"}')
    await socket.send('{"type":"CloseStream"}')


async def _with_pauses(audio: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The same, and an empty piece whenever nothing has come for a while."""
    piece = None
    try:
        while True:
            piece = piece or asyncio.ensure_future(anext(audio, None))
            await asyncio.wait({piece}, timeout=KEEP_ALIVE)
            if not piece.done():
                yield b""
                continue
            if (sound := piece.result()) is None:
                return
            piece = None
            yield sound
    finally:
        if piece:
            piece.cancel()


def read(text: str | bytes) -> Heard | None:
    """What a message says for certain; msgspec.DecodeError for what is no message of the service's."""
    if msgspec.json.decode(text, type=Message).type != "Results":
        return None
    results = msgspec.json.decode(text, type=Results)
    if not results.is_final:
        return None
    best = results.channel.alternatives[0] if results.channel.alternatives else Alternative("")
    if not best.words:
        return Heard(best.transcript, results.start, results.start + results.duration)
    words = [(word.punctuated_word or word.word, word.start, word.end) for word in best.words]
    return Heard(best.transcript, best.words[0].start, best.words[-1].end, words)
