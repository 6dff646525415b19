"""A phone for tests: `call = await Phone(application).call(says="Hello.", keys="1")`, and what was heard, and when.

An ASGI application is called in memory and on a clock that jumps (simulator.virtual); a URL is called over TCP, as
Twilio would. Knows no pytest: simulator.pytest_plugin has the fixtures.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any, Self, cast
from urllib.parse import urljoin, urlsplit

from simulator.api import PlacedCall, TwilioApi
from simulator.asgi import Asgi
from simulator.call import SimulatedCall
from simulator.carrier import Carrier
from simulator.dialled import dialled
from simulator.lifespan import Application
from simulator.outbound import Answer, OutboundCall
from simulator.phone_call import PhoneCall
from simulator.reachable import from_elsewhere, reachable
from simulator.report import Report
from simulator.saying import Keys, Says, script
from simulator.scenario import Scenario
from simulator.virtual import VirtualClock, clock_of_running_loop
from simulator.wellformed import NO_ACCOUNT


# For servers that do not look at it.
ACCOUNT_SID, AUTH_TOKEN = NO_ACCOUNT, "0" * 32
PUBLIC_URL = "https://phone.example.org"

# What a call can be told beyond the arguments that are named.
FACTS = {field.name for field in fields(Scenario)}

Play = Callable[[Carrier | None, list[str]], Awaitable[Report]]


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
        further ones of a Scenario: `from_number`, `drop`, `dial="busy"`, …

        An ASGI application is called in memory, on a clock that jumps: a minute takes less than a second. A server with
        an address has a clock of its own, so a call to it takes as long as on the phone; so does one in `real_time`.
        """
        scenario = self._scenario(voice_url, {"script": script(says, keys, seconds), "duration": seconds, **facts})
        call = await self._place(scenario, real_time=real_time)
        self.calls.append(call)
        return call

    async def answer(
        self,
        answer: Answer = "human",
        *,
        says: Says = b"",
        keys: Keys = "",
        seconds: float | None = None,
        real_time: bool = False,
        **facts: Any,
    ) -> PhoneCall:
        """Answers the oldest call that waits at `twilio_api`, which your code has placed there, and plays it.

        `answer` is who picks up, "human" or "machine", or why nobody does: "busy", "no-answer" or "failed". The rest is
        as of `call`. LookupError if no call waits.
        """
        scenario = self._scenario("", {"script": script(says, keys, seconds), "duration": seconds, **facts})
        call = await self._pick_up(self._waiting(), scenario, answer, real_time=real_time)
        self.calls.append(call)
        return call

    def _waiting(self) -> PlacedCall:
        placed = list(self.api.calls.values()) if self.api is not None else []
        if waiting := next((call for call in placed if call.status == "queued"), None):
            return waiting
        raise LookupError(
            "no call waits to be answered: ask for the fixture `twilio_api`, and place one through it first"
        )

    def _scenario(self, voice_url: str, facts: dict[str, Any]) -> Scenario:
        if unknown := facts.keys() - FACTS:
            raise TypeError(f"a call has no {', '.join(sorted(unknown))}; further facts are {', '.join(sorted(FACTS))}")
        facts |= {"dial": dialled(facts.get("dial", ()))}
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

    async def _place(self, scenario: Scenario, *, real_time: bool = False) -> PhoneCall:
        """A call that comes in."""

        async def play(carrier: Carrier | None, log: list[str]) -> Report:
            call = SimulatedCall(scenario, log.append, carrier)
            return await (call.run() if self.api is None else self.api.play(reachable(call)))

        return await self._played(play, scenario, real_time=real_time)

    async def _pick_up(
        self, placed: PlacedCall, scenario: Scenario, answer: Answer, *, real_time: bool = False
    ) -> PhoneCall:
        """A call that the server has placed, which rings for a second."""

        async def play(carrier: Carrier | None, log: list[str]) -> Report:
            call = OutboundCall(placed, scenario, answer=answer, log=log.append, carrier=carrier)
            placed.obey, placed.line = from_elsewhere(placed.obey), reachable(call.call)
            return await call.run()

        return await self._played(play, scenario, real_time=real_time)

    async def _played(self, play: Play, scenario: Scenario, *, real_time: bool) -> PhoneCall:
        """Plays it to its last word, on the clock that it is to go by."""
        carrier, log = self._carrier(), list[str]()
        is_virtual = not real_time and carrier is not None
        with self._time(is_virtual):
            await asyncio.sleep(0)  # from here on time stands still
            before = asyncio.all_tasks()
            report = await play(carrier, log)
            if carrier is not None:
                await _settle(before)
        if carrier is None:
            return PhoneCall(report, scenario, log=log)
        report.warnings += [f"{what} raised {error!r} when it was over" for what, error in carrier.late_failures]
        held_by = clock_of_running_loop().held_by if is_virtual else ""
        return PhoneCall(report, scenario, carrier.failures, log, held_by)

    def _carrier(self) -> Asgi | None:
        """None: over TCP."""
        if self.target is None:
            raise NobodyToCall(
                "there is nobody to call: override the fixture `media_streams_app` with your ASGI application or its "
                "address, or write `await phone.at(app).call(…)`"
            )
        return None if isinstance(self.target, str) else Asgi(self.target)

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


async def _settle(before: set[asyncio.Task[Any]]) -> None:
    """Lets what the call has begun come to its end, so that nothing of it reaches into what the test does next."""
    if begun := asyncio.all_tasks() - before - {cast(asyncio.Task[Any], asyncio.current_task())}:
        await asyncio.wait(begun, timeout=LAST_WORDS)
