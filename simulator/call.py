"""The call: fetches documents and runs their verbs, while the caller talks. https://www.twilio.com/docs/voice/twiml."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from urllib.parse import urljoin, urlsplit

from simulator import parameters
from simulator.audio import SAMPLE_RATE, tone
from simulator.caller import FRAME_SECONDS, Caller
from simulator.carrier import ABNORMAL, Answer, CallFailed, Carrier, Refused, Unreachable
from simulator.deliveries import Deliveries
from simulator.dialled import Dialled, read_dial
from simulator.documents import StreamNoun, TwimlError, Verb, parse_twiml, read_stream
from simulator.pacer import Lateness
from simulator.report import Report
from simulator.scenario import Scenario, frames_in, new_sid
from simulator.stream import Stream
from simulator.webhooks import Web


MAX_STREAMS = 10
MAX_TRACKS = 4
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
        self._web = Web(scenario.server, scenario.auth_token, scenario.insecure, carrier)
        self._url = scenario.voice_url
        self._attempts = self._redirects = 0
        self._broken = ""  # why the last stream ended badly: an error, unless another stream takes over
        self._replacement: Document | None = None
        self._posts: list[asyncio.Task[None]] = []
        self._callbacks = Deliveries(scenario.callbacks, scenario.seed)
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
        try:
            stream = self._new_stream(verb, bidirectional=False)
        except CallFailed as failure:
            raise ValueError(str(failure)) from None
        self._posts.append(asyncio.create_task(self._start_late(stream)))
        return stream

    def stop_stream(self, name: str) -> Stream | None:
        """Stops a <Start> stream of that SID or name through the REST API; None if there is none."""
        for stream in self.caller.streams:
            if not stream.bidirectional and not stream.over.is_set() and name in (stream.report.sid, stream.name):
                self._posts.append(asyncio.create_task(self._close(stream)))
                return stream
        return None

    async def run(self) -> Report:
        async with self._web:
            began = time.monotonic()
            try:
                reachable = await self._answer()
                await self._end(began, reachable)
            finally:
                for stream in self.caller.streams:
                    stream.cut()
                    stream.finish()
                for post in self._posts:
                    post.cancel()
                self._callbacks.cancel()
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
                await self._request(self._url, form)
            document = await self._fetch(self._url, form)
            verbs = _names(document)
            while document and not self.caller.gone:
                document = await self._run(document)
            if not self._attempts and not self.caller.gone:
                self._fail(f"the server answered {verbs} and opened no stream")
        except CallFailed as failure:
            self._fail(str(failure))
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
        answer = await self._request(url, form, method)
        where = f"the webhook {method.upper()} {urlsplit(url).path}"
        if answer.status != 200:
            raise CallFailed(f"{where} was answered {answer.status}{_because(answer, url)}")
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
        if stream := await self._open(verb, bidirectional=True):
            await self.caller.talk(lambda: self._is_redirected or stream.over.is_set() or self._is_deaf(stream))
            await self._close(stream)
        if self._is_redirected:
            return None
        return None if self.caller.gone or not verb.get("action") else await self._follow(verb, verb.get("action"))

    async def _start(self, verb: Verb) -> None:
        if not await self._open(verb, bidirectional=False):
            self._fail(self._broken)
            self._broken = ""

    async def _start_late(self, stream: Stream) -> None:
        """One that cannot be opened is the debugger's business: the call goes on."""
        try:
            opened = await self._open_socket(stream)
        except CallFailed as failure:
            self._broken = str(failure)
            opened = None
        if opened is None:
            self.report.warnings.append(f"the stream that REST asked for did not open: {self._broken}")
            self._broken = ""

    async def _stop(self, verb: Verb) -> None:
        name = noun.get("name") if (noun := verb.noun("Stream")) else ""
        for stream in [stream for stream in self.caller.streams if stream.name == name]:
            await self._close(stream)

    async def _dial(self, verb: Verb) -> Document | None:
        """https://www.twilio.com/docs/voice/twiml/dial: the next verb when it is over, or `action`.

        That is asked too if the caller hangs up meanwhile; its document is run by nobody then.
        """
        try:
            number = read_dial(verb)
        except TwimlError as error:
            raise CallFailed(f"the TwiML cannot be used: {error}") from None
        self.report.dialled.append(number)
        began, planned = self.caller.position, self._planned()
        self.log(f"{number} is dialled: {planned.status}")
        await self._on_the_phone(verb, planned)
        if self._is_redirected or not verb.get("action"):
            return None
        seconds = round((self.caller.position - began) * FRAME_SECONDS)
        outcome = {"DialCallSid": new_sid("CA"), "DialCallStatus": planned.status}
        if planned.is_answered:
            outcome["DialCallDuration"] = str(seconds)
        document = await self._follow(verb, verb.get("action"), outcome)
        return None if self.caller.gone else document

    def _planned(self) -> Dialled:
        """What becomes of the next number: what the scenario says, its last word again and again."""
        at = min(len(self.report.dialled), len(self.scenario.dial)) - 1
        return self.scenario.dial[at] if self.scenario.dial else Dialled()

    async def _on_the_phone(self, verb: Verb, planned: Dialled) -> None:
        """Somebody answers, and hangs up after so long, or when both have said everything; or it rings in vain."""
        began, says = self.caller.position, self.scenario.callee_audio or tone(350, 3)
        until = began + round(planned.rings(verb) / FRAME_SECONDS)
        if planned.is_answered:
            until = max(self.scenario.frames, began + frames_in(says)) if planned.seconds is None else until
            self.caller.connect(says)
        await self.caller.talk(lambda: self._is_redirected or self.caller.position >= until, stays=True)
        self.caller.connect(b"")

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

    # --- Streams

    async def _open(self, verb: Verb, bidirectional: bool) -> Stream | None:
        """None: the handshake failed, and the document goes on."""
        return await self._open_socket(self._new_stream(verb, bidirectional))

    async def _open_socket(self, stream: Stream) -> Stream | None:
        try:
            connection = await self._web.socket(stream.noun.url, stream, self.scenario.silence_timeout or None)
        except Refused as refusal:
            self._broken = str(refusal)
            self._tell(stream, "stream-error", refusal.code)
            return None
        stream.open(connection)
        if self._broken:
            self.report.warnings.append(f"another stream took over after: {self._broken}")
            self._broken = ""
        self.report.streams.append(stream.report)
        self.caller.streams.append(stream)
        self._tell(stream, "stream-started")
        self.caller.note("stream", sid=stream.report.sid)
        self.log(f"stream {stream.report.sid} opened at {stream.noun.url}")
        return stream

    def _new_stream(self, verb: Verb, bidirectional: bool) -> Stream:
        self._attempts += 1
        if self._attempts > MAX_STREAMS:
            raise CallFailed(self._broken or f"the server opened more than {MAX_STREAMS} streams in one call")
        try:
            noun = read_stream(verb, self._url)
        except TwimlError as error:
            raise CallFailed(f"the TwiML cannot be used: {error}") from None
        self._check_limits(noun, bidirectional)
        self.report.warnings += noun.warnings
        self._check_host(noun.url)
        return Stream(noun, self.scenario, bidirectional, self.log, self._note_of(self.caller.seconds))

    def _note_of(self, began: float) -> Callable[[str, int, dict[str, object]], None]:
        """Puts what a stream tells, in samples of its own, on the call's clock."""
        return lambda kind, at, facts: self.caller.note(kind, round(1000 * (began + at / SAMPLE_RATE), 3), **facts)

    def _check_limits(self, noun: StreamNoun, bidirectional: bool) -> None:
        """https://www.twilio.com/docs/voice/twiml/stream: a name is one live stream's, and four tracks are forked."""
        live = [stream for stream in self.caller.streams if not stream.over.is_set()]
        if noun.name and noun.name in [stream.name for stream in live]:
            raise CallFailed(f"a stream named {noun.name!r} is live already: names are unique in a call")
        tracks = sum(len(stream.noun.tracks) for stream in live if not stream.bidirectional)
        if not bidirectional and tracks + len(noun.tracks) > MAX_TRACKS:
            raise CallFailed(f"more than {MAX_TRACKS} tracks of one call")

    def _is_deaf(self, stream: Stream) -> bool:
        """False, or the call fails because the server never said a thing."""
        if self.caller.waits_for(stream) and stream.seconds >= self.scenario.silence_timeout:
            first = f"in the first {self.scenario.silence_timeout:g} s"
            if mistakes := stream.report.mistakes:
                raise CallFailed(f"Twilio rejects all that the server sent {first}: {mistakes[0]}")
            raise CallFailed(f"the server went silent: no media, mark or clear {first}")
        return False

    async def _close(self, stream: Stream) -> None:
        """Ends a stream from our side if it still runs, and judges how it ended."""
        if not await stream.close():
            self._fail("the server went silent: it did not answer the close of the socket")
        if stream not in self.caller.streams:
            return  # the call ended while REST stopped it
        self.caller.streams.remove(stream)
        self.caller.answered |= stream.has_spoken
        report = stream.finish()
        self.report.warnings += report.warnings
        self._judge(stream)
        if report.mistakes:
            first, count = report.mistakes[0], report.rejected
            self._fail(f"the server sent {count} message(s) that Twilio rejects; first: {first}")

    def _judge(self, stream: Stream) -> None:
        report = stream.report
        if report.closed_by == "caller" and not stream.was_cut:
            return self._tell(stream, "stream-stopped")
        if report.closed_by == "server":
            self.log(f"the server closed the socket with {report.closed_code}")
        if report.closed_code == 1000:
            self.report.ended = f"the server closed the stream after {self.seconds:.1f} s"
            return self._tell(stream, "stream-stopped")
        code = "31903 Broken Pipe" if report.closed_code == ABNORMAL else "31921 Close Error"
        self._tell(stream, "stream-error", code)
        if any(other.name == stream.name for other in self.caller.streams):
            self.report.warnings.append(f"another stream took over after: {self._how_it_broke(stream, code)}")
        elif not stream.was_cut:
            self._broken = self._how_it_broke(stream, code)

    def _how_it_broke(self, stream: Stream, code: str) -> str:
        if isinstance(stream.error, TimeoutError):
            return "the server went silent: it did not answer a ping"
        early = ", before the caller's audio was over" if self.caller.position < self.scenario.frames else ""
        how = "without a close frame" if stream.report.closed_code == ABNORMAL else f"with {stream.report.closed_code}"
        return f"the server closed the socket {how} after {self.seconds:.1f} s{early} ({code})"

    # --- Requests

    async def _request(self, url: str, form: dict[str, str], method: str = "POST") -> Answer:
        self._check_host(url)
        answer = await self._web.request(url, form, method)
        self.report.requests.append((url, answer.status))
        return answer

    def _check_host(self, url: str) -> None:
        host, public = urlsplit(url).netloc, urlsplit(self.scenario.public_url).netloc
        warning = f"{host} is not the host of PUBLIC_URL ({public}); dialled was {self.scenario.server} all the same"
        if self.scenario.server and host != public and warning not in self.report.warnings:
            self.report.warnings.append(warning)

    def _tell(self, stream: Stream, event: str, error: str = "") -> None:
        """A stream's status callback, beside the call: nothing waits for it."""
        if event != "stream-started" and (last := self.scenario.last_stream_event):
            event, error = last, (error or "31921 Close Error") if last == "stream-error" else ""
            if last == "stream-started":
                return  # and nothing after it, ever
        if address := stream.noun.status_callback:
            form = parameters.stream(self.scenario, stream.report.sid, stream.name, event, error)
            method = stream.noun.status_callback_method
            self._callbacks.add(lambda: self._notify(address, form, method))

    async def _notify(self, url: str, form: dict[str, str], method: str = "POST") -> None:
        """A callback. https://www.twilio.com/docs/voice/api/call-resource: 204, or TwiML."""
        what = form.get("StreamEvent") or form["CallStatus"]
        try:
            answer = await self._request(url, form, method)
        except CallFailed as failure:
            return self._fail(f"status callback {what}: {failure}")
        if answer.status not in (200, 204):
            self._fail(f"the status callback {what} was answered {answer.status}{_because(answer, url)}")

    async def _end(self, began: float, reachable: bool) -> None:
        for stream in list(self.caller.streams):
            await self._close(stream)
        if self._broken:
            self._fail(self._broken)
        if reachable and self.scenario.status_callback:
            form = parameters.completed(self.scenario, time.monotonic() - began)
            self._callbacks.add(lambda: self._notify(self.scenario.status_callback_url, form))
        await asyncio.gather(*self._posts)
        await self._callbacks.finish()
        over = "" if self.report.errors else "the document was over"
        self.report.ended = self.caller.gone or self.report.ended or over

    def _fail(self, reason: str) -> None:
        if reason not in self.report.errors:
            self.report.errors.append(reason)


def _names(document: Document) -> str:
    return ", ".join(map(str, document)) or "an empty <Response>"


def _because(answer: Answer, url: str) -> str:
    """What the server says about it, or what it probably is."""
    said = f": {answer.first_line}" if answer.first_line else ""
    if answer.status == 400 and not said:
        said = " (does the server's ALLOWED_HOSTS have the host that was dialled?)"
    if answer.status == 403:
        said += f" (is {url} signed with the server's own PUBLIC_URL and TWILIO_AUTH_TOKEN?)"
    if 300 <= answer.status < 400:
        said += ": a redirected POST loses its body"
    return said
