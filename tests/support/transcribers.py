"""Services that transcribe, as Deepgram's and Vosk's do over a WebSocket: what they hear are runs of one µ-law byte.

Each run is a word (`WORDS`), each silence of 0.3 s ends an utterance. What can go wrong with a service is told to it.
"""

import json
from contextlib import asynccontextmanager
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve

from calls.media.audio import mulaw_to_pcm16
from calls.media.transcript import Heard


SECOND = 8000
SILENT = 0xFF
WORDS = {0x20: "refund", 0x21: "please", 0x22: "certainly", 0x23: "goodbye"}
REFUND, PLEASE, CERTAINLY, GOODBYE = (bytes([value]) for value in WORDS)
_BY_SAMPLE = {mulaw_to_pcm16(bytes([value])): value for value in [*WORDS, SILENT]}


class Ear:
    """Understands one stream of µ-law. `start` and such are seconds of what it was given."""

    def __init__(self):
        self.at = 0
        self._words: list[list] = []

    def hear(self, audio):
        """Returns an utterance, [(word, start, end)…], as soon as one is over."""
        done = None
        for value in audio:
            self.at += 1
            last = self._words[-1] if self._words else None
            if value == SILENT:
                if last and self.at - last[2] * SECOND >= 0.3 * SECOND:
                    done = self.end()
            elif last and last[0] == WORDS[value] and round(last[2] * SECOND) == self.at - 1:
                last[2] = self.at / SECOND
            else:
                self._words.append([WORDS[value], (self.at - 1) / SECOND, self.at / SECOND])
        return done

    def end(self):
        words, self._words = self._words, []
        return words


class Service:
    """One of them. What it was sent is kept; `cuts`, `refuses`, `stalls` and `talks_nonsense` are its faults."""

    def __init__(self):
        #: What each socket asked for, with its headers, and the sound that it gave, in the order of their opening.
        self.requests: list = []
        self.audio: list[bytearray] = []
        self.texts: list[list[str]] = []
        #: The status of its answer to every handshake, if it takes none.
        self.refuses: int | None = None
        #: How many sockets are cut, and after how many samples each.
        self.cuts, self.cut_after = 0, SECOND
        #: It reads nothing.
        self.stalls = False
        #: How many sockets are sent something that is no message.
        self.talks_nonsense = 0

    @asynccontextmanager
    async def running(self):
        async with serve(self._serve, "127.0.0.1", 0, process_request=self._answer) as server:
            port = server.sockets[0].getsockname()[1]
            self.url = f"ws://127.0.0.1:{port}{self.path}"
            yield self

    def _answer(self, connection, request):
        self.requests.append(request)
        return connection.respond(HTTPStatus(self.refuses), "no\n") if self.refuses else None

    async def _serve(self, socket: ServerConnection):
        ear, audio, texts = Ear(), bytearray(), []
        self.audio.append(audio)
        self.texts.append(texts)
        if self.talks_nonsense:
            self.talks_nonsense -= 1
            await socket.send("<html>Bad gateway</html>")
        if self.stalls:
            await socket.wait_closed()
            return
        async for message in socket:
            if isinstance(message, str):
                texts.append(message)
                if await self.obey(socket, ear, message):
                    return
                continue
            audio += self.mulaw(message)
            if self.cuts and len(audio) >= self.cut_after:
                self.cuts -= 1
                socket.transport.abort()
                return
            await self.tell(socket, ear, ear.hear(self.mulaw(message)))


class Deepgram(Service):
    path = "/v1/listen?model=nova-3"

    def mulaw(self, message):
        return message

    async def tell(self, socket, ear, words):
        if words:
            await socket.send(self.results(words))

    async def obey(self, socket, ear, message):
        if json.loads(message)["type"] != "CloseStream":
            return False
        if words := ear.end():
            await socket.send(self.results(words))
        await socket.send('{"type":"Metadata","request_id":"8479","duration":1.5,"channels":1}')
        return True

    def results(self, words):
        told = [
            {"word": word, "start": start, "end": end, "confidence": 0.99, "punctuated_word": word.capitalize()}
            for word, start, end in words
        ]
        alternative = {"transcript": " ".join(word["punctuated_word"] for word in told), "confidence": 0.99}
        return json.dumps(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "start": words[0][1],
                "duration": words[-1][2] - words[0][1],
                "is_final": True,
                "speech_final": True,
                "channel": {"alternatives": [{**alternative, "words": told}]},
            }
        )


class Vosk(Service):
    path = ""

    def mulaw(self, message):
        return bytes(_BY_SAMPLE[message[at : at + 2]] for at in range(0, len(message), 2))

    async def tell(self, socket, ear, words):
        if words:
            await socket.send(self.result(words))
        else:
            await socket.send(json.dumps({"partial": " ".join(word for word, _, _ in ear._words)}))

    async def obey(self, socket, ear, message):
        if "eof" not in json.loads(message):
            return False
        await socket.send(self.result(ear.end()))
        return True

    def result(self, words):
        told = [{"conf": 1.0, "word": word, "start": start, "end": end} for word, start, end in words]
        return json.dumps({"text": " ".join(word for word, _, _ in words), **({"result": told} if told else {})})


async def hears_goodbye(audio):
    """A transcriber of one's own: whatever it is given is a goodbye."""
    async for piece in audio:
        yield Heard("Goodbye!", 0.0, len(piece) / SECOND)
