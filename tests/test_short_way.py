"""The short way for media: what goes over it, what does not, and that nothing changes on it."""

import asyncio
import random

import pytest
import uvicorn
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from calls.sockets.frames import EXTENSION, frame_size, framed, text_in
from calls.sockets.media_protocol import MediaProtocol
from calls.sockets.uvicorn import MediaWebSocket
from tests.support.masking import masked, unmasked


HANDSHAKE = (
    b"GET /connection HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
LONG = "a" * 300


@pytest.mark.parametrize("size", [126, 300, 65535])
def test_a_whole_text_takes_the_short_way(size):
    assert text_in(masked(b"a" * size)) == "a" * size


@pytest.mark.parametrize(
    "frame",
    [
        masked(b"a" * 125),
        masked(b"a" * 65536),
        masked(b"a" * 300)[:-1],
        masked(b"a" * 300) + b"\x81",
        masked(b"a" * 300, first=0x82),
        masked(b"a" * 300, first=0x01),
        masked(b"a" * 300, first=0xC1),
        masked(b"\xff" * 300),
        b"\x81\x7e\x01\x2c" + b"a" * 300,
        b"",
    ],
    ids=["short", "long", "cut", "two", "binary", "fragment", "compressed", "no-utf8", "unmasked", "nothing"],
)
def test_everything_else_takes_the_long_one(frame):
    assert text_in(frame) is None


@pytest.mark.parametrize("payload", [b"", b"a" * 125, b"a" * 126, b"a" * 65535, b"a" * 65536])
def test_a_frames_size_is_known_from_its_header(payload):
    frame = masked(payload)
    assert frame_size(frame) == len(frame)
    assert frame_size(frame[: len(frame) - len(payload) - 4]) == len(frame)


@pytest.mark.parametrize("head", [b"", b"\x81", b"\x81\xfe\x01", b"\x81\xff\0\0\0\0\0\1\0"])
def test_half_a_header_says_nothing_of_the_size(head):
    assert frame_size(head) == 0


def test_what_we_send_is_one_final_text_without_a_mask():
    assert framed("a" * 126) == b"\x81\x7e\x00\x7e" + b"a" * 126
    assert framed("é" * 300) == b"\x81\x7e\x02\x58" + "é".encode() * 300


@pytest.mark.parametrize("text", ["a" * 125, "a" * 65536])
def test_short_and_long_texts_are_framed_by_the_library(text):
    assert framed(text) is None


class Wire(asyncio.Transport):
    """The other end of a protocol: keeps what was written."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.closing = self.paused = False

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.closing

    def close(self):
        self.closing = True

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False


class Peer:
    """A connection to an application that keeps its texts, and by themselves its other events."""

    def __init__(self, protocol, *, listens=True, max_size=100_000):
        options = {"ws_max_size": max_size, "ws_ping_interval": None, "log_config": None, "lifespan": "off"}
        config = uvicorn.Config(self.application, ws=protocol, interface="asgi3", **options)
        config.load()
        self.listens = listens
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self.texts, self.others, self.wire = [], [], Wire()
        self.protocol = protocol(config=config, server_state=ServerState(), app_state={})
        self.protocol.connection_made(self.wire)

    async def application(self, scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        self.send = send
        if self.listens and EXTENSION in scope.get("extensions", {}):
            scope["extensions"][EXTENSION].listen(self.texts.append)
        await self.is_reading.wait()
        while (event := await receive())["type"] == "websocket.receive":
            if event.get("text") is not None:
                self.texts.append(event["text"])
            else:
                self.others.append(event["bytes"])
        self.others.append(event["code"])

    @property
    def written(self):
        return self.wire.written

    def forget(self):
        self.wire.written = b""

    async def end(self):
        self.protocol.connection_lost(None)
        await self.settle()

    async def settle(self):
        for _ in range(20):
            await asyncio.sleep(0)

    async def hear(self, *pieces):
        await self.settle()
        for piece in pieces:
            if not self.wire.closing:
                self.protocol.data_received(piece)
            await self.settle()
        return self.texts, self.others


class Line(StringTransport):
    """The same for daphne."""

    closing = False

    def unregisterProducer(self):
        self.closing = True

    abortConnection = loseConnection = unregisterProducer


class DaphnePeer(Peer):
    """A connection to the same application under daphne."""

    def __init__(self, protocol, *, listens=True):
        self.listens = listens
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self.texts, self.others = [], []
        server = Server(self.application, endpoints=["none"])
        server.connections = {}
        factory = WebSocketFactory(server, server="Daphne")
        factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0, maxMessagePayloadSize=100_000)
        self.protocol = protocol()
        self.protocol.factory = factory
        self.protocol._raw_query_string = b""
        self.protocol.data_received = self.protocol.dataReceived
        self.wire = Line()
        self.protocol.makeConnection(self.wire)

    @property
    def written(self):
        return self.wire.value()

    def forget(self):
        self.wire.clear()

    async def end(self):
        self.protocol.connectionLost(Failure(ConnectionDone()))
        await self.settle()


async def connected(protocol, **options):
    peer = (DaphnePeer if issubclass(protocol, WebSocketProtocol) else Peer)(protocol, **options)
    await peer.hear(HANDSHAKE)
    assert peer.written.startswith(b"HTTP/1.1 101")
    peer.forget()
    return peer


FRAMES = st.lists(
    st.one_of(
        st.integers(126, 400).map(lambda size: masked(b"t" * size)),
        st.integers(0, 125).map(lambda size: masked(b"s" * size)),
        st.just(masked(b"l" * 66_000)),
        st.integers(0, 200).map(lambda size: masked(b"b" * size, first=0x82)),
        st.just(masked(b"are you there", first=0x89)),
        st.just(masked(b"f" * 200, first=0x01) + masked(b"ping", first=0x89) + masked(b"g" * 200, first=0x80)),
    ),
    max_size=12,
)
# What ends a connection. In reads of their own: uvicorn forgets the texts that came in one read with an illegal frame.
ENDINGS = [
    b"",
    masked(b"\xff" * 300),
    masked(b"f" * 200, first=0x01) + masked(b"t" * 300),
    masked(b"r" * 300, first=0xC1),
    masked((1000).to_bytes(2, "big"), first=0x88),
    masked(b"half" * 50)[:-1],
]


def cut(stream, chance):
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randrange(8)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]


PAIRS = [(MediaWebSocket, WebSocketsSansIOProtocol), (MediaProtocol, WebSocketProtocol)]
EACH = pytest.mark.parametrize(("protocol", "theirs"), PAIRS, ids=["uvicorn", "daphne"])


@EACH
@settings(deadline=None)
@given(frames=FRAMES, ending=st.sampled_from(ENDINGS), seed=st.integers(0, 2**32))
def test_however_frames_are_cut_the_application_gets_what_the_library_gives_it(protocol, theirs, frames, ending, seed):
    chance = random.Random(seed)
    pieces = [*cut(b"".join(frames), chance), *cut(ending, chance)]

    async def both():
        ours, library = await connected(protocol), await connected(theirs)
        assert await ours.hear(*pieces) == await library.hear(*pieces)
        assert ours.written == library.written
        assert ours.wire.closing == library.wire.closing
        await ours.end()
        await library.end()

    asyncio.run(both())


@EACH
async def test_what_looks_like_a_frame_inside_another_one_is_not_one(protocol, theirs):
    peer = await connected(protocol)
    outer = masked(unmasked(masked(LONG.encode())), first=0x82)
    assert await peer.hear(outer[:8], outer[8:]) == ([], [unmasked(masked(LONG.encode()))])


async def test_a_consumer_that_does_not_listen_receives_as_ever():
    peer = await connected(MediaWebSocket, listens=False)
    assert await peer.hear(masked(LONG.encode())) == ([LONG], [])


async def test_texts_that_came_before_anybody_listened_come_first():
    peer = Peer(MediaWebSocket)
    peer.is_reading.clear()
    peer.protocol.data_received(HANDSHAKE)
    peer.protocol.queue.put_nowait({"type": "websocket.receive", "text": "first"})
    await peer.hear(masked(LONG.encode()))
    peer.is_reading.set()
    assert await peer.hear() == (["first", LONG], [])


@EACH
async def test_a_text_in_the_middle_of_a_fragmented_one_is_refused(protocol, theirs):
    peer = await connected(protocol)
    await peer.hear(masked(b"f" * 200, first=0x01), masked(LONG.encode()))
    assert peer.texts == []
    assert peer.wire.closing


async def test_frames_that_began_before_the_handshakes_answer_stay_the_librarys():
    peer = Peer(MediaWebSocket)
    peer.protocol.data_received(HANDSHAKE)
    inner = masked(LONG.encode())
    peer.protocol.data_received(masked(unmasked(inner), first=0x82)[:8])
    await peer.settle()
    assert await peer.hear(inner, masked(LONG.encode())) == ([LONG], [unmasked(inner)])


async def test_a_listener_never_has_reading_paused():
    peer = await connected(MediaWebSocket)
    await peer.hear(masked(LONG.encode()) * 3)
    assert not peer.wire.paused


async def test_a_text_of_ours_leaves_in_one_frame():
    peer = await connected(MediaWebSocket)
    await peer.send({"type": "websocket.send", "text": LONG})
    assert peer.written == b"\x81\x7e\x01\x2c" + LONG.encode()


async def test_a_frame_beyond_the_servers_limit_closes_with_1009():
    peer = await connected(MediaWebSocket, max_size=200)
    await peer.hear(masked(b"a" * 201))
    assert peer.written[:4] == b"\x88" + peer.written[1:2] + b"\x03\xf1"


async def test_nothing_is_sent_after_the_close():
    peer = await connected(MediaWebSocket)
    await peer.send({"type": "websocket.close", "code": 1000})
    written = peer.written
    with pytest.raises(RuntimeError):
        await peer.send({"type": "websocket.send", "text": LONG})
    assert peer.written == written
