"""Hints for pages that follow a running call: "something of call X is new, look again". Never state, never audio.

These are of what happens beside the stream, in whatever process: a callback, a word that came late, an answer of
Twilio's API. What the stream itself does is told by the process that holds it (calls.supervision.audience). A call that
nobody follows has an empty group, and nothing is sent.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from calls.post.post import PostAway, post


# Seconds between two hints of one call.
EVERY = 1.0


class Hints:
    """The calls of which something is new, told about once a second."""

    def __init__(self) -> None:
        self._changed: set[str] = set()

    def add(self, *call_sids: str) -> None:
        """Something of these calls is new. Never waits."""
        self._changed.update(call_sids)

    async def run(self) -> None:
        """Sends hints for as long as the process lives."""
        while True:
            await asyncio.sleep(EVERY)
            changed, self._changed = self._changed, set()
            # A copy: a thread (calls.server.control) may still be adding to it.
            await tell([*changed])


hints = Hints()


async def tell(call_sids: Sequence[str]) -> None:
    """Something of these calls is new. Pages look by themselves while the layer is away."""
    with suppress(PostAway):
        for sid in call_sids:
            await post.publish(group(sid), {"type": "call.changed", "call": sid})


def group(call_sid: str) -> str:
    """The group of the processes on which somebody follows this call."""
    return f"call.{call_sid}"
