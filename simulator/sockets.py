"""One media stream: its socket, what goes over it, and what it did."""

import asyncio
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import aiohttp
from aiohttp import WSMsgType

from simulator import messages
from simulator.audio import FRAME_SAMPLES, SILENCE
from simulator.documents import StreamNoun
from simulator.messages import BadMessage
from simulator.playbuffer import PlayBuffer
from simulator.scenario import Scenario, StreamReport, new_sid


CLOSE_TIMEOUT = SEND_TIMEOUT = 5.0
NO_STATUS, ABNORMAL = 1005, 1006
MAX_MISTAKES = 20


class Socket(aiohttp.ClientWebSocketResponse):
    """aiohttp's socket, with the two ends of a call that it has no method for."""

    async def send_close(self, code: int | None = None) -> None:
        """A close frame; without a code it is the one that servers see from Twilio (1005)."""
        await self.send_frame(struct.pack("!H", code) if code else b"", WSMsgType.CLOSE)

    def release(self) -> None:
        """Gives up the TCP connection, after what was sent."""
        self._set_closed()
        self._response.close()

    def abort(self) -> None:
        """Resets the TCP connection: no close frame, and nothing of what still waits."""
        if line := self.get_extra_info("socket"):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self._conn is not None and self._conn.transport is not None:
            self._conn.transport.abort()
        self.release()


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
    ) -> None:
        self.noun, self.bidirectional = noun, bidirectional
        self.report = StreamReport(new_sid("MZ"), noun.tracks, noun.parameters)
        self.name = noun.name or self.report.sid
        self.buffer = PlayBuffer()
        self.over = asyncio.Event()
        self.has_spoken = self.was_cut = False
        self.error: BaseException | None = None
        self._sids = scenario.account_sid, scenario.call_sid
        self._first_timestamp, self._log = scenario.first_timestamp, log
        self._sequence = self._chunk = self._frames = 0
        self._sent = bytearray()
        self._outbound: list[tuple[int, bytes]] = []
        self._stopped = False
        self._lock = asyncio.Lock()
        self._queued = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def seconds(self) -> float:
        return self._frames / 50

    async def open(self, connection: Socket) -> None:
        """connected and start, back to back; from here on the server is listened to."""
        self._socket = connection
        account_sid, call_sid = self._sids
        self._tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._return_marks())]
        await self._send(lambda _: messages.CONNECTED, counted=False)
        sid, tracks, parameters = self.report.sid, self.report.tracks, self.report.parameters
        await self._send(lambda number: messages.start(number, sid, account_sid, call_sid, tracks, parameters))
        self.buffer.restart()

    async def frame(self, inbound: bytes, outbound: bytes = b"", dropped: bool = False) -> None:
        """20 ms of each track that this stream has; the caller's packet may have been lost on its way to Twilio."""
        timestamp = self._first_timestamp + 20 * self._frames
        lanes = {"outbound": outbound, "inbound": b"" if dropped else inbound}
        for track, audio in lanes.items():
            if track in self.report.tracks and audio:
                await self._media(track, timestamp, audio)
        spoken = lanes["inbound"] if "inbound" in self.report.tracks else b""
        self._sent += spoken or SILENCE * FRAME_SAMPLES
        if outbound and "outbound" in self.report.tracks:
            self._outbound.append((self._frames * FRAME_SAMPLES, outbound))
        self.report.frames_dropped += dropped
        self._frames += 1

    async def press(self, digit: str) -> None:
        """Documented for bidirectional streams only."""
        if self.bidirectional:
            await self._send(lambda number: messages.dtmf(number, self.report.sid, digit))

    async def close(self) -> bool:
        """stop, a close frame and the wait for its answer. False: the server did not answer."""
        if self.over.is_set():
            return True
        self.report.closed_by = "caller"
        self.buffer.stop()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._send(lambda number: messages.stop(number, self.report.sid, *self._sids), last=True)
                await self._socket.send_close()
                await self.over.wait()
        except (TimeoutError, ConnectionError):
            self._socket.abort()
            return False
        return True

    def cut(self) -> None:
        """The TCP connection dies."""
        if not self.over.is_set():
            self.was_cut = True
            self.report.closed_by, self.report.closed_code = "caller", ABNORMAL
            self._socket.abort()
            self.over.set()

    async def finish(self) -> StreamReport:
        """Ends the tasks and completes the report; call it once the stream is over."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        self.buffer.stop()
        report, buffer = self.report, self.buffer
        report.sent = bytes(self._sent)
        report.heard = buffer.heard if self.bidirectional else self._outbound
        report.marks, report.unreturned, report.clears = buffer.marks, buffer.unreturned, buffer.clears
        return report

    async def _media(self, track: str, timestamp: int, audio: bytes) -> None:
        self._chunk += 1
        chunk, sid = self._chunk, self.report.sid
        if await self._send(lambda number: messages.media(number, sid, track, chunk, timestamp, audio)):
            self.report.frames_sent += 1

    async def _send(self, message: Callable[[int], str], counted: bool = True, last: bool = False) -> bool:
        """Numbers and sends in one step, so that the numbers on the wire are in order; nothing follows the last one."""
        async with self._lock:
            if self.over.is_set() or self._stopped:
                return False
            self._sequence += counted
            self._stopped = last
            try:
                async with asyncio.timeout(SEND_TIMEOUT):
                    await self._socket.send_str(message(self._sequence))
            except TimeoutError:
                self._warn("31930 Buffer Overflow: the server reads too slowly")
            except (ConnectionError, aiohttp.ClientError):
                return False  # the reading side finds out why, and says so
            return True

    async def _receive(self) -> None:
        try:
            while True:
                message = await self._socket.receive()
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    return await self._closed(message.type, message.data)
                self._take(message.data)
        except (ConnectionError, aiohttp.ClientError) as error:
            await self._closed(WSMsgType.ERROR, error)
        finally:
            self._queued.set()
            self.buffer.stop()
            self.over.set()

    async def _closed(self, kind: WSMsgType, data: Any) -> None:
        """Answers a close frame of the server's; without one the connection has died, or been cut by us."""
        ours = self.report.closed_by == "caller"
        self.report.closed_by = self.report.closed_by or "server"
        self.report.closed_code = (data or NO_STATUS) if kind is WSMsgType.CLOSE else ABNORMAL
        if isinstance(data, aiohttp.WebSocketError):
            self._mistake(f"{messages.PROTOCOL_ERROR}: {data}")
        self.error = self._socket.exception()
        if kind is WSMsgType.CLOSE and not ours:
            try:
                await self._socket.send_close(data or None)
            except (ConnectionError, aiohttp.ClientError) as error:
                self.error = error
        self._socket.release()

    def _take(self, data: str | bytes) -> None:
        if not self.bidirectional:
            self._mistake(f"{messages.PROTOCOL_ERROR}: a <Start> stream takes no messages, and the server sent one")
        elif isinstance(data, bytes):
            self._mistake(f"{messages.MALFORMED}: a binary frame")
        else:
            try:
                self._obey(messages.read(data, self.report.sid))
            except BadMessage as error:
                self._mistake(str(error))

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
            case "clear":
                self.buffer.clear()
                self._log("clear")
        self._queued.set()

    def _play(self, audio: bytes) -> None:
        if len(audio) % FRAME_SAMPLES:
            self._warn("media that is no multiple of 160 bytes clicks")
        if not self.buffer.play(audio):
            self._warn("31931 Media Discarded: more than 10 minutes of audio waited already")

    def _mistake(self, text: str) -> None:
        if len(self.report.mistakes) < MAX_MISTAKES:
            self.report.mistakes.append(text)
            self._log(text)

    def _warn(self, text: str) -> None:
        if text not in self.report.warnings:
            self.report.warnings.append(text)
            self._log(text)

    async def _return_marks(self) -> None:
        while not self.over.is_set():
            for name in self.buffer.due():
                await self._send(partial(messages.mark, stream_sid=self.report.sid, name=name))
            self._queued.clear()
            wait = self.buffer.next_due()
            try:
                async with asyncio.timeout(wait):
                    await self._queued.wait()
            except TimeoutError:
                continue
