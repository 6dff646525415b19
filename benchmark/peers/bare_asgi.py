"""An echo on nothing but ASGI: what the server itself costs. For `uvicorn bare_asgi:application`."""

import base64
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import json


Event = dict[str, Any]


async def application(
    scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
) -> None:
    if scope["type"] != "websocket":
        while scope["type"] == "lifespan":
            event = await receive()
            await send({"type": f"{event['type']}.complete"})
            if event["type"] == "lifespan.shutdown":
                break
        return
    heard = bytearray()
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        message = json.decode(event["text"])
        if message["event"] != "media":
            continue
        audio = base64.b64decode(message["media"]["payload"])
        heard += audio
        media = {"payload": base64.b64encode(audio).decode()}
        answer = {"event": "media", "streamSid": message["streamSid"], "media": media}
        await send({"type": "websocket.send", "text": json.encode(answer).decode()})
