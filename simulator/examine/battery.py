"""The examination: probes in an order that hurts no server that is right, then every check."""

import asyncio
from collections.abc import Callable, Collection

from simulator.carrier import Carrier
from simulator.examine import (
    audio_checks,
    call_checks,
    document_checks,
    message_checks,
    probes,
    socket_checks,
    webhook_checks,
)
from simulator.examine.facts import Facts
from simulator.examine.target import Desk, Target
from simulator.examine.verdicts import Check, Judgement, Result, Verdict, untested
from simulator.tcp import Tcp


CHECKS: tuple[Check, ...] = (
    *webhook_checks.CHECKS,
    *document_checks.CHECKS,
    *call_checks.CHECKS,
    *message_checks.CHECKS,
    *audio_checks.CHECKS,
    *socket_checks.CHECKS,
)
NOBODY = "nobody answers at that address"


class Examination:
    """One server. `log` is told what is being done; takes some 40 s, and places about a dozen calls."""

    def __init__(
        self,
        target: Target,
        checks: Collection[Check] = CHECKS,
        log: Callable[[str], None] = lambda line: None,
        carrier: Callable[[Target], Carrier] = lambda target: Tcp(target.server, target.insecure),
    ) -> None:
        self.facts = Facts(target)
        self._checks, self._log, self._carrier = checks, log, carrier
        self._needed = {need for check in checks for need in check.needs}

    async def run(self) -> list[Result]:
        """Every check's result, in the order of the checks."""
        target = self.facts.target
        async with self._carrier(target) as carrier:
            self._log("the voice webhook")
            await probes.document(Desk(target, carrier), self.facts)
        exchange = self.facts.answers["twilio"]
        if exchange.answer is None:
            return [Result(check, self._judge_nothing(check)) for check in self._checks]
        self.facts.target = target = target.for_document(exchange.answer)
        async with self._carrier(target) as carrier:
            await self._probe(Desk(target, carrier))
        return [Result(check, check.judge(self.facts)) for check in self._checks]

    async def _probe(self, desk: Desk) -> None:
        facts = self.facts
        if "strangers" in self._needed:
            self._log("webhooks that are not Twilio's")
            await probes.strangers(desk, facts)
        if facts.noun is None:
            return
        if {"alone", "together"} & self._needed:
            self._log("a call")
            await probes.alone(desk, facts)
        if "together" in self._needed:
            self._log("two calls at once")
            await probes.together(desk, facts)
        await self._probe_sockets(desk)

    async def _probe_sockets(self, desk: Desk) -> None:
        """Beside each other, unless the server has shown that it cannot have two calls at once."""
        names = [name for name in probes.SOCKETS if name in self._needed]
        if not names:
            return
        self._log(f"{len(names)} sockets: {', '.join(names)}")
        todo = [probes.SOCKETS[name](desk, self.facts) for name in names]
        if self._keeps_up:
            await asyncio.gather(*todo)
        else:
            for probe in todo:
                await probe

    @property
    def _keeps_up(self) -> bool:
        second, blocking = (check.judge(self.facts) for check in (call_checks.second_call, call_checks.blocking))
        slow = blocking.verdict is Verdict.WARN or blocking.says == call_checks.BUSY
        return second.verdict is not Verdict.FAIL and not slow

    def _judge_nothing(self, check: Check) -> Judgement:
        return check.judge(self.facts) if check.id == "webhook" else untested(NOBODY)


async def examine(target: Target, checks: Collection[Check] = CHECKS) -> list[Result]:
    """What is right and wrong about a server, check by check."""
    return await Examination(target, checks).run()
