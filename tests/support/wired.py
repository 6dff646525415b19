"""A stream behind uvicorn's protocol on one end of a socket pair, on asyncio's loop or uvloop. There is no server."""

import asyncio
import logging
import socket
from contextlib import asynccontextmanager

import uvicorn
from uvicorn.server import ServerState

from calls.media.protocol import StreamProtocol
from calls.security import StreamToken
from calls.server.live_stream import LiveStream
from calls.server.socket import Socket
from calls.sockets.frames import EXTENSION
from calls.sockets.uvicorn import MediaWebSocket
from calls.streams import MediaStream
from tests.support.line import CONNECTED, MEDIA, PATIENCE, START
from tests.support.masking import masked
from tests.support.phone import CALL, STREAM
from tests.support.quick import PAYLOAD


HANDSHAKE = (
    b"GET /connection HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nobody tells of what happens below uvicorn
            await asyncio.sleep(0)


class Wired:
    """`stream` is the handler's, `protocol` uvicorn's, `there` Twilio's end of the wire."""

    def __init__(self, *, is_quick=True, buffer=0):
        self.is_quick = is_quick
        self.ours, self.there = socket.socketpair()
        if buffer:
            self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.there.setblocking(False)
        options = {"ws_ping_interval": None, "log_config": None, "lifespan": "off"}
        config = uvicorn.Config(self._application, ws=MediaWebSocket, interface="asgi3", **options)
        config.load()
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self.protocol = MediaWebSocket(config=config, server_state=ServerState(), app_state={})
        self.has_begun = asyncio.Event()
        self.number = 1

    async def _application(self, scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        protocol = StreamProtocol()
        protocol.receive(CONNECTED)
        values = {"stream": STREAM, "call": CALL, "token": "t", "tracks": '["inbound"]', "more": ""}
        start = protocol.receive(START % values).start
        token = StreamToken(call_sid=CALL, handler="test", from_number="+14155550100")
        short_way = scope["extensions"][EXTENSION]
        self.live = LiveStream(token, start, protocol, Socket(receive, send, short_way))
        if not self.is_quick:
            self.live.path = None
        self.live.socket.listen(self.live.receive, self.live.path)
        self.stream = MediaStream(self.live)
        self.send = send
        self.has_begun.set()
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def open(self, **encryption):
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: self.protocol, self.ours, **encryption)

    async def greet(self):
        self.there.send(HANDSHAKE)
        await self.has_begun.wait()
        await self.received(b"\r\n\r\n")
        # The first frame is Python's, and so is the first word.
        await self.hear(self.media())
        await self.stream.play(b"\x7f" * 160, wait=False)
        await self.received(b'"}}')

    def media(self):
        self.number += 1
        values = {"number": self.number, "stream": STREAM, "track": "inbound", "chunk": 1}
        return masked((MEDIA % {**values, "timestamp": 20 * self.number, "payload": PAYLOAD}).encode())

    async def hear(self, frames):
        """They arrive, and the stream has had them."""
        self.there.send(frames)
        before = self.live.protocol.next_sequence
        await until(lambda: self.live.protocol.next_sequence > before or not self.is_open)

    async def received(self, until):
        """What Twilio gets, up to where it ends like this."""
        got = b""
        async with asyncio.timeout(PATIENCE):
            while not got.endswith(until):
                got += await asyncio.get_running_loop().sock_recv(self.there, 1_000_000)
        return got

    async def gone(self):
        """Waits until nothing of it runs."""
        await until(lambda: not self.protocol.tasks)

    @property
    def is_open(self):
        return self.live.path is None or self.live.path.is_open


@asynccontextmanager
async def wired(*, is_quick=True, buffer=0):
    wire = Wired(is_quick=is_quick, buffer=buffer)
    await wire.open()
    try:
        async with asyncio.timeout(PATIENCE):
            await wire.greet()
        yield wire
    finally:
        wire.protocol.transport.abort()
        wire.there.close()
        await wire.gone()
