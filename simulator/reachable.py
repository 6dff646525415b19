"""A call that the REST API changes from a thread of its own, while the call's loop goes on."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from simulator.call import SimulatedCall
from simulator.documents import Verb
from simulator.stream import Stream


# Seconds that a loop may take to do what it is asked.
PATIENCE = 10.0

T = TypeVar("T")
Form = dict[str, list[str]]


def reachable(call: SimulatedCall) -> SimulatedCall:
    """The same call for the API: what it does to it happens in the loop that runs now."""
    return cast(SimulatedCall, _Reachable(call))


def from_elsewhere(obey: Callable[[Form], None]) -> Callable[[Form], None]:
    """The same function, to be called from any thread and run soon, in the loop that runs now."""
    loop = asyncio.get_running_loop()

    def order(form: Form) -> None:
        loop.call_soon_threadsafe(obey, form)

    return order


class _Reachable:
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

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(PATIENCE)
