"""Supervision in a server process: its tasks, and which letters go where."""

import asyncio

from calls.post.post import post
from calls.recorder import recorder
from calls.server.hints import hints
from calls.server.switchboard import switchboard
from calls.supervision.acts import acts
from calls.supervision.audience import Audience
from calls.supervision.beside import beside
from calls.supervision.followers import followers
from calls.supervision.meters import Meters
from calls.supervision.takeovers import takeovers
from calls.supervision.voice_page import told
from calls.supervision.watchers import watchers


def start() -> list["asyncio.Task[None]"]:
    """Once a process, in its event loop. Whoever calls this keeps the tasks."""
    audience, meters = Audience(recorder.owner), Meters(recorder.owner)
    switchboard.listeners = [audience, meters]
    post.take("audience.follow", audience.follow)
    post.take("audience.told", followers.told)
    post.take("meters.watch", meters.watch)
    post.take("meters.told", watchers.told)
    post.take("call.changed", followers.changed)
    post.take("control.act", acts.take)
    post.take("takeover.take", takeovers.take)
    post.take("takeover.voice", takeovers.hear)
    post.take("takeover.hand-back", takeovers.hand_back)
    post.take("takeover.told", told)
    telling = (audience.run(), meters.run(), hints.run())
    works = (post.run(recorder.owner), post.probe(), *telling, followers.run(), watchers.run())
    return [beside(each) for each in works]
