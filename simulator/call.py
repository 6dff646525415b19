"""The call: fetches documents and runs their verbs, while the caller talks. https://www.twilio.com/docs/voice/twiml."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from urllib.parse import urljoin, urlsplit

from simulator import parameters
from simulator.caller import FRAME_SECONDS, Caller
from simulator.carrier import CallFailed, Carrier, Unreachable
from simulator.dialling import Dialling
from simulator.documents import TwimlError, Verb, parse_twiml
from simulator.pacer import Lateness
from simulator.report import Report
from simulator.requests import Requests, because
from simulator.scenario import Scenario
from simulator.stream import Stream
from simulator.streams import Streams


MAX_REDIRECTS = 10  # https://www.twilio.com/docs/api/errors/11215

Document = list[Verb]


async def simulate(scenario: Scenario, log: Callable[[str], None] = lambda line: None) -> Report:
    """Places one call and returns when it is over. What the server does wrong is in `Report.errors`, never raised."""
    return await SimulatedCall(scenario, log).run()


class SimulatedCall:
    """One call. `log` gets a line for everything that happens; `hang_up()` ends the call from outside.

    `carrier`: how requests and sockets reach the server; over TCP if there is none.
    """

    def __init__(
        self, scenario: Scenario, log: Callable[[str], None] = lambda line: None, carrier: Carrier | None = None
    ) -> None:
        self.scenario, self.log = scenario, log
        self.report = Report(scenario.call_sid, scenario.name)
        self.caller = Caller(scenario, self.report, log)
        self._requests = Requests(scenario, self.report, carrier)
        self._streams = Streams(scenario, self.caller, self.report, self._requests, log)
        self._dialling = Dialling(scenario, self.caller, self.report, log)
        self._url = scenario.voice_url
        self._redirects = 0
        self._replacement: Document | None = None
        self._verbs: dict[str, Callable[[Verb], Awaitable[Document | None]]] = {
            "Connect": self._connect,
            "Dial": self._dial,
            "Hangup": self._hangup,
            "Pause": self._pause,
            "Play": self._listen,
            "Redirect": self._redirect,
            "Reject": self._reject,
            "Say": self._listen,
            "Start": self._start,
            "Stop": self._stop,
        }

    @property
    def seconds(self) -> float:
        """How long the caller has been talking to streams."""
        return self.caller.seconds

    @property
    def _is_redirected(self) -> bool:
        return self._replacement is not None

    def hang_up(self, why: str = "hung up") -> None:
        """The caller hangs up before the next frame."""
        self.caller.hang_up(why)

    def redirect(self, document: Document) -> None:
        """The call leaves whatever it does for another document, as an update by REST makes it: no `action`."""
        self._replacement = document

    def obey(self, form: Mapping[str, list[str]]) -> None:
        """An update of the call through the REST API."""
        if "Status" in form:
            self.hang_up("was hung up on by the API")
        elif "Twiml" in form:
            self.redirect(parse_twiml(form["Twiml"][0].encode(), "text/xml"))
        elif "Url" in form:
            url = escape(urlsplit(form["Url"][0]).geturl())
            document = f'<Response><Redirect method="{form.get("Method", ["POST"])[0]}">{url}</Redirect></Response>'
            self.redirect(parse_twiml(document.encode(), "text/xml"))

    def start_stream(self, verb: Verb) -> Stream:
        """Starts a <Start> stream through the REST API, beside whatever the call does. ValueError: not like this."""
        return self._streams.order(verb, self._url)

    def stop_stream(self, name: str) -> Stream | None:
        """Stops a <Start> stream of that SID or name through the REST API; None if there is none."""
        return self._streams.order_stop(name)

    async def run(self) -> Report:
        async with self._requests:
            began = time.monotonic()
            try:
                reachable = await self._answer()
                await self._end(began, reachable)
            finally:
                self._streams.abandon()
                self._requests.cancel()
                self.report.lateness = Lateness.of(self.caller.lateness)
        if self.scenario.judge is not None:
            await asyncio.to_thread(self.scenario.judge, self.report)
        return self.report

    # --- Documents. A verb that returns one replaces the document that runs; an empty one ends the call.

    async def _answer(self) -> bool:
        """Runs documents until the call is over. False: nobody listens at the server's address."""
        try:
            status = "ringing" if self.scenario.direction == "inbound" else "in-progress"
            form = parameters.first(self.scenario, status)
            if self.scenario.repeat_webhook:
                await self._requests.ask(self._url, form)
            document = await self._fetch(self._url, form)
            verbs = _names(document)
            while document and not self.caller.gone:
                document = await self._run(document)
            if not self._streams.attempts and not self.caller.gone:
                self.report.fail(f"the server answered {verbs} and opened no stream")
        except CallFailed as failure:
            self.report.fail(str(failure))
            return not isinstance(failure, Unreachable)
        return True

    async def _run(self, document: Document) -> Document:
        for verb in document:
            if (run := self._verbs.get(verb.name)) is None:
                raise CallFailed(f"the simulator does not know the verb {verb} (12200)")
            replaced = await run(verb)
            if self._replacement is not None:
                replaced, self._replacement = self._replacement, None
            if replaced is not None:
                return replaced
            if self.caller.gone:
                break
        return []

    async def _fetch(self, url: str, form: dict[str, str], method: str = "POST") -> Document:
        answer = await self._requests.ask(url, form, method)
        where = f"the webhook {method.upper()} {urlsplit(url).path}"
        if answer.status != 200:
            raise CallFailed(f"{where} was answered {answer.status}{because(answer, url)}")
        self._url = url
        self.report.twiml.append(answer.body.decode(errors="replace"))
        try:
            document = parse_twiml(answer.body, answer.content_type)
        except TwimlError as error:
            raise CallFailed(f"{where} was answered with {error}") from None
        self.log(f"{method.upper()} {urlsplit(url).path}: {_names(document)}")
        self.caller.note("document", verbs=_names(document))
        return document

    async def _follow(self, verb: Verb, url: str, extra: dict[str, str] | None = None) -> Document:
        status = "completed" if self.caller.gone else "in-progress"
        form = parameters.voice(self.scenario, status) | (extra or {})
        return await self._fetch(urljoin(self._url, url), form, verb.get("method", "POST"))

    async def _connect(self, verb: Verb) -> Document | None:
        """https://www.twilio.com/docs/voice/twiml/connect: blocks until the socket is closed, then `action`."""
        if stream := await self._streams.open(verb, self._url):
            await self.caller.talk(lambda: self._is_redirected or stream.over.is_set() or self._streams.is_deaf(stream))
            await self._streams.close(stream)
        if self._is_redirected:
            return None
        return None if self.caller.gone or not verb.get("action") else await self._follow(verb, verb.get("action"))

    async def _start(self, verb: Verb) -> None:
        await self._streams.start(verb, self._url)

    async def _stop(self, verb: Verb) -> None:
        await self._streams.stop(noun.get("name") if (noun := verb.noun("Stream")) else "")

    async def _dial(self, verb: Verb) -> Document | None:
        """https://www.twilio.com/docs/voice/twiml/dial: the next verb when it is over, or `action`.

        That is asked too if the caller hangs up meanwhile; its document is run by nobody then.
        """
        outcome = await self._dialling.dial(verb, lambda: self._is_redirected)
        if self._is_redirected or not verb.get("action"):
            return None
        document = await self._follow(verb, verb.get("action"), outcome)
        return None if self.caller.gone else document

    async def _pause(self, verb: Verb) -> None:
        until = self.caller.position + round(float(verb.get("length", "1")) / FRAME_SECONDS)
        await self.caller.talk(lambda: self._is_redirected or self.caller.position >= until)

    async def _listen(self, verb: Verb) -> None:
        self.log(f"the caller hears {verb} {verb.text}".rstrip())

    async def _redirect(self, verb: Verb) -> Document:
        self._redirects += 1
        if self._redirects > MAX_REDIRECTS:
            raise CallFailed(f"more than {MAX_REDIRECTS} redirects (11215)")
        return await self._follow(verb, verb.text)

    async def _hangup(self, verb: Verb) -> Document:
        self.report.ended = f"the server hung up after {self.seconds:.1f} s"
        return []

    async def _reject(self, verb: Verb) -> Document:
        raise CallFailed("the server rejected the call")

    # --- The end

    async def _end(self, began: float, reachable: bool) -> None:
        await self._streams.close_all()
        if reachable and self.scenario.status_callback:
            form = parameters.completed(self.scenario, time.monotonic() - began)
            self._requests.tell(self.scenario.status_callback_url, form)
        await self._streams.settle()
        await self._requests.finish()
        over = "" if self.report.errors else "the document was over"
        self.report.ended = self.caller.gone or self.report.ended or over


def _names(document: Document) -> str:
    return ", ".join(map(str, document)) or "an empty <Response>"
