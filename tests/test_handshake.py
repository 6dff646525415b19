"""Who may open a stream: the signature before anything is accepted, and the token at `start`.

No test here may use the database, and pytest-django sees to it: what is refused costs no query and leaves no row.
"""

import threading

import pytest

from calls import consumers
from calls.security import StreamToken
from calls.server.switchboard import switchboard
from tests.support.factories import sid
from tests.support.line import CONNECTED, MEDIA, Line, signature


pytestmark = pytest.mark.usefixtures("process")

WITH_SLASH = "wss://voice.example.org/connection/"


@pytest.fixture(autouse=True)
def nothing_recorded():
    """A row would have to go through the recorder's thread, which starts with the first one."""
    yield
    assert "recorder" not in {thread.name for thread in threading.enumerate()}


async def accepted(line):
    answer = await line.dial()
    line.drop()
    await line.gone()
    return answer["type"] == "websocket.accept"


@pytest.mark.parametrize("path", ["/connection", "/connection/"])
@pytest.mark.parametrize("signed", ["wss://voice.example.org/connection", WITH_SLASH])
async def test_twilio_may_sign_with_and_without_the_slash(path, signed):
    assert await accepted(Line(path=path, headers={"x-twilio-signature": signature(signed)}))


@pytest.mark.parametrize("port", ["", ":443", ":8443"])
async def test_twilio_may_sign_with_and_without_the_port(settings, port):
    settings.PUBLIC_URL = "https://voice.example.org:8443" if port == ":8443" else "https://voice.example.org"
    signed = signature(f"wss://voice.example.org{port}/connection")
    assert await accepted(Line(headers={"x-twilio-signature": signed}))


async def test_both_tokens_open_a_socket_during_a_rotation(settings):
    settings.TWILIO_AUTH_TOKENS = ["f" * 32, *settings.TWILIO_AUTH_TOKENS]
    assert await accepted(Line())
    assert await accepted(Line(headers={"x-twilio-signature": signature(token="f" * 32)}))


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "nonsense",
        "é",
        signature(token="0" * 32),
        signature("https://voice.example.org/connection"),
        signature("ws://voice.example.org/connection"),
        signature("wss://voice.example.org/other"),
        signature("wss://elsewhere.example.org/connection"),
    ],
)
async def test_a_handshake_that_is_not_twilios_is_never_accepted(wrong):
    line = Line(headers={"x-twilio-signature": wrong})
    answer = await line.dial()
    assert (answer["type"], answer["code"]) == ("websocket.close", 4403)
    await line.gone()


@pytest.mark.parametrize("header", ["host", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-original-url"])
async def test_no_header_decides_what_was_signed(header):
    foreign = signature("wss://evil.example.org/connection")
    assert await accepted(Line(headers={header: "evil.example.org"}))
    assert not await accepted(Line(headers={header: "evil.example.org", "x-twilio-signature": foreign}))


@pytest.mark.parametrize("origin", ["https://voice.example.org", "https://evil.example.org", "null"])
async def test_a_browser_is_refused_even_with_a_good_signature(origin):
    assert not await accepted(Line(headers={"origin": origin}))


@pytest.mark.parametrize("path", ["/", "/connections", "/connection/x", "/admin/", "/connection//"])
async def test_no_other_path_takes_a_socket(path):
    assert not await accepted(Line(path=path))


async def test_a_draining_process_takes_no_socket():
    switchboard.draining = True
    assert not await accepted(Line())


async def test_a_refusal_names_the_url_that_was_validated_and_no_secret(caplog):
    line = Line(headers={"x-twilio-signature": signature(token="0" * 32)})
    await line.dial()
    assert "wss://voice.example.org/connection" in caplog.text
    assert line.headers["x-twilio-signature"] not in caplog.text
    assert "0123456789abcdef" not in caplog.text


# --- until `start` ----------------------------------------------------------------------------------------------------


async def refused_at_start(line):
    """The code and reason with which a socket is closed whose `start` is not good."""
    assert (await line.dial())["type"] == "websocket.accept"
    line.start()
    answer = await line.answer()
    await line.gone()
    assert answer["type"] == "websocket.close", answer
    assert line.stream_sid not in switchboard.live
    return answer["code"], answer["reason"]


async def test_a_socket_that_never_starts_is_closed(monkeypatch):
    monkeypatch.setattr(consumers, "START_TIMEOUT", 0.01)
    line = Line()
    await line.dial()
    line.send(CONNECTED)
    answer = await line.answer()
    assert (answer["type"], answer["code"]) == ("websocket.close", 4408)
    await line.gone()


async def test_chatter_without_a_start_does_not_keep_a_socket_open(monkeypatch):
    monkeypatch.setattr(consumers, "START_TIMEOUT", 0.05)
    line = Line()
    await line.dial()
    for _ in range(500):
        line.send('{"event":"hello"}')
        line.send("not json")
        line.send_bytes(b"\x00")
    assert (await line.answer())["code"] == 4408
    await line.gone()


async def test_a_socket_that_goes_before_start_leaves_nothing():
    line = Line()
    await line.dial()
    line.send(CONNECTED)
    line.drop()
    await line.gone()
    assert (line.closed, len(switchboard.starting)) == (None, 0)


@pytest.mark.parametrize(
    "token", ["x", "é", "a:b:c", "x" * 5000, StreamToken(call_sid="CA" + "0" * 32, handler="echo").sign()[:-1]]
)
async def test_a_start_without_a_good_token_is_refused(token):
    assert await refused_at_start(Line(token=token)) == (4403, "no good token")


async def test_a_start_without_any_token_is_refused():
    line = Line()
    await line.dial()
    line.send(
        '{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",'
        f'"callSid":"{line.call_sid}","streamSid":"{line.stream_sid}","tracks":["inbound"],"customParameters":{{}}}},'
        f'"streamSid":"{line.stream_sid}"}}'
    )
    assert (await line.answer())["code"] == 4403
    await line.gone()


async def test_an_expired_token_is_refused(monkeypatch):
    line = Line()
    monkeypatch.setattr("calls.security.TOKEN_MAX_AGE", -1)
    assert await refused_at_start(line) == (4403, "no good token")


async def test_a_token_of_another_secret_is_refused(settings):
    line = Line()
    settings.SECRET_KEY = "another secret, just as long as the one of the tests"
    assert await refused_at_start(line) == (4403, "no good token")


async def test_a_token_is_good_for_its_own_call_only():
    token = StreamToken(call_sid=sid("CA"), handler="echo").sign()
    assert await refused_at_start(Line(token=token)) == (4403, "the token is of another call")


async def test_a_token_for_a_handler_that_is_gone_is_refused():
    assert await refused_at_start(Line("retired")) == (4404, "no such handler")


@pytest.mark.parametrize("wrong", ["MZ1", "", "CA" + "0" * 32, "MZ" + "g" * 32, "MZ" + "0" * 31 + "\\u0000"])
async def test_a_start_without_a_usable_stream_sid_is_not_a_start(monkeypatch, wrong):
    monkeypatch.setattr(consumers, "START_TIMEOUT", 0.05)
    line = Line()
    line.stream_sid = wrong
    assert (await refused_at_start(line))[0] == 4408


async def test_only_so_many_sockets_may_wait_for_their_start(monkeypatch):
    monkeypatch.setattr(consumers, "MAX_STARTING", 2)
    waiting = [Line(), Line()]
    for line in waiting:
        assert (await line.dial())["type"] == "websocket.accept"
    assert not await accepted(Line())
    for line in waiting:
        line.drop()
        await line.gone()
    assert await accepted(Line())


async def test_200_sockets_may_wait_by_default():
    assert consumers.MAX_STARTING == 200


async def test_a_full_process_takes_no_socket(settings):
    settings.MAX_STREAMS = 0
    assert not await accepted(Line())


async def test_a_stream_that_starts_when_the_last_place_is_taken_is_refused(settings):
    line = Line()
    await line.dial()
    settings.MAX_STREAMS = 0
    line.start()
    assert (await line.answer())["code"] == 4503
    await line.gone()


async def test_audio_before_start_is_refused_and_the_socket_waits_on(monkeypatch):
    line = Line(token="x")
    await line.dial()
    line.send(line.fill(MEDIA, track="inbound", chunk=1, timestamp=100, payload="AAAA"))
    line.start()
    assert (await line.answer())["code"] == 4403
    await line.gone()
