"""Vosk's own server over a WebSocket, PCM16 in.

https://github.com/alphacep/vosk-server/blob/master/websocket/asr_server.py
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

import msgspec
from django.conf import settings

from calls.media.audio import SAMPLE_RATE, mulaw_to_pcm16
from calls.media.transcript import Heard
from calls.speech.sockets import ClientConnection, connected, sending


URL = "ws://127.0.0.1:2700"
# It says that nobody speaks a little late.
MARGIN = 1.0


class Word(msgspec.Struct):
    word: str
    start: float
    end: float


class Answer(msgspec.Struct):
    """To each piece of sound one: what is understood so far (`partial`), or at the end of a sentence for good."""

    partial: str | None = None
    text: str | None = None
    result: list[Word] = []


async def transcribe(audio: AsyncIterator[bytes]) -> AsyncGenerator[Heard]:
    """As TRANSCRIBER_URL says. The server knows one language, and no keys."""
    async with connected(settings.TRANSCRIBER_URL or URL) as socket:
        sent: deque[float] = deque()
        async with sending(_send(socket, audio, sent), socket.transport.abort):
            async for text in socket:
                answered = sent.popleft() if sent else 0.0
                if heard := read(text, answered):
                    yield heard


async def _send(socket: ClientConnection, audio: AsyncIterator[bytes], sent: deque[float]) -> None:
    """Notes in `sent` up to where each piece goes, in seconds: its answer is about that."""
    seconds = 0.0
    await socket.send('{"config":{"sample_rate":8000,"words":1}}')
    async for piece in audio:
        seconds += len(piece) / SAMPLE_RATE
        sent.append(seconds)
        await socket.send(mulaw_to_pcm16(piece))
    sent.append(seconds)
    await socket.send('{"eof":1}')


def read(text: str | bytes, answered: float) -> Heard | None:
    """What is certain by an answer that is about the first `answered` seconds; msgspec.DecodeError for what is none."""
    answer = msgspec.json.decode(text, type=Answer)
    if answer.text and answer.result:
        words = [(word.word, word.start, word.end) for word in answer.result]
        return Heard(answer.text, words[0][1], words[-1][2], words)
    if answer.text:
        return Heard(answer.text, max(0.0, answered - MARGIN), answered)
    if answer.partial == "" or answer.text == "":
        silent = max(0.0, answered - MARGIN)
        return Heard("", silent, silent)
    return None
