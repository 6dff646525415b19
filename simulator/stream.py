"""One media stream: what goes over its socket, and what it did."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from simulator import messages
from simulator.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE
from simulator.carrier import ABNORMAL, Connection, ProtocolError
from simulator.documents import StreamNoun
from simulator.messages import BadMessage
from simulator.playbuffer import PlayBuffer
from simulator.report import StreamReport, Traced
from simulator.scenario import Scenario, new_sid


CLOSE_TIMEOUT = 5.0
# Bytes of a caller's audio that may wait for a server, 5 s: https://www.twilio.com/docs/api/errors/31930.
MOST_BACKLOG = 5 * 50 * 400
MAX_MISTAKES = 20
SILENT_FRAME = SILENCE * FRAME_SAMPLES

# What a stream tells of itself: a kind, the sample at which it came about, and facts.
Tell = Callable[[str, int, dict[str, object]], None]


class Stream:
    """Speaks Twilio's side of https://www.twilio.com/docs/voice/media-streams/websocket-messages.

    Numbers, reads, plays and returns marks by itself; whoever owns it hands over a frame every 20 ms.
    """

    def __init__(
        self,
        noun: StreamNoun,
        scenario: Scenario,
        bidirectional: bool = True,
        log: Callable[[str], None] = lambda line: None,
        tell: Tell = lambda kind, at, facts: None,
    ) -> None:
        self.noun, self.bidirectional = noun, bidirectional
        self.report = StreamReport(new_sid("MZ"), noun.tracks, noun.parameters)
        self.name = noun.name or self.report.sid
        self.buffer = PlayBuffer(time.monotonic)
        self.over = asyncio.Event()
        self.has_spoken = self.was_cut = False
        self.error: Exception | None = None
        self._scenario, self._log, self._tell = scenario, log, tell
        self._sequence = self._chunk = self._frames = 0
        self._sent = bytearray()
        self._outbound: list[tuple[int, bytes]] = []
        self._stopped = False
        self._mark_timer: asyncio.TimerHandle | None = None
        self._marks_told = 0
        self._opened = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._frames * FRAME_SAMPLES / SAMPLE_RATE

    def open(self, connection: Connection) -> None:
        """connected and start, back to back; from here on the server is listened to."""
        self._connection, self._opened = connection, time.monotonic()
        sids = self._scenario.account_sid, self._scenario.call_sid
        sid, tracks, parameters = self.report.sid, self.report.tracks, self.report.parameters
        self._write(messages.CONNECTED)
        self._send(lambda number: messages.start(number, sid, *sids, tracks, parameters))
        self.buffer.restart()

    def frame(self, inbound: bytes | None, outbound: bytes = b"", dropped: bool = False) -> None:
        """20 ms of each track that this stream has. The caller's packet may be lost, or there is none (None)."""
        if not self._frames:
            self.buffer.restart()
        timestamp = self._scenario.first_timestamp + 20 * self._frames
        spoken = b"" if dropped or inbound is None or "inbound" not in self.report.tracks else inbound
        if outbound and "outbound" in self.report.tracks:
            self._outbound.append((self._frames * FRAME_SAMPLES, outbound))
            self._media("outbound", timestamp, outbound)
        if spoken:
            self._media("inbound", timestamp, spoken)
        self._sent += spoken or SILENT_FRAME
        self.report.frames_dropped += dropped
        self._frames += 1

    def press(self, digit: str) -> None:
        """Documented for bidirectional streams only."""
        if self.bidirectional:
            self._send(lambda number: messages.dtmf(number, self.report.sid, digit))

    async def close(self) -> bool:
        """stop, a close frame and the wait for its answer. False: the server did not answer."""
        if self.over.is_set():
            return True
        self.report.closed_by = "caller"
        self._hush()
        sids = self._scenario.account_sid, self._scenario.call_sid
        self._send(lambda number: messages.stop(number, self.report.sid, *sids))
        self._stopped = True
        self._connection.close(None)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.over.wait()
        except TimeoutError:
            self._connection.abort()
            return False
        return True

    def cut(self) -> None:
        """The TCP connection dies."""
        if not self.over.is_set():
            self.was_cut = True
            self.report.closed_by, self.report.closed_code = "caller", ABNORMAL
            self._connection.abort()
            self._hush()
            self.over.set()

    def finish(self) -> StreamReport:
        """Completes the report; call it once the stream is over. A fault of our own is raised here."""
        self._hush()
        if self.error is not None and not isinstance(self.error, ProtocolError | OSError):
            raise self.error
        report, buffer = self.report, self.buffer
        report.sent = bytes(self._sent)
        report.heard = buffer.heard if self.bidirectional else self._outbound
        report.marks, report.unreturned, report.clears = buffer.marks, buffer.unreturned, buffer.clears
        return report

    def _hush(self) -> None:
        """What has not been heard never will be, and no mark comes back any more."""
        self.buffer.stop()
        self._tell_marks()
        if self._mark_timer is not None:
            self._mark_timer.cancel()

    def _tell_marks(self) -> None:
        """Of each mark, once, what became of it."""
        for name, outcome in self.buffer.marks[self._marks_told :]:
            self._tell("mark", self.buffer.now, {"name": name, "outcome": outcome})
        self._marks_told = len(self.buffer.marks)

    # --- to the server

    def _media(self, track: str, timestamp: int, audio: bytes) -> None:
        self._chunk += 1
        chunk, sid = self._chunk, self.report.sid
        if self.over.is_set() or self._stopped:
            return
        if self._connection.backlog > MOST_BACKLOG:
            return self._warn("31930 Buffer Overflow: the server reads too slowly")
        self._sequence += 1
        self._write(messages.media(self._sequence, sid, track, chunk, timestamp, audio))
        self.report.frames_sent += 1

    def _send(self, message: Callable[[int], str]) -> None:
        """Numbers and sends; nothing follows `stop`."""
        if not self.over.is_set() and not self._stopped:
            self._sequence += 1
            self._write(message(self._sequence))

    def _write(self, text: str) -> None:
        if self._scenario.trace:
            self._trace(True, text)
        self._connection.send(text)

    def _return_marks(self) -> None:
        """Those that are due now; the next one when it is."""
        if self._mark_timer is not None:
            self._mark_timer.cancel()
            self._mark_timer = None
        for name in self.buffer.due():
            self._send(partial(messages.mark, stream_sid=self.report.sid, name=name))
        self._tell_marks()
        if (wait := self.buffer.next_due()) is not None and not self.over.is_set():
            self._mark_timer = asyncio.get_running_loop().call_later(wait, self._return_marks)

    # --- from the server

    def received(self, data: str | bytes) -> None:
        """A message of the server's."""
        if self._scenario.trace:
            self._trace(False, data if isinstance(data, str) else repr(data))
        if self.over.is_set():
            return
        if not self.bidirectional:
            self._mistake(f"{messages.PROTOCOL_ERROR}: a <Start> stream takes no messages, and the server sent one")
        elif isinstance(data, bytes):
            self._mistake(f"{messages.MALFORMED}: a binary frame")
        else:
            try:
                self._obey(messages.read(data, self.report.sid))
            except BadMessage as error:
                self._mistake(str(error))

    def closed(self, code: int, error: Exception | None) -> None:
        """The socket has closed; 1006 without a close frame."""
        if self.over.is_set():
            return
        self.report.closed_by = self.report.closed_by or "server"
        self.report.closed_code, self.error = code, error
        if isinstance(error, ProtocolError) and self.report.closed_by == "server":
            self._mistake(f"{messages.PROTOCOL_ERROR}: {error}")
        self._tell("closed", self.buffer.now, {"by": self.report.closed_by, "code": code})
        self._hush()
        self.over.set()

    def _obey(self, order: messages.Order) -> None:
        if self.report.closed_by:
            return  # it crossed our stop
        self.has_spoken = True
        match order.event:
            case "media":
                self.report.frames_received += 1
                self._play(order.audio)
            case "mark":
                self.buffer.mark(order.name)
                self._return_marks()
            case "clear":
                self.buffer.clear()
                self._log("clear")
                self._tell("clear", self.buffer.now, {})
                self._return_marks()

    def _play(self, audio: bytes) -> None:
        if len(audio) % FRAME_SAMPLES:
            self._warn("media that is no multiple of 160 bytes clicks")
        if not self.buffer.play(audio):
            self._warn("31931 Media Discarded: more than 10 minutes of audio waited already")

    def _mistake(self, text: str) -> None:
        self.report.rejected += 1
        if text not in self.report.mistakes:
            self._log(text)
        if len(self.report.mistakes) < MAX_MISTAKES:
            self.report.mistakes.append(text)

    def _warn(self, text: str) -> None:
        if text not in self.report.warnings:
            self.report.warnings.append(text)
            self._log(text)

    def _trace(self, sent: bool, text: str) -> None:
        self.report.trace.append(Traced(time.monotonic() - self._opened, sent, text))
