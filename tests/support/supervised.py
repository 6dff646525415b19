"""Calls on one server process and supervisors on another, over a Redis that a test may kill, freeze and start again.

with OwnRedis() as redis, Server("uvicorn", folder, REDIS_URL=redis.url) as one, Server(…) as other:
    calls = Calls(one, handler="echo").talk(0.5)
    with Supervisor(other, page_of(calls.calls[0].report.call_sid), user) as page:
        page.hear("grown")
"""

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import time
from typing import Any, Self

import redis
from channels_redis.core import RedisChannelLayer
from django.contrib.auth.models import User
from django.test import Client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from calls.models import Call
from tests.support.production import missing
from tests.support.servers import DEADLINE, Server, free_port, until


SPY = "mailbox.spy"


class OwnRedis:
    """A redis-server process that keeps nothing."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        if not shutil.which("redis-server"):
            missing("redis-server is not installed")
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._client = redis.Redis.from_url(self.url, socket_timeout=5)
        until(self._is_up, "Redis to answer")
        return self

    def _is_up(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self._client.ping())
        return False

    def kill(self) -> None:
        """kill -9, whether it is frozen or not."""
        self.process.kill()
        self.process.wait()
        self._client.close()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def letters(self) -> int:
        """How many have been written into mailboxes so far: a letter is the member of a sorted set, and so is who
        has joined a group, which is why a test counts while nobody joins."""
        facts: dict[str, Any] = self._client.info("commandstats")  # type: ignore[assignment]
        return int(facts.get("cmdstat_zadd", {}).get("calls", 0))

    @property
    def bytes(self) -> int:
        """How many it has received so far."""
        return int(self._client.info("stats")["total_net_input_bytes"])  # type: ignore[index]


class Spy:
    """A process that says what it follows, and leaves its letters lying where a test can count them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis = redis.Redis.from_url(url)

    def follow(self, owner: str, calls: dict[str, bool], *others: str) -> None:
        """`others` say the same."""

        async def say() -> None:
            layer = RedisChannelLayer(hosts=[self._url])
            await layer.group_add(f"audience.{owner}", SPY)
            for who in (SPY, *others):
                await layer.send(f"mailbox.{owner}", {"type": "audience.follow", "from": who, "calls": calls})
            await layer.close_pools()

        self._redis.delete(f"asgi{SPY}")
        asyncio.run(say(), debug=False)

    @property
    def letters(self) -> list[dict[str, Any]]:
        """Those that have come since it said last what it follows."""
        layer = RedisChannelLayer(hosts=[self._url])
        found = [layer.deserialize(letter) for letter in self._redis.zrange(f"asgi{SPY}", 0, -1)]  # type: ignore[union-attr]
        return sorted(found, key=lambda letter: int(letter["number"]))

    def close(self) -> None:
        self._redis.close()


class Refused(Exception):
    """The handshake was not answered with 101."""


class Supervisor:
    """A browser's socket to a page of a running call."""

    def __init__(
        self, server: Server, path: str, user: User | None, *, origin: str | None = "", cookie: str = ""
    ) -> None:
        browser = Client()
        if user is not None:
            browser.force_login(user)
            cookie = browser.cookies["sessionid"].value
        headers = {"Cookie": f"sessionid={cookie}"} if cookie else {}
        self._where = f"ws://127.0.0.1:{server.port}{path}"
        self._options: dict[str, Any] = {
            "additional_headers": headers,
            "origin": server.public_url if origin == "" else origin,
            "open_timeout": DEADLINE,
            "compression": None,
        }
        #: Everything that was said, in its order.
        self.heard: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        try:
            self._connection = connect(self._where, **self._options)
            self.socket = self._connection.__enter__()
        except InvalidStatus as error:
            raise Refused(error.response.status_code) from None
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.__exit__(*error)

    def hear(self, kind: str, deadline: float = DEADLINE) -> dict[str, Any]:
        """Waits until something of that type is said."""
        give_up = time.monotonic() + deadline
        while True:
            try:
                said = json.loads(self.socket.recv(timeout=max(0.0, give_up - time.monotonic())))
            except TimeoutError:
                raise AssertionError(f"not within {deadline:g} s: {kind}; heard {self.heard[-10:]}") from None
            self.heard.append(said)
            if said["type"] == kind:
                return said

    def closed(self, deadline: float = DEADLINE) -> int:
        """The code that it is closed with."""
        give_up = time.monotonic() + deadline
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.socket.recv(timeout=max(0.0, give_up - time.monotonic()))
        assert self.socket.close_code is not None
        return self.socket.close_code


def page_of(call_sid: str) -> str:
    """The path of a running call's socket, once its row is there."""
    call = until(lambda: Call.objects.filter(sid=call_sid).first(), "the call's row")
    return f"/live/calls/{call.pk}"
