"""A call that was placed through the REST API: it rings, somebody answers or not, and the account is told.

https://www.twilio.com/docs/voice/api/call-resource#statuscallback
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from simulator import parameters
from simulator.api import Form, PlacedCall
from simulator.call import SimulatedCall
from simulator.carrier import Carrier
from simulator.deliveries import Deliveries
from simulator.report import Report
from simulator.requests import Requests
from simulator.scenario import Scenario


Answer = Literal["human", "machine", "busy", "no-answer", "failed"]
ANSWERS: tuple[Answer, ...] = ("human", "machine", "busy", "no-answer", "failed")

STATUS = {"initiated": "initiated", "ringing": "ringing", "answered": "in-progress"}
DETECTED = {"human": "human", "machine": "machine_start"}


class Callbacks:
    """The status callbacks of a call, numbered as they come about and delivered in the scenario's manner."""

    def __init__(self, call: PlacedCall, scenario: Scenario, requests: Requests) -> None:
        self._call, self._scenario, self._requests = call, scenario, requests
        self._deliveries = Deliveries(scenario.callbacks, scenario.seed)
        self._number = 0

    def fire(self, event: str, status: str, seconds: float | None = None) -> None:
        """Something came about; the account is told if it asked for this."""
        if event not in self._call.events or not self._call.get("StatusCallback"):
            return
        form = parameters.progress(self._scenario, status, self._number, seconds)
        if self._call.answered_by:
            form["AnsweredBy"] = self._call.answered_by
        self._number += 1
        self._deliveries.add(lambda: self._deliver(form))

    async def finish(self) -> None:
        """The call is over: whatever waits is delivered now."""
        await self._deliveries.finish()

    async def _deliver(self, form: dict[str, str]) -> None:
        url, method = self._call.get("StatusCallback"), self._call.get("StatusCallbackMethod", "POST")
        try:
            await self._requests.deliver(url, form, method)
        finally:
            self._call.told.set()


class OutboundCall:
    """Plays one placed call. Its person called is the scenario's caller, who is on the inbound track."""

    def __init__(
        self,
        placed: PlacedCall,
        scenario: Scenario,
        *,
        answer: Answer = "human",
        rings: float = 1.0,
        log: Callable[[str], None] = lambda line: None,
        carrier: Carrier | None = None,
    ) -> None:
        self.placed, self._answer, self._rings, self._log = placed, answer, rings, log
        self._carrier = carrier
        self._detected = DETECTED.get(answer) if placed.get("MachineDetection") else None
        self.scenario = replace(
            scenario,
            url=placed.get("Url"),
            call_sid=placed.sid,
            account_sid=placed.account_sid,
            from_number=placed.get("From"),
            to_number=placed.get("To"),
            direction="outbound-api",
            extra={**scenario.extra, **({"AnsweredBy": self._detected} if self._detected else {})},
            status_callback=False,
            judge=None,
        )
        self._judge = scenario.judge
        self._ended = asyncio.Event()
        self.call = SimulatedCall(self.scenario, log, carrier)
        self.report = self.call.report
        placed.obey, placed.line = self._obey, self.call

    async def run(self) -> Report:
        async with Requests(self.scenario, self.report, self._carrier) as requests:
            self._callbacks = Callbacks(self.placed, self.scenario, requests)
            seconds = await self._ring() and await self._talk()
            # One that is hung up while it rings is canceled, by REST or by the person.
            self._log(f"the call is over: {self.placed.status}")
            self.placed.duration = str(round(seconds))
            self.placed.end()
            self._callbacks.fire("completed", self.placed.status, seconds)
            await self._callbacks.finish()
        if self._judge is not None:
            await asyncio.to_thread(self._judge, self.report)
        return self.report

    async def _ring(self) -> bool:
        """Whether somebody answers."""
        for event in ("initiated", "ringing"):
            self._move(event)
        try:
            async with asyncio.timeout(self._rings):
                await self._ended.wait()
        except TimeoutError:
            pass
        if self._ended.is_set():
            self.report.ended = "the server hung up while it rang"
            return False
        if self._answer not in DETECTED:
            self.placed.status = self._answer
            self.report.ended = f"nobody answered: {self._answer}"
            return False
        self.placed.answered_by = self._detected
        self._move("answered")
        return True

    async def _talk(self) -> float:
        began = time.monotonic()
        await self.call.run()
        if self.placed.status == "in-progress":
            self.placed.status = "completed"
        return time.monotonic() - began

    def _move(self, event: str) -> None:
        self.placed.status = STATUS[event]
        self._log(f"the call is {self.placed.status}")
        self._callbacks.fire(event, STATUS[event])

    def _obey(self, form: Form) -> None:
        """An update through the REST API."""
        if "Status" in form:
            self._ended.set()
        self.call.obey(form)
