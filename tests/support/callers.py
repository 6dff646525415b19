"""Calls placed to a server process from a thread, while the test does something to the server.

with Server("uvicorn", tmp_path) as server:
    calls = Calls(server, 3, handler="echo").talk(1.0)
    server.send(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    reports = calls.result()
"""

import asyncio
import itertools
import threading
from concurrent.futures import Future
from typing import Any, Self

from django.conf import settings

from simulator import Report, SimulatedCall, TwilioApi
from tests.support.recorded import stored_to_the_end
from tests.support.servers import Server, until


class Calls:
    """Simulated calls, all at once, in a thread with a loop of its own; with Twilio's API beside them at `api_port`."""

    def __init__(self, server: Server, count: int = 1, /, *, api_port: int = 0, **facts: Any) -> None:
        numbers = (f"+1415555{number:04d}" for number in itertools.count(100))
        scenarios = [server.scenario(**{"from_number": next(numbers), **facts}) for _ in range(count)]
        self.calls = [SimulatedCall(scenario) for scenario in scenarios]
        self._result: Future[list[Report]] = Future()
        self._thread = threading.Thread(target=self._run, args=(api_port,), name="calls", daemon=True)
        self._thread.start()

    def _run(self, api_port: int) -> None:
        async def place() -> list[Report]:
            return await asyncio.gather(*(call.run() for call in self.calls))

        async def place_with_api() -> list[Report]:
            self.api = TwilioApi(settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKENS[0])
            await self.api.start(api_port)
            try:
                return await asyncio.gather(*(self.api.play(call) for call in self.calls))
            finally:
                await self.api.stop()

        try:
            # Not in debug mode: a slow caller would be taken for a slow server.
            self._result.set_result(asyncio.run(place_with_api() if api_port else place(), debug=False))
        except BaseException as error:
            self._result.set_exception(error)

    def talk(self, seconds: float) -> Self:
        """Waits until every caller has talked to the server for so long."""
        until(lambda: min(call.seconds for call in self.calls) >= seconds or self._result.done(), "the calls to run")
        assert not self._result.done(), f"over already: {[report.errors for report in self._result.result()]}"
        return self

    def reconnect(self) -> Self:
        """Waits until every call is on its second stream, and has been heard there."""
        until(lambda: all(len(call.report.streams) == 2 for call in self.calls), "the calls to be connected again")
        return self.talk(min(call.seconds for call in self.calls) + 0.5)

    def hang_up(self) -> Self:
        for call in self.calls:
            call.hang_up()
        return self

    def result(self, deadline: float = 60) -> list[Report]:
        reports = self._result.result(timeout=deadline)
        self._thread.join()
        return reports


def place(server: Server, count: int = 1, **facts: Any) -> list[Report]:
    """Calls from their first ring until their last frame is stored; they have to succeed."""
    reports = Calls(server, count, **facts).result()
    assert [error for report in reports for error in report.errors] == [], server.log
    stored_to_the_end(reports)
    return reports
