"""The echo as Channels' tutorial writes a consumer. For `daphne stock_channels:application`."""

import base64

import django
import orjson
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path


settings.configure(
    SECRET_KEY="not a secret: nothing is signed here",
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()


class Echo(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.heard = bytearray()
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        message = orjson.loads(text_data or "{}")
        if message.get("event") != "media":
            return
        audio = base64.b64decode(message["media"]["payload"])
        self.heard += audio
        media = {"payload": base64.b64encode(audio).decode()}
        answer = {"event": "media", "streamSid": message["streamSid"], "media": media}
        await self.send(text_data=orjson.dumps(answer).decode())


application = ProtocolTypeRouter({"websocket": URLRouter([path("connection", Echo.as_asgi())])})
