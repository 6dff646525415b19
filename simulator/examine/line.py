"""A socket on which the examination says what it wants, message by message, and hears what comes back."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from simulator import messages
from simulator.audio import FRAME_SAMPLES, SILENCE
from simulator.caller import FRAME_SECONDS, FRAME_TICKS
from simulator.carrier import Connection
from simulator.examine.target import Desk
from simulator.pacer import TICKS, Pacer
from simulator.scenario import Scenario, new_sid
from simulator.webhooks import Web


FRAME = SILENCE * FRAME_SAMPLES
CLOSE_TIMEOUT = 5.0
# Seconds of quiet after which a server is pinged where its reading is tried; it has half as long to answer.
HEARTBEAT = 5.0
# What a server may close an ordinary call with: an orderly end, going away, or no code at all.
ORDERLY = (1000, 1001, 1005)


@dataclass
class Heard:
    """What a server did on a line. Seconds are since it was opened."""

    sid: str
    sent: list[tuple[float, str]] = field(default_factory=list)
    received: list[tuple[float, str]] = field(default_factory=list)
    refused: str = ""  # the handshake, and with what
    closed_at: float | None = None  # by the server, before the line was hung up
    code: int | None = None
    answered_close: bool = True
    is_deaf: bool = False  # it did not answer a ping
    late: float = 0.0  # seconds that a frame of ours was late at worst
    at: dict[str, float] = field(default_factory=dict)  # moments that the probe has noted

    @property
    def is_broken(self) -> bool:
        """Whether the server ended it as no orderly call ends."""
        return self.closed_at is not None and self.code not in ORDERLY

    @property
    def ending(self) -> str:
        how = "without a close frame (1006)" if self.code == 1006 else f"with {self.code}"
        return f"the server closed the socket {how} at {self.closed_at:.2f} s"

    def between(self, begin: float, end: float = float("inf")) -> list[str]:
        """What came from the server then, to quote."""
        return [f"{at:.2f} s ← {text}" for at, text in self.received if begin <= at < end]


class Line:
    """Twilio's end of one stream. It numbers what it sends; frames are silence."""

    def __init__(self, desk: Desk, scenario: Scenario) -> None:
        self.heard = Heard(new_sid("MZ"))
        self._desk, self._scenario = desk, scenario
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._over = asyncio.Event()
        self._connection: Connection | None = None
        self._sequence = self._chunk = 0
        self._timestamp = scenario.first_timestamp
        self._hung_up = False

    @property
    def now(self) -> float:
        return self._loop.time() - self._began

    def note(self, moment: str) -> None:
        self.heard.at[moment] = self.now

    # --- What the socket tells (simulator.carrier.Listener)

    def received(self, data: str | bytes) -> None:
        self.heard.received.append((self.now, data if isinstance(data, str) else repr(data)))

    def closed(self, code: int, error: Exception | None) -> None:
        if not self._hung_up:
            self.heard.closed_at, self.heard.code = self.now, code
            self.heard.is_deaf = isinstance(error, TimeoutError)
        self._over.set()

    # --- What is done to it

    async def open(self, url: str, token: str | None = None, heartbeat: float | None = None) -> None:
        """The handshake, signed as by Desk.ask, and `connected`; Refused says why there is no socket."""
        if token == "":
            self._connection = await self._desk.carrier.upgrade(url, {}, self, heartbeat)
        else:
            web = self._desk.web if token is None else Web("", token, carrier=self._desk.carrier)
            self._connection = await web.socket(url, self, heartbeat)
        self._write(messages.CONNECTED)

    def send(self, message: Callable[[int], str]) -> None:
        """A message with the next number."""
        self._sequence += 1
        self._write(message(self._sequence))

    def _write(self, text: str) -> None:
        assert self._connection is not None, "a line is opened before anything is sent"
        self.heard.sent.append((self.now, text))
        self._connection.send(text)

    def start(self, parameters: dict[str, str], call_sid: str = "") -> None:
        sids = self._scenario.account_sid, call_sid or self._scenario.call_sid
        self.send(lambda number: messages.start(number, self.heard.sid, *sids, ["inbound"], parameters))

    def frame(self, skipped_ms: int = 0) -> None:
        self._chunk += 1
        self._timestamp += skipped_ms
        chunk, timestamp, sid = self._chunk, self._timestamp, self.heard.sid
        self.send(lambda number: messages.media(number, sid, "inbound", chunk, timestamp, FRAME))
        self._timestamp += 20

    def stop(self) -> None:
        sids = self._scenario.account_sid, self._scenario.call_sid
        self.send(lambda number: messages.stop(number, self.heard.sid, *sids))
        self.note("stop")

    async def frames(self, seconds: float) -> None:
        """A silent caller, until the server closes; all lines go by one clock."""
        pacer, done = Pacer.running(), self._loop.create_future()
        first = pacer.next_tick()

        def step(number: int = 0) -> None:
            due = first + number * FRAME_TICKS
            self.heard.late = max(self.heard.late, self._loop.time() - due / TICKS)
            if done.done():
                return
            if self._over.is_set() or number * FRAME_SECONDS >= seconds:
                return done.set_result(None)
            self.frame()
            pacer.at(due + FRAME_TICKS, lambda: step(number + 1))

        pacer.at(first, step)
        await done

    async def wait(self, seconds: float) -> bool:
        """Whether the socket has closed by then."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    async def hang_up(self) -> None:
        """`stop`, a close frame, and whether it is answered; then the connection is given up."""
        if self._connection is None:
            return
        if self._sequence and "stop" not in self.heard.at and not self._over.is_set():
            self.stop()
        self._hung_up = True
        if not self._over.is_set():
            self.note("close")
            self._connection.close(None)
            self.heard.answered_close = await self.wait(CLOSE_TIMEOUT)
        self._connection.abort()
