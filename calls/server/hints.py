"""Hints for pages that follow a running call: "something of call X is new, look again". Never state, never audio.

They cross the channel layer, which loses messages silently and may be away; pages poll when it is. One guarded task a
process sends them, so that a dead Redis is one line in the log and nothing else.
"""

import asyncio
import logging
from typing import Any

from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer

from calls.models import Call


logger = logging.getLogger(__name__)

# Seconds between two hints of one call, and for which the layer may keep us waiting.
EVERY = 1.0
PATIENCE = 2.0


class Hints:
    """The calls of which something is new, told about once a second."""

    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._is_down = False

    def add(self, *call_sids: str) -> None:
        """Something of these calls is new. Never waits."""
        self._changed.update(call_sids)

    async def run(self) -> None:
        """Sends hints for as long as the process lives."""
        while True:
            await asyncio.sleep(EVERY)
            changed, self._changed = self._changed, set()
            if changed:
                await self._send(changed)

    async def _send(self, call_sids: set[str]) -> None:
        layer = get_channel_layer()
        try:
            async with asyncio.timeout(PATIENCE):
                for sid in call_sids:
                    await layer.group_send(_group(sid), {"type": "call.changed"})
        except Exception as error:
            if not self._is_down:
                logger.warning("layer_down: %s; live pages poll", ascii(str(error))[:200])
            self._is_down = True
        else:
            if self._is_down:
                logger.warning("layer_up")
            self._is_down = False


hints = Hints()


def _group(call_sid: str) -> str:
    return f"call.{call_sid}"


class LiveCallConsumer(AsyncWebsocketConsumer):
    """A page's socket: a text whenever something of its call is new. For staff who may view calls."""

    group = ""

    async def connect(self) -> None:
        sid = await sync_to_async(_visible_call)(self.scope["user"], self.scope["url_route"]["kwargs"]["pk"])
        if not sid:
            await self.close()  # type: ignore[no-untyped-call]
            return
        self.group = _group(sid)
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()  # type: ignore[no-untyped-call]

    async def disconnect(self, code: int) -> None:
        if self.group:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def call_changed(self, event: dict[str, Any]) -> None:
        await self.send(text_data="changed")  # type: ignore[no-untyped-call]


def _visible_call(user: Any, pk: str) -> str | None:
    """The SID of the call, if this user may see it."""
    if not (user.is_active and user.is_staff and user.has_perm("calls.view_call")):
        return None
    return Call.objects.filter(pk=pk).values_list("sid", flat=True).first()
