"""One socket carried to another worker, which here is a few lines: what is said to it, and what is not."""

import asyncio
import contextlib

import pytest
from django.core import signing
from websockets.asyncio.server import serve

from calls.server import relay, tickets
from calls.server.relay import CARRIED, Relay
from calls.server.socket import Socket
from calls.server.tickets import Pass, ReturnTicket
from tests.support.line import CONNECTED, PATIENCE, Line


pytestmark = pytest.mark.usefixtures("process")

KEY = "0123456789abcdef01"
OPENING = [CONNECTED, '{"event":"start"}']


class Twilio:
    """What Twilio's socket gets and gives."""

    def __init__(self):
        self.to_us = asyncio.Queue()
        self.got = asyncio.Queue()

    def says(self, text):
        self.to_us.put_nowait({"type": "websocket.receive", "text": text})

    def closes(self, code):
        self.to_us.put_nowait({"type": "websocket.disconnect", "code": code})

    async def hears(self):
        async with asyncio.timeout(PATIENCE):
            return await self.got.get()

    def carried(self, address):
        socket = Socket(self.to_us.get, self.got.put)
        return Relay(socket, ReturnTicket("CA1", KEY, address))


@pytest.fixture
def twilio():
    return Twilio()


@contextlib.asynccontextmanager
async def worker(talk, **facts):
    """A worker that takes a socket; its address, and what it was told in the handshake."""
    passes = []

    def look(connection, request):
        passes.append(Pass.read(request.headers.get(CARRIED)))

    async with serve(talk, "127.0.0.1", 0, process_request=facts.pop("process_request", look), **facts) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", passes


async def lets_in(socket):
    """As the one does that waits."""
    await socket.send(Pass(KEY, is_answer=True).sign())


async def echoes(socket):
    await lets_in(socket)
    async for text in socket:
        await socket.send(text)


async def test_what_has_come_is_said_first_and_then_both_ways(twilio):
    async with worker(echoes) as (address, passes):
        carrying = asyncio.create_task(twilio.carried(address).run(OPENING))
        twilio.says("a frame")
        heard = [(await twilio.hears())["text"] for _ in range(3)]
        twilio.closes(1005)
        assert await carrying
    assert heard == [*OPENING, "a frame"]
    assert passes == [Pass(KEY)]


async def test_the_end_of_one_socket_is_the_others(twilio):
    closed = asyncio.Queue()

    async def talk(socket):
        await lets_in(socket)
        await socket.wait_closed()
        closed.put_nowait(socket.close_code)

    for code, there in ((1005, 1000), (1006, 1006)):
        async with worker(talk) as (address, _):
            twilio.closes(code)
            assert await twilio.carried(address).run(OPENING)
            assert await closed.get() == there


async def test_what_the_other_worker_closes_is_closed_with_1000(twilio):
    async with worker(lets_in) as (address, _):
        assert await twilio.carried(address).run(OPENING)
    assert (await twilio.hears())["code"] == 1000


async def test_a_worker_that_dies_leaves_a_broken_stream(twilio):
    async def talk(socket):
        await lets_in(socket)
        await socket.recv()
        socket.transport.abort()

    async with worker(talk) as (address, _):
        assert await twilio.carried(address).run(OPENING)
    assert (await twilio.hears())["code"] == relay.BROKEN


async def test_the_end_of_this_process_closes_it_with_1000(twilio):
    async with worker(echoes) as (address, _):
        carried = twilio.carried(address)
        carrying = asyncio.create_task(carried.run(OPENING))
        await twilio.hears()
        carried.cut()
        assert await carrying
    assert [(await twilio.hears())["type"] for _ in range(2)] == ["websocket.send", "websocket.close"]


# --- who is told nothing ----------------------------------------------------------------------------------------------


async def told(twilio, first):
    """What a stranger hears who says that first."""
    heard = []

    async def talk(socket):
        await socket.send(first)
        with contextlib.suppress(Exception):
            heard.append(await socket.recv())

    async with worker(talk) as (address, _):
        assert not await twilio.carried(address).run(OPENING)
    return heard


@pytest.mark.parametrize("first", ["", "hello", b"\x00", '{"event":"carried"}'])
async def test_a_stranger_at_that_address_is_told_nothing(twilio, first):
    assert await told(twilio, first) == []


async def test_whoever_shows_our_own_pass_back_is_a_stranger(twilio):
    assert await told(twilio, Pass(KEY).sign()) == []
    assert await told(twilio, Pass("another", is_answer=True).sign()) == []


async def test_no_address_but_the_tickets_is_asked(twilio):
    asked = []

    async def talk(socket):
        asked.append(socket)

    async with worker(talk) as (elsewhere, _):

        def leads_away(connection, request):
            response = connection.respond(302, "")
            response.headers["Location"] = f"ws://{elsewhere}/connection"
            return response

        async with worker(talk, process_request=leads_away) as (address, _):
            assert not await twilio.carried(address).run(OPENING)
    assert asked == []


async def test_a_worker_that_says_nothing_is_not_waited_for(twilio, monkeypatch, caplog):
    monkeypatch.setattr(relay, "PATIENCE", 0.1)

    async def talk(socket):
        await socket.wait_closed()

    async with worker(talk) as (address, _):
        assert not await twilio.carried(address).run(OPENING)
    assert any(message.startswith(f"not_carried call=CA1 to={address}") for message in caplog.messages)


async def test_workers_that_share_an_address_are_asked_one_after_the_other(twilio):
    refusals = iter([403, 403])

    def refuse_twice(connection, request):
        return connection.respond(code, "") if (code := next(refusals, None)) else None

    async with worker(lets_in, process_request=refuse_twice) as (address, _):
        assert await twilio.carried(address).run(OPENING)


@pytest.mark.parametrize(
    "address", ["", "8.8.8.8:8000", "[2606:4700::1]:8000", "224.0.0.1:80", "example.org:80", "127.0.0.1:", "127.0.0.1"]
)
async def test_only_what_is_private_is_asked(twilio, address, caplog):
    assert not await twilio.carried(address).run(OPENING)
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "that is no address in a private network; the handler starts anew"
    ]


# --- the door of the other worker -------------------------------------------------------------------------------------


def carried_line(shown):
    return Line(headers={CARRIED.lower(): shown, "x-twilio-signature": ""})


async def test_a_pass_opens_no_door_behind_which_nobody_waits():
    assert (await carried_line(Pass(KEY).sign()).dial())["type"] == "websocket.close"


@pytest.mark.parametrize("shown", ["", "nonsense", "é"])
async def test_what_is_no_pass_opens_none(shown):
    assert (await carried_line(shown).dial())["type"] == "websocket.close"


async def test_a_ticket_is_no_pass():
    assert (await carried_line(ReturnTicket("CA1", KEY).sign()).dial())["type"] == "websocket.close"


def test_a_pass_is_good_for_a_minute(monkeypatch):
    shown = Pass(KEY).sign()
    assert Pass.read(shown) == Pass(KEY)
    later = signing.time.time() + tickets.PASS_MAX_AGE + 2
    monkeypatch.setattr(signing.time, "time", lambda: later)
    assert Pass.read(shown) is None
