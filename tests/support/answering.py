"""Small Media Streams servers as ASGI applications, written without anything of ours."""

import asyncio
import json
from base64 import b64decode, b64encode
from typing import Any


TWIML = b'<Response><Connect><Stream url="wss://phone.example.org/media"/></Connect></Response>'


class Answering:
    """Answers the voice webhook with a <Stream>, and talks on it by `talk(self)`, which reads and writes messages."""

    def __init__(self, talk: Any) -> None:
        self.talk = talk
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/xml")]})
            await send({"type": "http.response.body", "body": TWIML})
        elif scope["type"] == "websocket":
            self.receive, self.send = receive, send
            await receive()
            await send({"type": "websocket.accept"})
            await self.talk(self)

    async def message(self) -> dict[str, Any]:
        """Twilio's next one; {} when the socket is closed."""
        frame = await self.receive()
        return json.loads(frame["text"]) if frame["type"] == "websocket.receive" else {}

    async def started(self) -> None:
        while (message := await self.message())["event"] != "start":
            pass
        self.stream = message["streamSid"]

    async def say(self, audio: bytes) -> None:
        await self.tell("media", media={"payload": b64encode(audio).decode()})

    async def tell(self, event: str, **more: Any) -> None:
        text = json.dumps({"event": event, "streamSid": self.stream, **more})
        await self.send({"type": "websocket.send", "text": text})

    async def close(self, code: int = 1000) -> None:
        await self.send({"type": "websocket.close", "code": code})


async def echo(line: Answering) -> None:
    await line.started()
    while message := await line.message():
        if message["event"] == "media":
            await line.say(b64decode(message["media"]["payload"]))


def saying(audio: bytes, after: float = 0.0) -> Any:
    """Says that, so many seconds after the beginning, and listens."""

    async def talk(line: Answering) -> None:
        await line.started()
        await asyncio.sleep(after)
        await line.say(audio)
        while await line.message():
            pass

    return talk
