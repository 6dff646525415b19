"""A phone at the other end of a MediaStream, without a socket or a database: it talks in Twilio's JSON."""

import asyncio
import json
import time
from base64 import b64encode

from calls.media.audio import tone
from calls.media.playback import StreamClock
from calls.media.protocol import Dtmf, Mark, Media, StreamProtocol
from calls.media.tape import Tape
from calls.security import StreamToken
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
        self.protocol.bidirectional = bidirectional
        self.tape = Tape(STREAM, CALL, start.tracks, bidirectional=bidirectional)
        self.sent = []
        #: Hangs up at the first word.
        self.is_impatient = False
        self._news = asyncio.Queue()
        self.number = 1
        token = StreamToken(call_sid=CALL, handler="test", from_number="+14155550100", resumed=resumed)
        clock = StreamClock(time.monotonic())
        self.stream = MediaStream(token, start, self.protocol, self.tape, self._take, clock)

    async def _take(self, text):
        self.sent.append(json.loads(text))
        if self.is_impatient:
            self.hang_up()
        self._news.put_nowait(self.sent[-1])

    async def heard(self, event):
        """Waits for the next message of that kind."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self._news.get())["event"] != event:
                pass
        return message

    def _arrives(self, template, **values):
        self.number += 1
        return self.protocol.receive(template % {"number": self.number, "stream": STREAM, **values})

    def say(self, audio=QUIET, *, times=1, track="inbound"):
        for _ in range(times):
            encoded = b64encode(audio).decode()
            at = 20 * self.number
            message = self._arrives(MEDIA, track=track, chunk=1, timestamp=at, payload=encoded)
            assert isinstance(message, Media)
            self.stream.push_media(message.media)

    def press(self, digits):
        for digit in digits:
            message = self._arrives(DTMF, digit=digit)
            assert isinstance(message, Dtmf)
            self.stream.push_dtmf(message.dtmf)

    def return_mark(self, name):
        message = self._arrives(MARK, name=name)
        assert isinstance(message, Mark)
        return self.stream.push_mark(message.mark.name)

    async def play_out(self):
        """Twilio has played all: the next mark comes back."""
        self.return_mark((await self.heard("mark"))["mark"]["name"])

    async def taken(self):
        """Waits until the handler has taken everything that came."""
        async with asyncio.timeout(PATIENCE):
            while self.stream._events:  # noqa: ASYNC110 - the stream tells nobody that its queue is empty
                await asyncio.sleep(0)

    def hang_up(self):
        self.protocol.stop()
        self.stream.end()

    def rows(self, kind):
        """What is recorded of that kind since the last time."""
        return [row for row in self.tape.cut_all() if isinstance(row, kind)]


def begin(coroutine):
    return asyncio.create_task(coroutine)


async def done(task):
    async with asyncio.timeout(PATIENCE):
        return await task
