"""A phone for tests: `call = await Phone(application).call(says="Hello.", keys="1")`, and what was heard, and when.

An ASGI application is called in memory and on a clock that jumps (simulator.virtual); a URL is called over TCP, as
Twilio would. Knows no pytest: simulator.pytest_plugin has the fixtures.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast
from urllib.parse import urljoin, urlsplit

from simulator.api import TwilioApi
from simulator.asgi import Asgi
from simulator.call import SimulatedCall
from simulator.carrier import Carrier
from simulator.documents import Verb
from simulator.lifespan import Application
from simulator.phone_call import PhoneCall
from simulator.saying import Keys, Says, script
from simulator.scenario import Scenario
from simulator.stream import Stream
from simulator.virtual import VirtualClock, clock_of_running_loop


# For servers that do not look at it.
ACCOUNT_SID, AUTH_TOKEN = "AC" + "0" * 32, "0" * 32
PUBLIC_URL = "https://phone.example.org"


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whose calls these are; `public_url` is what Twilio signs for and an application in memory sees as its address."""

    sid: str = ACCOUNT_SID
    auth_token: str = AUTH_TOKEN
    public_url: str = PUBLIC_URL


class NobodyToCall(TypeError):
    """A phone that was not told what to call."""


class Phone:
    """Places calls one after the other or several at once, and keeps them in `calls`. `close` it in the end."""

    def __init__(self, target: Application | str | None = None, account: Account | None = None) -> None:
        """`target`: an ASGI application, or the address of a server that runs."""
        self.target, self.account = target, account or Account()
        #: Every call that is over, the last one last.
        self.calls: list[PhoneCall] = []
        #: The account's REST API, if there is one to change these calls by.
        self.api: TwilioApi | None = None
        self._clocks: list[VirtualClock] = []

    def at(self, target: Application | str) -> "Phone":
        """The same phone for another application or address; its calls are in this one's list too."""
        other = type(self)(target, self.account)
        other.calls, other.api, other._clocks = self.calls, self.api, self._clocks
        return other

    async def call(
        self,
        *,
        says: Says = b"",
        keys: Keys = "",
        voice_url: str = "/voice",
        seconds: float | None = None,
        real_time: bool = False,
        **facts: Any,
    ) -> PhoneCall:
        """Calls the number whose voice URL that is, and returns when the call is over.

        `says` and `keys`: see simulator.saying. The caller hangs up once the server is silent for 2 s, or after
        `seconds`. What the server does wrong is in `errors` of what this returns, and raised nowhere. `facts` are
        further ones of a Scenario: `from_number`, `drop`, `dial`, …
        """
        if self.target is None:
            raise NobodyToCall(
                "there is nobody to call: override the fixture `media_streams_app` with your ASGI application or its "
                "address, or write `await phone.at(app).call(…)`"
            )
        scenario = self._scenario(voice_url, {"script": script(says, keys, seconds), "duration": seconds, **facts})
        carrier = None if isinstance(self.target, str) else Asgi(self.target)
        call = await self._place(scenario, carrier, real_time=real_time)
        self.calls.append(call)
        return call

    def _scenario(self, voice_url: str, facts: dict[str, Any]) -> Scenario:
        base = self.target if isinstance(self.target, str) else self.account.public_url
        public = self.account.public_url
        if isinstance(self.target, str) and public == PUBLIC_URL:
            # Nobody has said that the server goes by another address than this one.
            public = f"{urlsplit(base).scheme}://{urlsplit(base).netloc}"
        return Scenario(
            **{
                "public_url": public,
                "server": base if isinstance(self.target, str) else public,
                "url": urljoin(public, voice_url),
                "account_sid": self.account.sid,
                "auth_token": self.account.auth_token,
                "status_callback": bool(facts.get("status_url")),
                **facts,
            }
        )

    async def _place(self, scenario: Scenario, carrier: Carrier | None, *, real_time: bool = False) -> PhoneCall:
        log: list[str] = []
        played = SimulatedCall(scenario, log.append, carrier)
        with self._time(is_virtual=not real_time and not isinstance(self.target, str)):
            await asyncio.sleep(0)  # from here on time stands still
            before = asyncio.all_tasks()
            report = await (played.run() if self.api is None else self.api.play(_reachable(played)))
            if carrier is not None:
                await _settle(before)
        failures, late = (getattr(carrier, name, []) for name in ("failures", "late_failures"))
        report.warnings += [f"{what} raised {error!r} when it was over" for what, error in late]
        return PhoneCall(report, scenario, failures, log)

    def _time(self, is_virtual: bool) -> AbstractContextManager[None]:
        if not is_virtual:
            return nullcontext()
        clock = clock_of_running_loop()
        if clock not in self._clocks:
            self._clocks.append(clock)
        return clock.running()

    def close(self) -> None:
        """Gives every loop its own time back."""
        for clock in self._clocks:
            clock.remove()
        self._clocks.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# Seconds (of the call's own time) that whatever it has set going may take to end.
LAST_WORDS = 10.0

T = TypeVar("T")


async def _settle(before: set[asyncio.Task[Any]]) -> None:
    """Lets what the call has begun come to its end, so that nothing of it reaches into what the test does next."""
    if begun := asyncio.all_tasks() - before - {cast(asyncio.Task[Any], asyncio.current_task())}:
        await asyncio.wait(begun, timeout=LAST_WORDS)


class _Reachable:
    """A call that the REST API changes from a thread of its own."""

    def __init__(self, call: SimulatedCall) -> None:
        self._call, self._loop = call, asyncio.get_running_loop()
        self.scenario, self.run = call.scenario, call.run

    def obey(self, form: Mapping[str, list[str]]) -> None:
        self._loop.call_soon_threadsafe(self._call.obey, form)

    def start_stream(self, verb: Verb) -> Stream:
        return self._done(lambda: self._call.start_stream(verb))

    def stop_stream(self, name: str) -> Stream | None:
        return self._done(lambda: self._call.stop_stream(name))

    def _done(self, what: Callable[[], T]) -> T:
        async def do() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(LAST_WORDS)


def _reachable(call: SimulatedCall) -> SimulatedCall:
    return cast(SimulatedCall, _Reachable(call))
