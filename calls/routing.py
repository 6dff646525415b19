"""The WebSocket paths. An unknown one is refused before it is accepted."""

from collections.abc import Awaitable, Callable
from typing import Any

from channels.routing import URLRouter
from channels.sessions import CookieMiddleware, SessionMiddleware
from django.urls import re_path

from calls.addresses import CONNECTION, LIVE_CALLS
from calls.consumers import MediaStreamConsumer
from calls.supervision.audio_page import AudioPage
from calls.supervision.browsers import own_pages_only
from calls.supervision.call_page import CallPage
from calls.supervision.list_page import ListPage
from calls.supervision.pages import Page
from calls.supervision.voice_page import VoicePage


async def refuse(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 4404})


def for_staff(page: type[Page]) -> Any:
    """Browsers only, and only our own pages; who it is, the page asks."""
    return own_pages_only(CookieMiddleware(SessionMiddleware(page.as_asgi())))


websocket = URLRouter(
    [
        # With and without the slash: Twilio's signature is documented for both.
        re_path(rf"^{CONNECTION}/?$", MediaStreamConsumer.as_asgi()),  # type: ignore[no-untyped-call]
        re_path(rf"^{LIVE_CALLS}$", for_staff(ListPage)),
        re_path(rf"^{LIVE_CALLS}/(?P<pk>[0-9]{{1,18}})$", for_staff(CallPage)),
        re_path(rf"^{LIVE_CALLS}/(?P<pk>[0-9]{{1,18}})/audio$", for_staff(AudioPage)),
        re_path(rf"^{LIVE_CALLS}/(?P<pk>[0-9]{{1,18}})/voice$", for_staff(VoicePage)),
        re_path(r"", refuse),  # type: ignore[arg-type]  # Channels reuses Django's paths for ASGI applications
    ]
)
