"""Supervision in a server process: its tasks, and which letters go where."""

import asyncio

from calls.post.post import post
from calls.recorder import recorder
from calls.server.hints import hints
from calls.server.switchboard import switchboard
from calls.supervision.acts import acts
from calls.supervision.audience import Audience
from calls.supervision.followers import followers
from calls.supervision.takeovers import takeovers
from calls.supervision.voice_page import told


def start() -> list["asyncio.Task[None]"]:
    """Once a process, in its event loop. Whoever calls this keeps the tasks."""
    audience = Audience(recorder.owner)
    switchboard.listeners = [audience]
    post.take("audience.follow", audience.follow)
    post.take("audience.told", followers.told)
    post.take("call.changed", followers.changed)
    post.take("control.act", acts.take)
    post.take("takeover.take", takeovers.take)
    post.take("takeover.voice", takeovers.hear)
    post.take("takeover.hand-back", takeovers.hand_back)
    post.take("takeover.told", told)
    works = (post.run(recorder.owner), audience.run(), followers.run(), hints.run())
    return [asyncio.create_task(each) for each in works]
