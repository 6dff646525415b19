"""What one call asks of its server: every request is on its report, and so is an answer that is wrong."""

from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit

from simulator.carrier import Answer, CallFailed, Carrier, Connection, Listener
from simulator.deliveries import Deliveries
from simulator.report import Report
from simulator.scenario import Scenario
from simulator.webhooks import Web


class Requests:
    """`async with` them: requests and sockets that the call waits for, and callbacks beside it."""

    def __init__(self, scenario: Scenario, report: Report, carrier: Carrier | None = None) -> None:
        """`carrier`: how they reach the server; over TCP if there is none."""
        self._scenario, self._report = scenario, report
        self._web = Web(scenario.server, scenario.auth_token, scenario.insecure, carrier)
        self._callbacks = Deliveries(scenario.callbacks, scenario.seed)

    async def __aenter__(self) -> Self:
        await self._web.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._web.__aexit__(None, None, None)

    async def ask(self, url: str, form: Mapping[str, str], method: str = "POST") -> Answer:
        """CallFailed if there is no answer."""
        self.check_host(url)
        answer = await self._web.request(url, form, method)
        self._report.requests.append((url, answer.status))
        return answer

    async def socket(self, url: str, listener: Listener) -> Connection:
        """The upgraded socket; Refused says why not. A server that has nothing to say for too long is pinged."""
        return await self._web.socket(url, listener, self._scenario.silence_timeout or None)

    def check_host(self, url: str) -> None:
        """Warns of an address that only works because all of them are dialled at one server."""
        host, public = urlsplit(url).netloc, urlsplit(self._scenario.public_url).netloc
        if self._scenario.server and host != public:
            self._report.warn(
                f"{host} is not the host of PUBLIC_URL ({public}); dialled was {self._scenario.server} all the same"
            )

    def tell(self, url: str, form: Mapping[str, str], method: str = "POST") -> None:
        """A status callback, beside the call: nothing waits for it before `finish`."""
        self._callbacks.add(lambda: self.deliver(url, form, method))

    async def deliver(self, url: str, form: Mapping[str, str], method: str = "POST") -> None:
        """One callback, now. https://www.twilio.com/docs/voice/api/call-resource: the answer is 204, or TwiML."""
        what = form.get("StreamEvent") or form["CallStatus"]
        try:
            answer = await self.ask(url, form, method)
        except CallFailed as failure:
            return self._report.fail(f"status callback {what}: {failure}")
        if answer.status not in (200, 204):
            self._report.fail(f"the status callback {what} was answered {answer.status}{because(answer, url)}")

    async def finish(self) -> None:
        """The call is over: returns when every callback is delivered."""
        await self._callbacks.finish()

    def cancel(self) -> None:
        """What is not delivered by now never will be."""
        self._callbacks.cancel()


def because(answer: Answer, url: str) -> str:
    """What the server says about an answer that is not 200, or what it probably is."""
    said = f": {answer.first_line}" if answer.first_line else ""
    if answer.status == 400 and not said:
        said = " (does the server's ALLOWED_HOSTS have the host that was dialled?)"
    if answer.status == 403:
        said += f" (is {url} signed with the server's own PUBLIC_URL and TWILIO_AUTH_TOKEN?)"
    if 300 <= answer.status < 400:
        said += ": a redirected POST loses its body"
    return said
