"""Hints for pages that follow a running call: "something of call X is new, look again". Never state, never audio.

They cross the channel layer, which loses messages silently and may be away; pages poll when it is. One guarded task a
process sends them, so that a dead Redis is one line in the log and nothing else.
"""

import asyncio
import logging

from channels.layers import get_channel_layer


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
                    await layer.group_send(group(sid), {"type": "call.changed"})
        except Exception as error:
            if not self._is_down:
                logger.warning("layer_down: %s; live pages poll", ascii(str(error))[:200])
            self._is_down = True
        else:
            if self._is_down:
                logger.warning("layer_up")
            self._is_down = False


hints = Hints()


def group(call_sid: str) -> str:
    """The layer's group of those who follow this call."""
    return f"call.{call_sid}"
