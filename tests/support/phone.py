"""A phone at the other end of a MediaStream, without a socket or a database: it talks in Twilio's JSON."""

import asyncio
import json
import time
from base64 import b64encode

from calls.media.audio import tone
from calls.media.protocol import StreamProtocol
from calls.security import StreamToken
from calls.server.live_stream import LiveStream
from calls.server.socket import Socket
from calls.streams import MediaStream
from tests.support.line import CONNECTED, DTMF, MARK, MEDIA, PATIENCE, START


CALL = "CA7b1e09d4c2a85f6390d1e4b7a2c8f056"
STREAM = "MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"
LOUD = tone(440, 20, level=0.9)
QUIET = b"\xff\x7e\x7f\xfe" * 40


class Phone:
    """A caller. What the stream sends comes out of `heard`, what the caller does goes straight into the stream."""

    def __init__(self, *, bidirectional=True, resumed=0, more=""):
        self.protocol = StreamProtocol()
        self.protocol.receive(CONNECTED)
        values = {"stream": STREAM, "call": CALL, "token": "t", "tracks": '["inbound"]', "more": more}
        start = self.protocol.receive(START % values).start
        self.sent = []
        #: Hangs up at the first word.
        self.is_impatient = False
        self._news = asyncio.Queue()
        self.number = 1
        facts = {"from_number": "+14155550100", "bidirectional": bidirectional, "resumed": resumed}
        token = StreamToken(call_sid=CALL, handler="test", **facts)
        self.live = LiveStream(token, start, self.protocol, Socket(self._news.get, self._take))
        self.tape = self.live.tape
        self.stream = MediaStream(self.live)

    async def _take(self, frame):
        self.sent.append(json.loads(frame["text"]))
        if self.is_impatient:
            self.hang_up()
        self._news.put_nowait(self.sent[-1])

    async def heard(self, event):
        """Waits for the next message of that kind."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self._news.get())["event"] != event:
                pass
        return message

    def _send(self, template, **values):
        self.number += 1
        rejected = self.protocol.frames_rejected
        self.live.receive(template % {"number": self.number, "stream": STREAM, **values})
        assert self.protocol.frames_rejected == rejected, "the stream has refused it"

    def say(self, audio=QUIET, *, times=1, track="inbound"):
        for _ in range(times):
            encoded = b64encode(audio).decode()
            self._send(MEDIA, track=track, chunk=1, timestamp=20 * self.number, payload=encoded)

    def speak(self, audio):
        """Caller audio in frames of 20 ms, one directly behind the other."""
        for at in range(0, len(audio), 160):
            self.say(audio[at : at + 160])

    async def listened(self):
        """Waits until all whole windows of what the caller said were judged."""
        async with asyncio.timeout(PATIENCE):
            while self.live.ear.waiting:  # noqa: ASYNC110 - the ear tells its listeners of turns only
                await asyncio.sleep(0.005)

    def press(self, digits):
        for digit in digits:
            self._send(DTMF, digit=digit)

    def return_mark(self, name):
        """Whether a mark of that name was on its way."""
        unknown = self.live.unknown_marks
        self._send(MARK, name=name)
        return self.live.unknown_marks == unknown

    async def play_out(self):
        """Twilio has played all: the next mark comes back."""
        self.return_mark((await self.heard("mark"))["mark"]["name"])

    async def taken(self):
        """Waits until the handler has taken everything that came."""
        async with asyncio.timeout(PATIENCE):
            while self.live.inbox:  # noqa: ASYNC110 - the stream tells nobody that its queue is empty
                await asyncio.sleep(0)

    def later(self, milliseconds):
        """So much time has passed on the line, and the caller was there all the time."""
        clock = self.live.clock
        clock._start += 8 * milliseconds
        clock._lead += 8 * milliseconds
        self.live.hearing.note_sign(clock.now(time.monotonic()))

    def hang_up(self):
        self.protocol.stop()
        self.live.fall_silent()

    def rows(self, kind):
        """What is recorded of that kind since the last time."""
        return [row for row in self.tape.cut_all() if isinstance(row, kind)]


def begin(coroutine):
    return asyncio.create_task(coroutine)


async def done(task):
    async with asyncio.timeout(PATIENCE):
        return await task
