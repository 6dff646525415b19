"""The streams of one call: opened as its documents and the REST API say, and judged by how they end."""

import asyncio
from collections.abc import Callable

from simulator import parameters
from simulator.audio import SAMPLE_RATE
from simulator.caller import Caller
from simulator.carrier import ABNORMAL, CallFailed, Refused
from simulator.documents import StreamNoun, TwimlError, Verb, read_stream
from simulator.report import Report
from simulator.requests import Requests
from simulator.scenario import Scenario
from simulator.stream import Stream


MAX_STREAMS = 10
MAX_TRACKS = 4


class Streams:
    """Those that are open are the caller's, who speaks into them. What goes wrong is on the call's report."""

    def __init__(
        self, scenario: Scenario, caller: Caller, report: Report, requests: Requests, log: Callable[[str], None]
    ) -> None:
        self._scenario, self._caller, self._report, self._requests = scenario, caller, report, requests
        self._log = log
        self.attempts = 0
        self._broken = ""  # why the last stream ended badly: an error, unless another stream takes over
        self._orders: list[asyncio.Task[None]] = []  # those of the REST API

    # --- for the documents; `base` is the address of the one that runs

    async def open(self, verb: Verb, base: str) -> Stream | None:
        """A <Connect> stream. None: the handshake failed, and the document goes on."""
        return await self._open(self._new(verb, base, bidirectional=True))

    async def start(self, verb: Verb, base: str) -> None:
        """A <Start> stream; the document goes on whether it opens or not."""
        if not await self._open(self._new(verb, base, bidirectional=False)):
            self._fail_if_broken()

    async def stop(self, name: str) -> None:
        for stream in [stream for stream in self._caller.streams if stream.name == name]:
            await self.close(stream)

    def is_deaf(self, stream: Stream) -> bool:
        """False, or the call fails because the server never said a thing."""
        if self._caller.waits_for(stream) and stream.seconds >= self._scenario.silence_timeout:
            first = f"in the first {self._scenario.silence_timeout:g} s"
            if mistakes := stream.report.mistakes:
                raise CallFailed(f"Twilio rejects all that the server sent {first}: {mistakes[0]}")
            raise CallFailed(f"the server went silent: no media, mark or clear {first}")
        return False

    async def close(self, stream: Stream) -> None:
        """Ends a stream from our side if it still runs, and judges how it ended."""
        if not await stream.close():
            self._report.fail("the server went silent: it did not answer the close of the socket")
        if stream not in self._caller.streams:
            return  # the call ended while REST stopped it
        self._caller.streams.remove(stream)
        self._caller.answered |= stream.has_spoken
        report = stream.finish()
        self._report.warnings += report.warnings
        self._judge(stream)
        if report.mistakes:
            first, count = report.mistakes[0], report.rejected
            self._report.fail(f"the server sent {count} message(s) that Twilio rejects; first: {first}")

    # --- for the REST API

    def order(self, verb: Verb, base: str) -> Stream:
        """Starts a <Start> stream beside whatever the call does. ValueError: not like this."""
        try:
            stream = self._new(verb, base, bidirectional=False)
        except CallFailed as failure:
            raise ValueError(str(failure)) from None
        self._orders.append(asyncio.create_task(self._open_late(stream)))
        return stream

    def order_stop(self, name: str) -> Stream | None:
        """Stops a <Start> stream of that SID or name; None if there is none."""
        for stream in self._caller.streams:
            if not stream.bidirectional and not stream.over.is_set() and name in (stream.report.sid, stream.name):
                self._orders.append(asyncio.create_task(self.close(stream)))
                return stream
        return None

    # --- at the end of the call

    async def close_all(self) -> None:
        for stream in list(self._caller.streams):
            await self.close(stream)
        self._fail_if_broken()

    async def settle(self) -> None:
        """Returns when all is done that the REST API has ordered."""
        await asyncio.gather(*self._orders)

    def abandon(self) -> None:
        """Lets go of whatever is still open, without a word to the server."""
        for stream in self._caller.streams:
            stream.cut()
            stream.finish()
        for order in self._orders:
            order.cancel()

    # --- how one begins

    def _new(self, verb: Verb, base: str, bidirectional: bool) -> Stream:
        self.attempts += 1
        if self.attempts > MAX_STREAMS:
            raise CallFailed(self._broken or f"the server opened more than {MAX_STREAMS} streams in one call")
        try:
            noun = read_stream(verb, base)
        except TwimlError as error:
            raise CallFailed(f"the TwiML cannot be used: {error}") from None
        self._check_limits(noun, bidirectional)
        self._report.warnings += noun.warnings
        self._requests.check_host(noun.url)
        return Stream(noun, self._scenario, bidirectional, self._log, self._note_of(self._caller.seconds))

    def _note_of(self, began: float) -> Callable[[str, int, dict[str, object]], None]:
        """Puts what a stream tells, in samples of its own, on the call's clock."""
        return lambda kind, at, facts: self._caller.note(kind, round(1000 * (began + at / SAMPLE_RATE), 3), **facts)

    def _check_limits(self, noun: StreamNoun, bidirectional: bool) -> None:
        """https://www.twilio.com/docs/voice/twiml/stream: a name is one live stream's, and four tracks are forked."""
        live = [stream for stream in self._caller.streams if not stream.over.is_set()]
        if noun.name and noun.name in [stream.name for stream in live]:
            raise CallFailed(f"a stream named {noun.name!r} is live already: names are unique in a call")
        tracks = sum(len(stream.noun.tracks) for stream in live if not stream.bidirectional)
        if not bidirectional and tracks + len(noun.tracks) > MAX_TRACKS:
            raise CallFailed(f"more than {MAX_TRACKS} tracks of one call")

    async def _open(self, stream: Stream) -> Stream | None:
        try:
            connection = await self._requests.socket(stream.noun.url, stream)
        except Refused as refusal:
            self._broken = str(refusal)
            self._tell(stream, "stream-error", refusal.code)
            return None
        stream.open(connection)
        if self._broken:
            self._report.warnings.append(f"another stream took over after: {self._broken}")
            self._broken = ""
        self._report.streams.append(stream.report)
        self._caller.streams.append(stream)
        self._tell(stream, "stream-started")
        self._caller.note("stream", sid=stream.report.sid)
        self._log(f"stream {stream.report.sid} opened at {stream.noun.url}")
        return stream

    async def _open_late(self, stream: Stream) -> None:
        """One that cannot be opened is the debugger's business: the call goes on."""
        try:
            opened = await self._open(stream)
        except CallFailed as failure:
            self._broken = str(failure)
            opened = None
        if opened is None:
            self._report.warnings.append(f"the stream that REST asked for did not open: {self._broken}")
            self._broken = ""

    # --- how one ended

    def _judge(self, stream: Stream) -> None:
        report = stream.report
        if report.closed_by == "caller" and not stream.was_cut:
            return self._tell(stream, "stream-stopped")
        if report.closed_by == "server":
            self._log(f"the server closed the socket with {report.closed_code}")
        if report.closed_code == 1000:
            self._report.ended = f"the server closed the stream after {self._caller.seconds:.1f} s"
            return self._tell(stream, "stream-stopped")
        code = "31903 Broken Pipe" if report.closed_code == ABNORMAL else "31921 Close Error"
        self._tell(stream, "stream-error", code)
        if any(other.name == stream.name for other in self._caller.streams):
            self._report.warnings.append(f"another stream took over after: {self._how_it_broke(stream, code)}")
        elif not stream.was_cut:
            self._broken = self._how_it_broke(stream, code)

    def _how_it_broke(self, stream: Stream, code: str) -> str:
        if isinstance(stream.error, TimeoutError):
            return "the server went silent: it did not answer a ping"
        early = ", before the caller's audio was over" if self._caller.position < self._scenario.frames else ""
        how = "without a close frame" if stream.report.closed_code == ABNORMAL else f"with {stream.report.closed_code}"
        return f"the server closed the socket {how} after {self._caller.seconds:.1f} s{early} ({code})"

    def _fail_if_broken(self) -> None:
        if self._broken:
            self._report.fail(self._broken)
        self._broken = ""

    def _tell(self, stream: Stream, event: str, error: str = "") -> None:
        """A stream's status callback."""
        if event != "stream-started" and (last := self._scenario.last_stream_event):
            event, error = last, (error or "31921 Close Error") if last == "stream-error" else ""
            if last == "stream-started":
                return  # and nothing after it, ever
        if address := stream.noun.status_callback:
            form = parameters.stream(self._scenario, stream.report.sid, stream.name, event, error)
            self._requests.tell(address, form, stream.noun.status_callback_method)
