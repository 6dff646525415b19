"""Plays the calls of a run, so many at once, and judges each as it ends."""

import asyncio
import traceback
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from simulator.call import SimulatedCall
from simulator.interrupting import at_ctrl_c
from simulator.report import Report
from simulator.reports.results import Logged, Planned, Result, judge
from simulator.reports.words import counted
from simulator.scenario import Scenario
from simulator.scenarios import WrittenScenario, call_of
from simulator.scenarios.placing import AwaitedCall


Call = SimulatedCall | AwaitedCall


def lateness_of(call: Call) -> "array[float]":
    """How late each frame was, in seconds; of a call that the server places it is not known."""
    return call.caller.lateness if isinstance(call, SimulatedCall) else array("f")


class Playing:
    """What came of each call is in `over` once it has ended; `alive` are those that run.

    Measuring has a thread, one call after the other: beside callers who speak on time.
    """

    def __init__(
        self,
        plan: Sequence[Planned],
        at_once: int,
        keep: Callable[[Result], Result],
        tell: Callable[[Result], None] = lambda result: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`keep` is given each result in the thread, `tell` what it made of it in the event loop; `say` has lines."""
        self.plan, self.at_once, self._keep, self._tell, self._say = plan, at_once, keep, tell, say
        self.alive: dict[int, Call] = {}
        self.over: dict[int, Result] = {}
        self.interrupted = False
        self.first: Report | None = None  # of the plan, with its sound, once it is over: to be recorded
        self._judging = ThreadPoolExecutor(1)
        self._ports = defaultdict[int, asyncio.Lock](asyncio.Lock)

    @property
    def results(self) -> tuple[Result, ...]:
        """In the order of the plan; of calls that never began, too."""
        return tuple(self.over.get(planned.number, self._unfinished(planned)) for planned in self.plan)

    def _unfinished(self, planned: Planned) -> Result:
        return Result(planned, "interrupted" if planned.number in self.alive else "not run")

    @property
    def frames(self) -> int:
        """That the callers have sent."""
        reports = [result.report for result in self.over.values()] + [call.report for call in self.alive.values()]
        return sum(stream.frames_sent for report in reports for stream in report.streams)

    async def play(self) -> None:
        """Until all are over. Ctrl-C hangs up; the second one is a KeyboardInterrupt."""
        at_ctrl_c(self._interrupt)
        turns = iter(self.plan)
        try:
            async with asyncio.TaskGroup() as lines:
                for _ in range(min(self.at_once, len(self.plan))):
                    lines.create_task(self._one_after_the_other(turns))
        finally:
            self._judging.shutdown(wait=False)

    async def _one_after_the_other(self, turns: Iterator[Planned]) -> None:
        for planned in turns:
            async with self._port_of(planned.scenario):
                if not self.interrupted:
                    await self._call(planned)

    def _port_of(self, scenario: Scenario) -> AbstractAsyncContextManager[object]:
        """Calls that the server places have the REST API at one port, and so come one after the other."""
        if isinstance(scenario, WrittenScenario) and scenario.outbound is not None:
            return self._ports[scenario.outbound.api_port]
        return nullcontext()

    async def _call(self, planned: Planned) -> None:
        loop, began, log = asyncio.get_running_loop(), datetime.now(UTC), list[Logged]()
        start = loop.time()
        call = call_of(planned.scenario, lambda line: log.append(Logged(loop.time() - start, line)))
        self.alive[planned.number] = call
        report = await _run(call)
        if planned.number == 1:
            self.first = report
        was_cut_short, facts = (
            self.interrupted,
            {"took": loop.time() - start, "began": began, "late": lateness_of(call)},
        )
        result = await loop.run_in_executor(self._judging, self._judge, planned, report, log, facts)
        del self.alive[planned.number]
        self.over[planned.number] = replace(result, status="interrupted") if was_cut_short else result
        self._tell(self.over[planned.number])

    def _judge(self, planned: Planned, report: Report, log: list[Logged], facts: dict[str, Any]) -> Result:
        return self._keep(judge(planned, report, log, **facts))

    def hang_up(self) -> None:
        """Ends the calls that run, and begins no more."""
        self.interrupted = True
        for call in self.alive.values():
            call.hang_up()

    def _interrupt(self) -> None:
        self.hang_up()
        self._say(f"hanging up ({counted(len(self.alive), 'call')}); Ctrl-C again leaves at once")


async def _run(call: Call) -> Report:
    """A fault of ours is that call's alone: the others go on."""
    try:
        return await call.run()
    except Exception as error:
        call.log(traceback.format_exc())
        call.report.errors.append(f"the simulator itself failed: {error!r}")
        return call.report
