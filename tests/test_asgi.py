"""A call straight into an ASGI application."""

import asyncio
import time

import pytest

from simulator.asgi import Asgi
from simulator.carrier import CallFailed, Refused
from simulator.virtual import virtual_time


URL = "https://voice.example.org/voice?a=1"
SOCKET = "wss://voice.example.org/media"


class Ear:
    """A Listener."""

    def __init__(self):
        self.heard, self.over = [], asyncio.Event()

    def received(self, data):
        self.heard.append(data)

    def closed(self, code, error):
        self.heard.append(code)
        self.over.set()


def answering(*messages):
    """An application that says that, whatever it is asked."""

    async def application(scope, receive, send):
        await receive()
        for message in messages:
            await send(message)

    return application


def responding(status, body=b"", **more):
    headers = [(b"Content-Type", b"text/plain")]
    return answering(
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body, **more},
    )


async def fail(scope, receive, send):
    await receive()
    raise ZeroDivisionError


async def request(application, url=URL, form=None):
    async with Asgi(application, lifespan=False) as carrier:
        return await carrier.exchange("POST", url, form or {"CallSid": "CA1"}, {"X-Twilio-Signature": "s"})


async def upgrade(application, talk=None):
    """What the caller has heard, code and all."""
    ear = Ear()
    async with Asgi(application, lifespan=False) as carrier:
        connection = await carrier.upgrade(SOCKET, {"x-twilio-signature": "s"}, ear)
        if talk is not None:
            talk(connection)
        await ear.over.wait()
    return ear.heard


ACCEPT = {"type": "websocket.accept"}


async def test_an_answer_is_what_the_application_has_sent():
    answer = await request(responding(404, b"no such\n"))
    assert (answer.status, answer.content_type, answer.body) == (404, "text/plain", b"no such\n")


async def asked(url, form=None):
    """What an application sees of a request."""
    seen = []

    async def application(scope, receive, send):
        seen.append((scope, await receive()))
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    await request(application, url, form)
    return seen[0]


async def test_a_request_is_what_a_server_shows_of_one():
    scope, message = await asked(URL, {"To": "+1 2", "x": "ä"})
    assert (scope["type"], scope["method"], scope["scheme"]) == ("http", "POST", "https")
    assert (scope["path"], scope["query_string"]) == ("/voice", b"a=1")
    assert dict(scope["headers"])[b"host"] == b"voice.example.org"
    assert dict(scope["headers"])[b"x-twilio-signature"] == b"s"
    assert message == {"type": "http.request", "body": b"To=%2B1+2&x=%C3%A4", "more_body": False}


async def test_a_path_is_unquoted_and_kept_as_it_was():
    scope, _ = await asked("https://voice.example.org/a%20b")
    assert (scope["path"], scope["raw_path"]) == ("/a b", b"/a%20b")


async def test_an_application_that_raises_is_answered_for_with_500():
    async with Asgi(fail, lifespan=False) as carrier:
        answer = await carrier.exchange("POST", URL, {}, {})
    assert answer.status == 500
    assert [type(error) for _, error in carrier.failures] == [ZeroDivisionError]


async def test_half_an_answer_is_none():
    with pytest.raises(CallFailed, match="broke POST /voice off"):
        await request(responding(200, b"<Resp", more_body=True))


async def test_an_application_that_never_answers_is_given_15_seconds():
    async def hang(scope, receive, send):
        await asyncio.Event().wait()

    with virtual_time():
        await asyncio.sleep(0)
        at = time.monotonic()
        with pytest.raises(CallFailed, match="did not answer POST /voice within 15 s"):
            await request(hang)
        assert time.monotonic() - at >= 15


async def test_what_fails_behind_an_answer_costs_it_nothing():
    async def application(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})
        raise ZeroDivisionError

    async with Asgi(application, lifespan=False) as carrier:
        assert (await carrier.exchange("POST", URL, {}, {})).status == 204
    assert (carrier.failures, len(carrier.late_failures)) == ([], 1)


async def test_texts_go_both_ways():
    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        text = (await receive())["text"]
        await send({"type": "websocket.send", "text": text.upper()})
        await send({"type": "websocket.send", "bytes": b"\x00"})
        await send({"type": "websocket.close", "code": 1000})

    assert await upgrade(application, lambda connection: connection.send("hello")) == ["HELLO", b"\x00", 1000]


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"type": "websocket.close", "code": 4403}], 403),
        ([{"type": "websocket.http.response.start", "status": 401}, {"type": "websocket.http.response.body"}], 401),
        ([], 500),
    ],
)
async def test_a_handshake_that_is_not_accepted_is_refused(messages, status):
    with pytest.raises(Refused, match=rf"HTTP {status} \(31920 Handshake Error\)"):
        await upgrade(answering(*messages))


async def test_an_application_that_raises_in_the_handshake_refuses_it():
    with pytest.raises(Refused, match="HTTP 500"):
        await upgrade(fail)


async def test_an_application_that_returns_without_a_close_breaks_the_line():
    assert await upgrade(answering(ACCEPT)) == [1006]


async def told(connection_ends):
    """What an application is told of the end, and what the caller hears."""
    codes = []

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        codes.append((await receive())["code"])
        with pytest.raises(OSError, match="closed"):
            await send({"type": "websocket.send", "text": "too late"})

    return codes + await upgrade(application, connection_ends)


async def test_a_close_frame_without_a_code_is_answered_by_the_server():
    assert await told(lambda connection: connection.close(None)) == [1005, 1005]


async def test_a_close_frame_has_its_code():
    assert await told(lambda connection: connection.close(1001)) == [1001, 1001]


async def test_a_connection_that_breaks_has_none():
    assert await told(lambda connection: connection.abort()) == [1006, 1006]


async def test_nothing_is_sent_after_a_close():
    async with Asgi(answering(ACCEPT, {"type": "websocket.close"}, ACCEPT), lifespan=False) as carrier:
        await carrier.upgrade(SOCKET, {}, Ear())
    assert "after sending 'websocket.close'" in str(carrier.late_failures)


async def test_an_application_is_started_before_its_first_request_and_stopped_behind_its_last():
    seen = []

    async def application(scope, receive, send):
        if scope["type"] != "lifespan":
            seen.append(scope["state"]["pool"])
            return await responding(200)(scope, receive, send)
        for what in ("startup", "shutdown"):
            await receive()
            scope["state"]["pool"] = "open"
            seen.append(what)
            await send({"type": f"lifespan.{what}.complete"})

    async with Asgi(application) as carrier:
        await carrier.exchange("POST", URL, {}, {})
    assert seen == ["startup", "open", "shutdown"]


async def test_an_application_that_cannot_start_says_why():
    with pytest.raises(CallFailed, match="did not start: no database"):
        async with Asgi(answering({"type": "lifespan.startup.failed", "message": "no database"})):
            pass


async def test_an_application_that_knows_no_lifespan_is_called_without():
    async def application(scope, receive, send):
        assert scope["type"] == "http"
        await responding(200)(scope, receive, send)

    async with Asgi(application) as carrier:
        assert (await carrier.exchange("POST", URL, {}, {})).status == 200
