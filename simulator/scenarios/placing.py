"""The calls of a scenario's file, played: those that come in, and those that the server places through the REST API."""

import asyncio
from collections.abc import Callable

import aiohttp

from simulator.api import PhoneNumber, PlacedCall, TwilioApi
from simulator.call import SimulatedCall
from simulator.carrier import Carrier
from simulator.outbound import OutboundCall
from simulator.report import Report
from simulator.scenario import Scenario
from simulator.scenarios.language import Order, Outbound
from simulator.scenarios.loading import WrittenScenario
from simulator.scenarios.words import seconds


Log = Callable[[str], None]
ORDER_TIMEOUT = aiohttp.ClientTimeout(total=30)


async def play(scenario: Scenario, log: Log = lambda line: None, carrier: Carrier | None = None) -> Report:
    """Plays one call of a file's, and judges it; what the server does wrong is in the report."""
    return await call_of(scenario, log, carrier).run()


def call_of(
    scenario: Scenario, log: Log = lambda line: None, carrier: Carrier | None = None
) -> "SimulatedCall | AwaitedCall":
    """The call that a scenario stands for, to be run once. A carrier carries only what comes in."""
    if isinstance(scenario, WrittenScenario) and scenario.outbound is not None:
        return AwaitedCall(scenario, scenario.outbound, log)
    return SimulatedCall(scenario, log, carrier)


class NotPlaced(Exception):
    """The server placed no call; the text says why, as far as it can be known."""


class AwaitedCall:
    """One that the server places: serves the REST API, has the call ordered, and answers it. As SimulatedCall is."""

    def __init__(self, scenario: Scenario, outbound: Outbound, log: Log = lambda line: None) -> None:
        self.scenario, self.log, self._outbound = scenario, log, outbound
        #: Of the call once it was placed.
        self.report = Report(scenario.call_sid, scenario.name)
        self._placed: asyncio.Future[OutboundCall] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()

    @property
    def seconds(self) -> float:
        """How long it has been talked."""
        return self._placed.result().call.seconds if self._placed.done() and not self._placed.cancelled() else 0.0

    def hang_up(self, why: str = "hung up") -> None:
        if self._placed.done():
            self._placed.result().call.hang_up(why)
        else:
            self._placed.set_exception(NotPlaced(f"the caller {why} before a call was placed"))

    async def run(self) -> Report:
        scenario = self.scenario
        api = TwilioApi(scenario.account_sid, scenario.auth_token, [PhoneNumber(scenario.from_number)], self._pick_up)
        try:
            await api.start(self._outbound.api_port)
        except OSError as error:
            self.report.errors.append(f"no REST API at port {self._outbound.api_port}: {error.strerror}")
            return self.report
        try:
            self.log(f"the REST API is at {api.url}")
            await self._order()
            await self._wait_for_it()
            await self._over.wait()
        except NotPlaced as failure:
            self.report.errors.append(str(failure))
        finally:
            await api.stop()
        return self.report

    async def _pick_up(self, placed: PlacedCall) -> None:
        """Answers the first call, and no other one."""
        if self._placed.done():
            placed.status = "busy"
            return
        call = OutboundCall(
            placed,
            self.scenario,
            answer=self._outbound.answer,
            rings=self._outbound.rings,
            log=self.log,
        )
        self.report = call.report
        self._placed.set_result(call)
        try:
            await call.run()
        finally:
            self._over.set()

    async def _wait_for_it(self) -> None:
        within = self._outbound.within
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(self._placed)
        except TimeoutError:
            raise NotPlaced(f"the server placed no call within {seconds(within)}") from None

    async def _order(self) -> None:
        if self._outbound.order is not None:
            await _request(self._outbound.order)
        elif self._outbound.command:
            await _execute(self._outbound.command)


async def _request(order: Order) -> None:
    where = f"the order {order.method} {order.url}"
    try:
        async with (
            aiohttp.ClientSession(timeout=ORDER_TIMEOUT) as session,
            session.request(
                order.method, order.url, data=order.form, json=order.json, headers=order.headers
            ) as response,
        ):
            said = (await response.text(errors="replace")).strip().partition("\n")[0][:200]
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotPlaced(f"{where} was not answered: {error or 'not within 30 s'}") from error
    if response.status >= 400:
        raise NotPlaced(f"{where} was answered {response.status}: {said}")


async def _execute(command: tuple[str, ...]) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        raise NotPlaced(f"{command[0]} could not be run: {error.strerror}") from error
    said, _ = await process.communicate()
    if process.returncode:
        last = said.decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise NotPlaced(f"{command[0]} ended with {process.returncode}: {last}")
