"""The WebSocket paths. An unknown one is refused before it is accepted."""

from collections.abc import Awaitable, Callable
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import re_path

from calls.addresses import CONNECTION, LIVE_CALL
from calls.consumers import LiveCallConsumer, MediaStreamConsumer


async def refuse(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 4404})


# Browsers only, and only our own pages.
live = AllowedHostsOriginValidator(AuthMiddlewareStack(LiveCallConsumer.as_asgi()))  # type: ignore[no-untyped-call]

websocket = URLRouter(
    [
        # With and without the slash: Twilio's signature is documented for both.
        re_path(rf"^{CONNECTION}/?$", MediaStreamConsumer.as_asgi()),  # type: ignore[no-untyped-call]
        re_path(rf"^{LIVE_CALL}(?P<pk>[0-9]{{1,18}})$", live),
        re_path(r"", refuse),  # type: ignore[arg-type]  # Channels reuses Django's paths for ASGI applications
    ]
)
