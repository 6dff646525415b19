"""The caller is put through to somebody else: https://www.twilio.com/docs/voice/twiml/dial."""

from collections.abc import Callable

from simulator.audio import tone
from simulator.caller import FRAME_SECONDS, Caller
from simulator.carrier import CallFailed
from simulator.dialled import Dialled, read_dial
from simulator.documents import TwimlError, Verb
from simulator.report import Report
from simulator.scenario import Scenario, frames_in, new_sid


class Dialling:
    """The numbers that one call dials, one after the other, and what becomes of each."""

    def __init__(self, scenario: Scenario, caller: Caller, report: Report, log: Callable[[str], None]) -> None:
        self._scenario, self._caller, self._report, self._log = scenario, caller, report, log

    async def dial(self, verb: Verb, is_redirected: Callable[[], bool]) -> dict[str, str]:
        """What an `action` is told, once it is over or the call is redirected. CallFailed: not like this."""
        try:
            number = read_dial(verb)
        except TwimlError as error:
            raise CallFailed(f"the TwiML cannot be used: {error}") from None
        self._report.dialled.append(number)
        began, planned = self._caller.position, self._planned()
        self._log(f"{number} is dialled: {planned.status}")
        await self._on_the_phone(verb, planned, is_redirected)
        outcome = {"DialCallSid": new_sid("CA"), "DialCallStatus": planned.status}
        if planned.is_answered:
            outcome["DialCallDuration"] = str(round((self._caller.position - began) * FRAME_SECONDS))
        return outcome

    def _planned(self) -> Dialled:
        """What becomes of the next number: what the scenario says, its last word again and again."""
        at = min(len(self._report.dialled), len(self._scenario.dial)) - 1
        return self._scenario.dial[at] if self._scenario.dial else Dialled()

    async def _on_the_phone(self, verb: Verb, planned: Dialled, is_redirected: Callable[[], bool]) -> None:
        """Somebody answers, and hangs up after so long, or when both have said everything; or it rings in vain."""
        began, says = self._caller.position, self._scenario.callee_audio or tone(350, 3)
        until = began + round(planned.rings(verb) / FRAME_SECONDS)
        if planned.is_answered:
            until = max(self._scenario.frames, began + frames_in(says)) if planned.seconds is None else until
            self._caller.connect(says)
        await self._caller.talk(lambda: is_redirected() or self._caller.position >= until, stays=True)
        self._caller.connect(b"")
