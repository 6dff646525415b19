"""The simulator against a server made of a few literals: what it sends, what it plays, and what it finds wrong."""

import asyncio
import json
import shutil
import ssl
import subprocess
from base64 import b64decode, b64encode
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientTimeout, WSMsgType, web
from django.core.management import CommandError, call_command
from twilio.request_validator import RequestValidator

from calls.media.audio import read_wav, tone, wav_header
from simulator import (
    BadMessage,
    Dialled,
    PlayBuffer,
    Report,
    Scenario,
    SimulatedCall,
    TwimlError,
    messages,
    parse_twiml,
    simulate,
)
from simulator.carrier import Refused
from simulator.documents import read_stream
from simulator.report import StreamReport
from simulator.tcp import Tcp
from simulator.webhooks import Web, signed_url


ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
CALL = "CA7b1e09d4c2a85f6390d1e4b7a2c8f056"
STREAM = "MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"
TOKEN = "0123456789abcdef0123456789abcdef"
LOUD = tone(440, 20)

CONNECT = (
    '<Response><Connect action="/stream-ended"><Stream name="main" url="ws://{host}/connection"'
    ' statusCallback="http://{host}/stream-status"><Parameter name="token" value="q3Zr8"/></Stream></Connect>'
    "</Response>"
)
MONITOR = (
    '<Response><Start><Stream url="ws://{host}/connection" track="both_tracks"/></Start>'
    "<Dial>+14155550111</Dial></Response>"
)
HANGUP = "<Response><Hangup/></Response>"


# --- The server under test: documents by path, and a coroutine that has the socket.


async def listen(line):
    async for _ in line:
        pass


async def echo(line):
    async for message in line:
        if message["event"] == "media":
            await line.send("media", {"payload": message["media"]["payload"]})


class Line:
    """The server's end of a socket: messages as dicts, `send` fills in the stream's SID."""

    def __init__(self, socket, received):
        self.socket, self.received, self.sid = socket, received, None

    def __aiter__(self):
        return self

    async def __anext__(self):
        frame = await self.socket.receive()
        if frame.type is not WSMsgType.TEXT:
            raise StopAsyncIteration
        message = json.loads(frame.data)
        self.received.append(message)
        self.sid = message.get("streamSid", self.sid)
        return message

    async def until(self, event, count=1):
        async for message in self:
            count -= message["event"] == event
            if not count:
                return message

    async def send(self, event, body=None):
        message = {"event": event, "streamSid": self.sid}
        await self.socket.send_json(message | ({event: body} if body else {}))


class Server:
    def __init__(self, documents, talk):
        self.documents, self.talk = {"/incoming": [CONNECT], "/stream-ended": [HANGUP], **documents}, talk
        self.requests, self.received, self.handshakes, self.closed = [], [], [], []

    async def webhook(self, request):
        form = dict(await request.post())
        self.requests.append((request.path, form, request.headers))
        if request.path in ("/stream-status", "/call-status"):
            return web.Response(status=204)
        answers = self.documents[request.path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, dict):
            return web.Response(**answer)
        return web.Response(text=answer.replace("{host}", request.host), content_type="text/xml")

    async def connection(self, request):
        self.handshakes.append(request)
        if isinstance(self.talk, dict):
            return web.Response(**self.talk)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        talk = self.talk.pop(0) if isinstance(self.talk, list) else self.talk
        await talk(Line(socket, self.received))
        await socket.close()
        self.closed.append(socket.close_code)
        return socket

    def forms(self, path):
        return [form for at, form, _ in self.requests if at == path]

    def events(self, kind):
        return [message for message in self.received if message["event"] == kind]


@asynccontextmanager
async def serving(talk=listen, tls=None, **documents):
    server = Server({f"/{path.replace('_', '-')}": answers for path, answers in documents.items()}, talk)
    app = web.Application()
    app.add_routes([web.route("*", "/connection", server.connection), web.route("*", "/{path:.*}", server.webhook)])
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    server.url = f"http{'s' * bool(tls)}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def scenario(server, **changes):
    same = {"public_url": server.url, "server": server.url, "account_sid": ACCOUNT, "auth_token": TOKEN}
    return Scenario(**{**same, "call_sid": CALL, "duration": 0.1, **changes})


async def call(talk=listen, documents=None, **changes):
    async with serving(talk, **(documents or {})) as server:
        return server, await simulate(scenario(server, **changes))


# --- The play buffer


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def buffer(clock):
    return PlayBuffer(clock)


def test_a_mark_is_due_when_the_audio_before_it_has_been_played(buffer, clock):
    buffer.play(b"\x01" * 800)
    buffer.mark("greeting")
    clock.now += 0.0999
    assert buffer.due() == []
    assert buffer.next_due() == pytest.approx(0.0001, abs=0.0001)
    clock.now += 0.0002
    assert buffer.due() == ["greeting"]
    assert buffer.marks == [("greeting", "played")]


def test_what_is_heard_now_is_loud_or_quiet(buffer, clock):
    buffer.play(b"\x10" * 800 + b"\xff" * 800)
    heard = []
    for _ in range(4):
        heard.append(buffer.is_loud_now)
        clock.now += 0.06
    assert heard == [False, True, False, False]


def test_a_mark_with_nothing_queued_is_due_at_once(buffer, clock):
    clock.now += 1
    buffer.mark("now")
    assert buffer.next_due() == 0
    assert buffer.due() == ["now"]
    assert buffer.next_due() is None


def test_marks_come_back_in_the_order_in_which_they_were_queued(buffer, clock):
    for name in ("a", "b"):
        buffer.play(b"\x01" * 160)
        buffer.mark(name)
    clock.now += 0.1
    assert buffer.due() == ["a", "b"]


def test_a_name_may_be_used_again_and_comes_back_as_often(buffer, clock):
    for _ in range(3):
        buffer.play(b"\x01" * 160)
        buffer.mark("responsePart")
    clock.now += 0.041
    assert buffer.due() == ["responsePart"] * 2
    buffer.clear()
    assert buffer.due() == ["responsePart"]
    assert [outcome for _, outcome in buffer.marks] == ["played", "played", "cleared"]


def test_clear_returns_every_mark_that_waits_and_drops_what_was_not_heard(buffer, clock):
    buffer.play(b"\x01" * 800)
    buffer.mark("a")
    buffer.play(b"\x02" * 800)
    buffer.mark("b")
    clock.now += 0.15
    buffer.clear()
    assert buffer.due() == ["a", "b"]
    assert buffer.marks == [("a", "played"), ("b", "cleared")]
    assert buffer.heard == [(0, b"\x01" * 800 + b"\x02" * 400)]
    assert buffer.queued == 0


def test_clear_with_nothing_queued_returns_nothing(buffer):
    buffer.clear()
    assert buffer.due() == []
    assert buffer.clears == 1


def test_audio_begins_now_or_where_the_audio_before_it_ends(buffer, clock):
    buffer.play(b"\x01" * 160)
    buffer.play(b"\x02" * 160)
    clock.now += 1
    buffer.play(b"\x03" * 160)
    clock.now += 1
    assert buffer.heard == [(0, b"\x01" * 160 + b"\x02" * 160), (8000, b"\x03" * 160)]


def test_audio_after_a_clear_in_silence_keeps_its_place(buffer, clock):
    buffer.play(b"\x01" * 160)
    clock.now += 1
    buffer.play(b"\x02" * 160)
    buffer.clear()
    buffer.play(b"\x03" * 160)
    clock.now += 1
    assert buffer.heard == [(0, b"\x01" * 160), (8000, b"\x03" * 160)]


def test_the_caller_has_heard_only_what_was_played_by_now(buffer, clock):
    buffer.play(b"\x01" * 8000)
    clock.now += 0.25
    assert buffer.heard == [(0, b"\x01" * 2000)]
    buffer.stop()
    clock.now += 10
    assert buffer.heard == [(0, b"\x01" * 2000)]


def test_a_mark_that_still_waits_at_the_end_never_comes_back(buffer, clock):
    buffer.play(b"\x01" * 8000)
    buffer.mark("late")
    buffer.stop()
    clock.now += 10
    assert buffer.unreturned == ["late"]
    assert buffer.marks == []


def test_media_beyond_ten_minutes_is_thrown_away_until_some_has_been_played(buffer, clock):
    assert buffer.play(b"\xff" * 4_800_000)
    assert buffer.play(b"\xff" * 160)
    assert not buffer.play(b"\xff" * 160)
    assert buffer.discarded == 1
    clock.now += 0.02
    assert buffer.play(b"\xff" * 160)


def test_only_sound_counts_as_talking(buffer, clock):
    assert not buffer.talking
    buffer.play(b"\xff" * 8000)
    assert not buffer.talking
    buffer.play(tone(440, 1000))
    assert buffer.talking
    clock.now += 2.6
    assert not buffer.talking


def test_what_is_being_said_began_with_its_first_sound(buffer, clock):
    buffer.play(b"\xff" * 800 + tone(440, 1000))
    assert buffer.loud_since is None
    clock.now += 0.2
    assert buffer.loud_since == 800
    clock.now += 1.3
    assert buffer.loud_since == 800
    clock.now += 0.2
    assert buffer.loud_since is None


def test_a_short_pause_does_not_end_what_is_being_said(buffer, clock):
    buffer.play(tone(440, 200) + b"\xff" * 3200 + tone(440, 200))
    clock.now += 0.7
    assert buffer.loud_since == 0


def test_what_was_cleared_is_said_by_nobody(buffer, clock):
    buffer.play(tone(440, 3000))
    clock.now += 0.1
    buffer.clear()
    clock.now += 0.6
    assert buffer.loud_since is None
    assert not buffer.talking


# --- Messages


def test_messages_have_the_shape_and_the_key_order_of_captured_calls():
    start = messages.start(1, STREAM, ACCOUNT, CALL, ["inbound"], {"token": "ü"})
    assert start == (
        f'{{"event":"start","sequenceNumber":"1","start":{{"accountSid":"{ACCOUNT}","streamSid":"{STREAM}",'
        f'"callSid":"{CALL}","tracks":["inbound"],"mediaFormat":{{"encoding":"audio/x-mulaw","sampleRate":8000,'
        f'"channels":1}},"customParameters":{{"token":"ü"}}}},"streamSid":"{STREAM}"}}'
    )
    assert messages.media(2, STREAM, "inbound", 1, 153, b"\xff\xff\xff") == (
        '{"event":"media","sequenceNumber":"2","media":{"track":"inbound","chunk":"1","timestamp":"153",'
        f'"payload":"////"}},"streamSid":"{STREAM}"}}'
    )
    assert messages.dtmf(61, STREAM, "5") == (
        f'{{"event":"dtmf","streamSid":"{STREAM}","sequenceNumber":"61",'
        '"dtmf":{"track":"inbound_track","digit":"5"}}'
    )
    assert messages.mark(74, STREAM, 'a"b') == (
        f'{{"event":"mark","sequenceNumber":"74","streamSid":"{STREAM}","mark":{{"name":"a\\"b"}}}}'
    )
    assert messages.stop(378, STREAM, ACCOUNT, CALL) == (
        f'{{"event":"stop","sequenceNumber":"378","streamSid":"{STREAM}",'
        f'"stop":{{"accountSid":"{ACCOUNT}","callSid":"{CALL}"}}}}'
    )


def test_exact_messages_are_understood():
    media = f'{{"event":"media","streamSid":"{STREAM}","media":{{"payload":"////"}}}}'
    assert messages.read(media, STREAM).audio == b"\xff\xff\xff"
    mark = f'{{"mark":{{"name":"a"}},"streamSid":"{STREAM}","event":"mark"}}'
    assert messages.read(mark, STREAM).name == "a"
    assert messages.read(f'{{"event":"clear","streamSid":"{STREAM}"}}', STREAM).event == "clear"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "not JSON"),
        ("[]", "no event of Twilio's"),
        ('{"event":"stop","streamSid":"S"}', "no event of Twilio's"),
        ('{"event":["media"],"streamSid":"S"}', "no event of Twilio's"),
        ('{"event":"clear"}', "clear without streamSid"),
        ('{"event":"clear","streamSid":"MZ0"}', "clear for streamSid 'MZ0'"),
        ('{"event":"clear","streamSid":"S","clear":{}}', "clear with extra field clear"),
        ('{"event":"media","streamSid":"S"}', "media without media"),
        ('{"event":"media","streamSid":"S","media":"////"}', "media is no object"),
        ('{"event":"media","streamSid":"S","media":{}}', "media without payload"),
        ('{"event":"media","streamSid":"S","media":{"payload":""}}', "media.payload has to be a string"),
        ('{"event":"media","streamSid":"S","media":{"payload":"/"}}', "media.payload is not base64"),
        ('{"event":"media","streamSid":"S","media":{"payload":"//é/"}}', "media.payload is not base64"),
        (
            '{"event":"media","streamSid":"S","media":{"payload":"////","track":"outbound"}}',
            "media with extra field track",
        ),
        ('{"event":"mark","streamSid":"S","mark":{"name":7}}', "mark.name has to be a string"),
        (
            '{"event":"mark","streamSid":"S","mark":{"name":"a"},"sequenceNumber":"1"}',
            "mark with extra field sequenceNumber",
        ),
    ],
)
def test_anything_else_is_31951(text, fault):
    with pytest.raises(BadMessage, match="31951 Invalid Message") as caught:
        messages.read(text, "S")
    assert fault in str(caught.value)


# --- TwiML


def stream_of(document, base="https://voice.example.org/incoming/echo"):
    return read_stream(parse_twiml(document.encode())[0], base)


def test_a_document_is_read_with_everything_in_it():
    (connect,) = parse_twiml(CONNECT.replace("{host}", "voice.example.org").replace("ws:", "wss:").encode())
    stream = read_stream(connect, "https://voice.example.org/incoming")
    assert (connect.get("action"), str(connect)) == ("/stream-ended", "<Connect><Stream>")
    assert (stream.url, stream.name, stream.tracks) == ("wss://voice.example.org/connection", "main", ["inbound"])
    assert stream.parameters == {"token": "q3Zr8"}
    assert stream.status_callback == "http://voice.example.org/stream-status"


def test_the_query_of_a_stream_is_stripped_with_a_warning():
    stream = stream_of('<Response><Connect><Stream url="wss://voice.example.org/c?t=1"/></Connect></Response>')
    assert stream.url == "wss://voice.example.org/c"
    assert stream.warnings == ("Twilio strips the query of the Stream's url: ?t=1",)


def test_a_relative_stream_lies_beside_the_document():
    assert stream_of('<Response><Connect><Stream url="/c"/></Connect></Response>').url == "wss://voice.example.org/c"


@pytest.mark.parametrize(
    ("body", "content_type", "fault"),
    [
        (b"<Response/>", "application/json", "Content-Type is 'application/json'"),
        (b"<Response/>", "", "Content-Type is 'missing'"),
        (b"<Response>", "text/xml", "invalid XML (12100)"),
        (b"<html/>", "text/xml", "the document is a <html>"),
        (b"<Response>" + b" " * 65536 + b"</Response>", "text/xml", "64 kB are allowed (11750)"),
    ],
)
def test_what_is_not_twiml_is_named(body, content_type, fault):
    with pytest.raises(TwimlError) as caught:
        parse_twiml(body, content_type)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("inside", "fault"),
    [
        ("<Connect/>", "<Connect> has no <Stream> inside"),
        ("<Connect><Stream/></Connect>", "31923"),
        ('<Connect><Stream url="ws://h/c"/></Connect>', "31922"),
        ('<Connect><Stream url="https://h/c"/></Connect>', "31922"),
        ('<Connect><Stream url="wss://h/c" track="both_tracks"/></Connect>', "31941"),
        ('<Start><Stream url="wss://h/c" track="inbound"/></Start>', "31941"),
        ('<Connect><Stream url="wss://h/c" statusCallback="/s"/></Connect>', "absolute"),
        ('<Connect><Stream url="wss://h/c"><Say/></Stream></Connect>', "<Stream> cannot hold a <Say>"),
        (f'<Connect><Stream url="wss://h/c"><Parameter name="a" value="{"b" * 499}"/></Stream></Connect>', "500"),
        ('<Connect><Stream url="wss://h/c"><Parameter value="b"/></Stream></Connect>', "without a name"),
    ],
)
def test_a_stream_that_twilio_would_not_open_is_named(inside, fault):
    with pytest.raises(TwimlError) as caught:
        stream_of(f"<Response>{inside}</Response>")
    assert fault in str(caught.value)


# --- Scripts


async def test_a_script_is_asked_for_a_frame_at_a_time_and_its_end_hangs_up():
    frames = [bytes([n]) * 160 for n in range(1, 6)]
    _, report = await call(script=lambda caller: iter(frames), duration=None)
    assert report.sent[:800] == b"".join(frames)
    assert report.ended == "the caller hung up after 0.1 s"
    assert report.ok, report.errors


async def test_nothing_comes_over_the_line_of_a_caller_on_hold():
    frames = [LOUD, None, None, LOUD]
    server, report = await call(script=lambda caller: iter(frames), duration=None)
    told = [(m["sequenceNumber"], m["media"]["timestamp"]) for m in server.events("media")]
    assert told[:2] == [("2", "153"), ("3", "213")]
    assert report.streams[0].frames_dropped == 0


async def test_a_script_presses_keys_and_sees_what_the_server_says():
    def script(caller):
        while caller.stream.buffer.loud_since is None:
            yield b"\xff" * 160
        caller.press("1")
        yield b"\xff" * 160

    async def talk(line):
        await line.until("media", 3)
        await line.send("media", {"payload": b64encode(LOUD).decode()})
        await listen(line)

    server, report = await call(talk, script=script, duration=None)
    assert [message["dtmf"]["digit"] for message in server.events("dtmf")] == ["1"]
    assert [event.facts for event in report.events if event.kind == "pressed"] == [{"digit": "1"}]


async def test_what_a_script_raises_ends_the_call_loudly():
    def script(caller):
        yield LOUD
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call(script=script, duration=None)


async def test_a_report_tells_what_became_of_each_mark_and_when():
    async def talk(line):
        await line.until("start")
        await line.send("media", {"payload": b64encode(LOUD * 5).decode()})
        await line.send("mark", {"name": "played"})
        await line.until("mark")
        await line.send("media", {"payload": b64encode(LOUD * 50).decode()})
        await line.send("mark", {"name": "cleared"})
        await line.send("clear")
        await listen(line)

    _, report = await call(talk, duration=0.4)
    marks = [event for event in report.events if event.kind == "mark"]
    assert [event.facts for event in marks] == [
        {"name": "played", "outcome": "played"},
        {"name": "cleared", "outcome": "cleared"},
    ]
    assert 100 <= marks[0].at_ms <= marks[1].at_ms < 400


async def test_a_report_tells_what_came_about_and_when():
    async def talk(line):
        await line.until("media", 2)
        await line.send("clear")
        await listen(line)

    _, report = await call(talk, dtmf=((0.04, "5"),))
    assert [event.kind for event in report.events] == ["document", "stream", "clear", "pressed", "hang_up", "closed"]
    assert report.events[3].at_ms == 40.0


async def test_every_message_is_kept_if_the_scenario_wants_that():
    _, report = await call(echo, trace=True, audio=LOUD)
    trace = report.streams[0].trace
    assert [json.loads(traced.text)["event"] for traced in trace[:3]] == ["connected", "start", "media"]
    assert any(not traced.sent and json.loads(traced.text)["event"] == "media" for traced in trace)
    assert trace == sorted(trace, key=lambda traced: traced.at)


async def test_a_message_may_come_in_fragments():
    async def talk(line):
        await line.until("start")
        text = json.dumps({"event": "mark", "streamSid": line.sid, "mark": {"name": "ü" * 20}}).encode()
        frames = [(0x01, text[:30]), (0x89, b"hello"), (0x00, text[30:90]), (0x80, text[90:])]
        for head, part in frames:
            line.socket._writer.transport.write(bytes([head, len(part)]) + part)
        await listen(line)

    _, report = await call(talk)
    assert report.marks == [("ü" * 20, "played")]
    assert report.ok, report.errors


@pytest.mark.parametrize("frame", [b"\xc1\x00", b"\x80\x01a", b"\x01\x01a\x01\x01b", b"\x81\x02\xc3\x28"])
async def test_a_frame_that_the_protocol_does_not_know_is_31924(frame):
    async def talk(line):
        await line.until("start")
        line.socket._writer.transport.write(frame)
        await listen(line)

    assert "31924 Protocol Error" in await failure(talk)


async def test_a_server_that_does_not_read_is_sent_no_more_after_five_seconds_of_audio(monkeypatch):
    monkeypatch.setattr("simulator.stream.MOST_BACKLOG", -1)
    _, report = await call()
    assert report.warnings == ["31930 Buffer Overflow: the server reads too slowly"]
    assert report.streams[0].frames_sent == 0


# --- Signatures and addresses


def test_the_signatures_are_those_of_the_test_vectors():
    web_client = Web("http://127.0.0.1:8000", TOKEN)
    form = {"CallSid": CALL, "AccountSid": ACCOUNT, "From": "+14155550100", "To": "+14155550199"}
    form |= {"CallStatus": "ringing", "Direction": "inbound", "ApiVersion": "2010-04-01"}
    assert web_client.sign("https://voice.example.org/twilio/voice/", form) == "1z1aKaVtqNkdgb1spAVMEIozEro="
    assert web_client.sign("wss://voice.example.org/twilio/media", {}) == "2rCRgsIjrw23mO+/2Wo8GAomY6I="


def test_https_is_signed_without_its_port_and_http_with_it():
    assert signed_url("https://u:p@voice.example.org:8443/a?b=%20#rc=2") == "https://voice.example.org/a?b=%20"
    assert signed_url("http://127.0.0.1:8000/a") == "http://127.0.0.1:8000/a"


def test_the_socket_is_dialled_where_the_webhooks_are():
    assert str(Tcp("https://127.0.0.1:8443").dialled("wss://voice.example.org/c")) == "wss://127.0.0.1:8443/c"
    assert str(Tcp("http://127.0.0.1:8000").dialled("wss://voice.example.org")) == "ws://127.0.0.1:8000/"


# --- Calls


async def test_a_call_sends_the_callers_audio_frame_by_frame():
    server, report = await call(echo, audio=LOUD * 4 + b"\x01" * 80, duration=0.2)
    sent = b"".join(read_payload(message) for message in server.events("media"))
    assert sent == report.sent == (LOUD * 4 + b"\x01" * 80).ljust(1600, b"\xff")
    assert [m["media"]["timestamp"] for m in server.events("media")] == [str(153 + 20 * n) for n in range(10)]
    assert [m["media"]["chunk"] for m in server.events("media")] == [str(n) for n in range(1, 11)]
    assert report.ok, report.errors


def read_payload(message):
    return b64decode(message["media"]["payload"])


async def test_messages_come_in_order_under_one_sequence():
    server, report = await call(echo, dtmf=((0.04, "1"), (0.04, "#")))
    assert [m["event"] for m in server.received] == (
        ["connected", "start", "media", "media", "dtmf", "dtmf", "media", "media", "media", "stop"]
    )
    assert [m["sequenceNumber"] for m in server.received[1:]] == [str(n) for n in range(1, 10)]
    assert server.events("start")[0]["start"]["customParameters"] == {"token": "q3Zr8"}
    assert {m["streamSid"] for m in server.received[1:]} == set(report.stream_sids)


async def test_the_webhook_and_the_handshake_are_signed():
    server, _ = await call(handler="echo", documents={"incoming/echo": [CONNECT]})
    path, form, headers = server.requests[0]
    validator = RequestValidator(TOKEN)
    assert validator.validate(f"{server.url}{path}", form, headers["X-Twilio-Signature"])
    assert headers["User-Agent"] == "TwilioProxy/1.1"
    assert headers["I-Twilio-Idempotency-Token"]
    handshake = server.handshakes[0]
    url = f"{server.url}/connection".replace("http", "ws")
    assert handshake.headers["x-twilio-signature"] == validator.compute_signature(url, {})
    assert "Origin" not in handshake.headers
    assert b"x-twilio-signature" in dict(handshake.raw_headers)


async def test_the_webhook_has_every_parameter_that_twilio_sends():
    server, _ = await call(extra={"CallerName": "ALICE"})
    form = server.forms("/incoming")[0]
    assert (form["From"], form["Caller"], form["To"], form["Called"]) == ("+14155550100",) * 2 + ("+14155550199",) * 2
    assert (form["CallStatus"], form["Direction"], form["ApiVersion"]) == ("ringing", "inbound", "2010-04-01")
    assert (form["AccountSid"], form["CallSid"], form["CallerName"]) == (ACCOUNT, CALL, "ALICE")
    assert form["FromCity"] == form["CalledCountry"] == form["CallerZip"] == form["ToState"] == ""


async def test_marks_return_after_their_audio_and_at_once_on_clear():
    async def talk(line):
        await line.until("start")
        await line.send("media", {"payload": b64encode(LOUD).decode()})
        await line.send("mark", {"name": "short"})
        await line.until("mark")
        await line.send("media", {"payload": b64encode(LOUD * 500).decode()})
        await line.send("mark", {"name": "long"})
        await line.until("media", 2)
        await line.send("clear")
        await line.until("mark")

    server, report = await call(talk, duration=None)
    assert [m["mark"]["name"] for m in server.events("mark")] == ["short", "long"]
    assert report.marks == [("short", "played"), ("long", "cleared")]
    assert (report.clears, report.streams[0].unreturned) == (1, [])
    assert len(report.heard_audio) < 8000


async def test_what_the_caller_heard_is_what_the_server_played():
    async def talk(line):
        await line.until("media")
        await line.send("media", {"payload": b64encode(LOUD * 3).decode()})
        await line.until("media", 6)

    _, report = await call(talk, duration=None)
    ((position, audio),) = report.heard
    assert audio == LOUD * 3
    assert 0 <= position < 4000
    assert report.heard_audio[position : position + 480] == LOUD * 3


async def test_after_the_server_closes_action_is_asked_and_a_hangup_ends_the_call():
    async def talk(line):
        await line.until("media")

    server, report = await call(talk, duration=None, silence_timeout=0)
    assert [path for path, _, _ in server.requests if "status" not in path] == ["/incoming", "/stream-ended"]
    assert server.forms("/stream-ended")[0]["CallStatus"] == "in-progress"
    assert report.closed_code == 1000
    assert report.ended.startswith("the server hung up after")
    assert report.ok


async def test_action_may_connect_again_and_the_audio_goes_on():
    async def first(line):
        await line.until("media", 3)
        await line.socket.close(code=3000)
        await listen(line)

    audio = b"".join(bytes([n]) * 160 for n in range(10))
    server, report = await call([first, listen], {"stream_ended": [CONNECT, HANGUP]}, audio=audio, duration=0.2)
    assert len(report.streams) == len(set(report.stream_sids)) == 2
    assert report.sent == audio
    assert report.streams[0].closed_code == 3000
    assert [m["sequenceNumber"] for m in server.events("start")] == ["1", "1"]
    assert report.ok
    assert "another stream took over after: the server closed the socket with 3000" in report.warnings[0]


async def test_a_call_has_ten_streams_at_most():
    async def talk(line):
        await line.until("media")

    _, report = await call(talk, {"stream_ended": [CONNECT]}, duration=None)
    assert report.errors == ["the server opened more than 10 streams in one call"]
    assert len(report.streams) == 10


async def test_callbacks_tell_of_the_stream_and_of_the_call():
    server, report = await call()
    started, stopped = server.forms("/stream-status")
    assert (started["StreamEvent"], stopped["StreamEvent"]) == ("stream-started", "stream-stopped")
    assert (started["StreamName"], started["StreamSid"]) == ("main", report.stream_sids[0])
    assert len(started["Timestamp"]) == len("2024-11-29T00:09:39.602648368Z")
    (completed,) = server.forms("/call-status")
    assert (completed["CallStatus"], completed["SequenceNumber"]) == ("completed", "0")
    assert (completed["CallbackSource"], completed["Duration"]) == ("call-progress-events", completed["CallDuration"])
    assert completed["Timestamp"].endswith(" +0000")


async def test_a_number_without_status_callback_sends_none():
    server, report = await call(status_callback=False)
    assert server.forms("/call-status") == []
    assert report.ok


async def test_a_caller_who_hangs_up_sends_stop_and_a_close_frame_without_a_code():
    server, report = await call(hang_up_after=0.04, duration=None, audio=LOUD * 50)
    assert server.received[-1]["stop"] == {"accountSid": ACCOUNT, "callSid": CALL}
    assert server.closed == [0]
    assert len(report.sent) == 320
    assert report.ended == "the caller hung up after 0.0 s"
    assert server.forms("/stream-ended") == []


async def test_without_a_duration_the_caller_hears_the_server_out():
    async def talk(line):
        await line.until("media", 4)
        await line.send("media", {"payload": b64encode(tone(440, 300)).decode()})
        await listen(line)

    _, report = await call(talk, duration=None, audio=LOUD, linger=0.02)
    assert report.ok
    assert len(report.heard[0][1]) == 2400
    assert report.seconds > 0.8


async def test_a_cut_connection_is_not_the_servers_fault_and_is_taken_up_again():
    server, report = await call(echo, {"stream_ended": [CONNECT]}, cut_after=0.04, audio=LOUD * 5)
    assert [stream.closed_code for stream in report.streams] == [1006, 1000]
    assert [form["StreamEvent"] for form in server.forms("/stream-status")][:2] == ["stream-started", "stream-error"]
    assert server.forms("/stream-status")[1]["StreamError"] == "31903 Broken Pipe"
    assert len(server.events("stop")) == 1
    assert report.sent == LOUD * 5
    assert report.ok


async def test_lost_packets_are_holes_in_time_and_not_in_the_sequence():
    server, report = await call(drop=0.5, audio=b"\x01" * 3200, duration=0.4, seed=1)
    media = server.events("media")
    assert 0 < len(media) < 20
    assert len(media) + report.streams[0].frames_dropped == 20
    assert [m["media"]["chunk"] for m in media] == [str(n) for n in range(1, len(media) + 1)]
    heard_by_server = {(int(m["media"]["timestamp"]) - 153) // 20 for m in media}
    assert report.sent == b"".join((b"\x01" if n in heard_by_server else b"\xff") * 160 for n in range(20))


async def test_bursts_and_jitter_delay_packets_and_lose_none():
    server, report = await call(burst=5, jitter=0.03, duration=0.2)
    assert len(server.events("media")) == 10
    assert report.ok


async def test_a_start_stream_hears_both_tracks_of_a_dial():
    theirs = tone(880, 60)
    server, report = await call(documents={"incoming": [MONITOR]}, duration=None, audio=LOUD * 3, callee_audio=theirs)
    assert server.events("start")[0]["start"]["tracks"] == ["inbound", "outbound"]
    tracks = {
        name: [m for m in server.events("media") if m["media"]["track"] == name] for name in ("inbound", "outbound")
    }
    assert b"".join(map(read_payload, tracks["inbound"])) == report.sent == LOUD * 3
    assert b"".join(map(read_payload, tracks["outbound"])) == report.heard_audio == theirs
    assert [m["media"]["timestamp"] for m in tracks["inbound"]] == [m["media"]["timestamp"] for m in tracks["outbound"]]
    assert report.ok


async def test_a_dial_asks_its_action_when_the_person_called_hangs_up():
    document = MONITOR.replace("<Dial>", '<Dial action="/stream-ended">')
    server, report = await call(documents={"incoming": [document]}, duration=None, callee_audio=LOUD)
    assert server.forms("/stream-ended")[0]["DialCallStatus"] == "completed"
    assert report.ended.startswith("the server hung up")


DIALS = '<Response><Dial action="/stream-ended" timeout="5"><Number>+14155550111</Number></Dial></Response>'


@pytest.mark.parametrize("status", ["busy", "no-answer", "failed", "canceled"])
async def test_a_number_that_is_dialled_may_not_answer(status):
    server, report = await call(documents={"incoming": [DIALS]}, duration=None, dial=(Dialled(status, 0.04),))
    form = server.forms("/stream-ended")[0]
    assert (form["DialCallStatus"], "DialCallDuration" in form, form["CallStatus"]) == (status, False, "in-progress")
    assert report.dialled == ["+14155550111"]


async def test_what_becomes_of_one_number_after_the_other():
    documents = {"incoming": [DIALS], "stream-ended": [DIALS, DIALS, HANGUP]}
    planned = (Dialled("busy", 0.02), Dialled("completed", 1))
    server, _ = await call(documents=documents, duration=None, dial=planned)
    outcomes = [(form["DialCallStatus"], form.get("DialCallDuration")) for form in server.forms("/stream-ended")]
    assert outcomes == [("busy", None), ("completed", "1"), ("completed", "1")]


async def test_a_caller_who_hangs_up_during_a_dial_has_its_action_asked_all_the_same():
    documents = {"incoming": [DIALS], "stream-ended": [CONNECT]}
    server, report = await call(documents=documents, duration=None, hang_up_after=0.04, dial=(Dialled("busy", 5),))
    assert server.forms("/stream-ended")[0]["CallStatus"] == "completed"
    assert report.streams == []


async def test_nobody_answers_within_the_timeout():
    assert Dialled("no-answer").rings(parse_twiml(DIALS.encode())[0]) == 5
    assert Dialled("busy").rings(parse_twiml(DIALS.encode())[0]) == 1


@pytest.mark.parametrize(
    ("dial", "reason"),
    [
        ("<Dial/>", "has nobody to dial"),
        ("<Dial><Number/></Dial>", "has nobody to dial"),
        ('<Dial timeout="4">+14155550111</Dial>', "cannot have timeout='4'"),
        ('<Dial timeout="soon">+14155550111</Dial>', "cannot have timeout='soon'"),
    ],
)
async def test_a_dial_that_twilio_would_not_carry_out_fails_the_call(dial, reason):
    _, report = await call(documents={"incoming": [f"<Response>{dial}</Response>"]})
    assert reason in report.reason


async def test_a_stopped_stream_ends_while_the_call_goes_on():
    document = (
        '<Response><Start><Stream name="m" url="ws://{host}/connection"/></Start><Pause length="0.04"/>'
        '<Stop><Stream name="m"/></Stop><Say>Bye</Say><Play>a.wav</Play></Response>'
    )
    server, report = await call(documents={"incoming": [document]})
    assert [m["event"] for m in server.received] == ["connected", "start", "media", "media", "stop"]
    assert report.ended == "the document was over"
    assert report.ok


async def test_a_redirect_is_followed_and_eleven_are_too_many():
    documents = {"incoming": ["<Response><Redirect>/other</Redirect></Response>"], "other": [CONNECT]}
    _, report = await call(documents=documents)
    assert report.ok
    _, report = await call(documents={"incoming": ["<Response><Redirect>/incoming</Redirect></Response>"]})
    assert report.reason == "more than 10 redirects (11215)"


async def test_a_call_may_be_hung_up_from_outside():
    async with serving() as server:
        placed = SimulatedCall(scenario(server, duration=None, audio=LOUD * 500))
        server.talk = lambda line: hang_up_at_media(line, placed)
        report = await placed.run()
    assert report.ok
    assert report.seconds < 5


async def hang_up_at_media(line, placed):
    await line.until("media")
    placed.hang_up()
    await listen(line)


async def test_cancelling_leaves_no_socket_behind():
    async with serving() as server:
        task = asyncio.create_task(simulate(scenario(server, duration=60)))
        opened = asyncio.Event()
        server.talk = lambda line: tell(line, opened)
        await opened.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def tell(line, opened):
    await line.until("media")
    opened.set()
    await listen(line)


# --- What goes wrong, in one line


async def failure(talk=listen, documents=None, **changes):
    _, report = await call(talk, documents, **changes)
    assert not report.ok
    return report.reason


async def test_no_server(unused_tcp_port):
    nowhere = f"http://127.0.0.1:{unused_tcp_port}"
    report = await simulate(Scenario(public_url=nowhere, server=nowhere, auth_token=TOKEN, account_sid=ACCOUNT))
    assert report.errors == [f"no server at {nowhere} (connection refused)"]


async def test_a_server_that_breaks_the_request_off(unused_tcp_port):
    async def hang_up(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", unused_tcp_port):
        url = f"http://127.0.0.1:{unused_tcp_port}"
        report = await simulate(Scenario(public_url=url, server=url, auth_token=TOKEN, account_sid=ACCOUNT))
    assert report.reason == "the server broke POST /incoming off without an answer (Server disconnected)"


async def test_a_server_that_does_not_answer_the_webhook(unused_tcp_port, monkeypatch):
    monkeypatch.setattr("simulator.tcp.TIMEOUT", ClientTimeout(total=0.1))
    done = asyncio.Event()

    async def wait(reader, writer):
        await done.wait()
        writer.close()

    async with await asyncio.start_server(wait, "127.0.0.1", unused_tcp_port):
        url = f"http://127.0.0.1:{unused_tcp_port}"
        report = await simulate(Scenario(public_url=url, server=url, auth_token=TOKEN, account_sid=ACCOUNT))
        done.set()
    assert report.reason == "the server did not answer POST /incoming within 0.1 s"


async def test_a_webhook_answered_500():
    answer = {"status": 500, "text": "database is away\nTraceback"}
    assert await failure(documents={"incoming": [answer]}) == (
        "the webhook POST /incoming was answered 500: database is away"
    )


async def test_a_webhook_answered_403_says_what_it_probably_is():
    reason = await failure(documents={"incoming": [{"status": 403, "text": "<h1/>", "content_type": "text/html"}]})
    assert reason.startswith("the webhook POST /incoming was answered 403 (is http://127.0.0.1:")
    assert reason.endswith("/incoming signed with the server's own PUBLIC_URL and TWILIO_AUTH_TOKEN?)")


async def test_a_webhook_answered_400_without_a_reason_says_what_it_probably_is():
    reason = await failure(documents={"incoming": [{"status": 400, "text": "<h1/>", "content_type": "text/html"}]})
    assert reason.endswith("was answered 400 (does the server's ALLOWED_HOSTS have the host that was dialled?)")


async def test_a_redirected_webhook():
    answer = {"status": 301, "headers": {"Location": "/incoming/"}}
    assert (await failure(documents={"incoming": [answer]})).endswith("301: a redirected POST loses its body")


async def test_an_answer_that_is_not_twiml():
    answer = {"body": b"hello", "content_type": "text/plain"}
    assert await failure(documents={"incoming": [answer]}) == (
        "the webhook POST /incoming was answered with no TwiML: Content-Type is 'text/plain', not text/xml (12300)"
    )


async def test_invalid_xml():
    assert "was answered with invalid XML (12100)" in await failure(documents={"incoming": ["<Response>"]})


async def test_an_apology_instead_of_a_stream():
    apology = "<Response><Say>Sorry.</Say><Hangup/></Response>"
    assert await failure(documents={"incoming": [apology]}) == (
        "the server answered <Say>, <Hangup> and opened no stream"
    )


async def test_an_empty_document():
    assert "an empty <Response> and opened no stream" in await failure(documents={"incoming": ["<Response/>"]})


async def test_a_rejected_call():
    assert await failure(documents={"incoming": ["<Response><Reject/></Response>"]}) == "the server rejected the call"


async def test_an_unknown_verb():
    document = "<Response><connect/></Response>"
    assert "does not know the verb <connect> (12200)" in await failure(documents={"incoming": [document]})


async def test_twiml_that_cannot_be_used():
    document = "<Response><Connect><Stream url='wss://h/c' track='both_tracks'/></Connect></Response>"
    assert (await failure(documents={"incoming": [document]})).startswith("the TwiML cannot be used: <Connect><Stream>")


async def test_a_refused_socket():
    server, report = await call({"status": 403})
    assert (
        report.reason
        == f"the socket {server.url.replace('http', 'ws')}/connection was refused: HTTP 403 (31920 Handshake Error)"
    )
    (error,) = server.forms("/stream-status")
    assert (error["StreamEvent"], error["StreamError"]) == ("stream-error", "31920 Handshake Error")
    assert [path for path, _, _ in server.requests if path == "/stream-ended"]


async def test_a_redirected_socket():
    reason = await failure({"status": 302, "headers": {"Location": "/elsewhere"}})
    assert reason.endswith("/connection was refused: HTTP 302 to /elsewhere (31920 Handshake Error)")


async def test_a_refused_start_stream_fails_and_the_call_goes_on():
    _, report = await call({"status": 503}, {"incoming": [MONITOR]}, callee_audio=LOUD, duration=None)
    assert "HTTP 503" in report.reason
    assert len(report.requests) == 2


async def test_a_socket_closed_with_an_error_before_the_audio_was_over():
    async def talk(line):
        await line.until("media")
        await line.socket.close(code=1011)

    reason = await failure(talk, audio=LOUD * 50, duration=None)
    assert reason.startswith("the server closed the socket with 1011 after 0.")
    assert reason.endswith(", before the caller's audio was over (31921 Close Error)")


async def test_a_socket_that_dies_without_a_close_frame():
    async def talk(line):
        await line.until("media")
        line.socket.get_extra_info("socket").shutdown(2)

    reason = await failure(talk, duration=None, linger=0.5)
    assert reason.startswith("the server closed the socket without a close frame after 0.")
    assert reason.endswith("(31903 Broken Pipe)")


async def test_a_server_that_says_nothing_at_all():
    reason = await failure(silence_timeout=0.1, duration=None)
    assert reason == "the server went silent: no media, mark or clear in the first 0.1 s"


async def test_a_server_all_of_whose_messages_are_rejected_is_not_said_to_be_silent():
    async def talk(line):
        await line.until("start")
        for _ in range(30):
            await line.socket.send_str("{")
        await listen(line)

    log = []
    async with serving(talk, voice=[CONNECT]) as server:
        report = await simulate(scenario(server, silence_timeout=0.1, duration=None), log.append)
    assert report.reason.startswith("Twilio rejects all that the server sent in the first 0.1 s: 31951 ")
    assert report.errors[1].startswith("the server sent 30 message(s) that Twilio rejects; first: 31951 ")
    assert [line[:5] for line in log].count("31951") == 1


async def test_a_server_that_only_listens_is_fine_without_a_silence_timeout():
    _, report = await call(silence_timeout=0, duration=None, linger=0.1)
    assert report.ok


async def test_a_server_that_does_not_answer_the_close(monkeypatch):
    monkeypatch.setattr("simulator.stream.CLOSE_TIMEOUT", 0.1)
    done = asyncio.Event()

    async def talk(line):
        await done.wait()

    async with serving(talk) as server:
        report = await simulate(scenario(server))
        done.set()
    assert report.reason == "the server went silent: it did not answer the close of the socket"


async def test_a_server_that_froze_answers_no_ping():
    done = asyncio.Event()

    async def talk(line):
        await line.until("start")
        await line.send("clear")
        await done.wait()

    async with serving(talk) as server:
        report = await simulate(scenario(server, silence_timeout=0.1, duration=5))
        done.set()
    assert report.reason == "the server went silent: it did not answer a ping"


async def test_a_violation_of_the_websocket_protocol():
    async def talk(line):
        await line.until("start")
        line.socket._writer.transport.write(b"\xf1\x00")
        await listen(line)

    assert "31924 Protocol Error" in await failure(talk)


async def test_a_socket_where_nobody_listens():
    async with Web("http://127.0.0.1:1", TOKEN) as client:
        with pytest.raises(Refused, match=r"was refused: connection refused \(31902 Connection Refused\)"):
            await client.socket("ws://127.0.0.1:1/connection", None)


async def test_bad_messages_are_ignored_counted_and_fail_the_call():
    async def talk(line):
        await line.until("start")
        await line.socket.send_bytes(b"\x00")
        await line.socket.send_str("{")
        await line.send("mark", {"name": "fine"})
        await line.until("mark")
        await listen(line)

    _, report = await call(talk, duration=0.2)
    assert (
        report.reason
        == "the server sent 2 message(s) that Twilio rejects; first: 31950 Malformed Message: a binary frame"
    )
    assert [mistake[:5] for mistake in report.streams[0].mistakes] == ["31950", "31951"]
    assert report.marks == [("fine", "played")]


async def test_a_message_before_start_has_the_wrong_stream():
    async def talk(line):
        await line.send("media", {"payload": "////"})
        await listen(line)

    assert "31951 Invalid Message: media for streamSid None" in await failure(talk)


async def test_anything_sent_on_a_start_stream_is_a_protocol_error():
    async def talk(line):
        await line.until("start")
        await line.send("clear")
        await listen(line)

    assert "31924 Protocol Error: a <Start> stream takes no messages" in await failure(
        talk, {"incoming": [MONITOR]}, callee_audio=LOUD, duration=None
    )


async def test_what_the_server_sends_across_our_stop_is_not_heard():
    async def talk(line):
        await line.until("stop")
        await line.send("media", {"payload": b64encode(LOUD).decode()})
        await line.send("mark", {"name": "late"})

    _, report = await call(talk)
    assert report.ok
    assert (report.heard, report.marks) == ([], [])


async def test_odd_media_and_too_much_of_it_are_warnings():
    async def talk(line):
        await line.until("start")
        for size in (161, 5_000_000, 160, 160):
            await line.send("media", {"payload": b64encode(b"\xff" * size).decode()})

    # Not hung up before all of it has come, which takes long on a busy machine.
    _, report = await call(talk, duration=20)
    assert report.ok
    assert report.warnings == [
        "media that is no multiple of 160 bytes clicks",
        "31931 Media Discarded: more than 10 minutes of audio waited already",
    ]


async def test_a_refused_status_callback_fails_the_call():
    document = CONNECT.replace("/stream-status", "/refused")
    documents = {"incoming": [document], "refused": [{"status": 404}]}
    async with serving(listen, **documents) as server:
        report = await simulate(scenario(server))
    assert report.reason == "the status callback stream-started was answered 404"


async def test_a_stream_at_another_host_is_dialled_at_the_server_with_a_warning():
    document = CONNECT.replace("ws://{host}", "ws://media.example.org")
    _, report = await call(documents={"incoming": [document]})
    assert report.ok
    assert report.warnings[0].startswith("media.example.org is not the host of PUBLIC_URL")


@pytest.fixture
def certificate(tmp_path):
    """A self-signed one for 127.0.0.1."""
    files = ("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"))
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *names], check=True, capture_output=True
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes its certificate with openssl")
async def test_a_self_signed_certificate_is_refused_unless_told_otherwise(certificate):
    document = CONNECT.replace("ws://", "wss://")
    async with serving(tls=certificate, incoming=[document]) as server:
        report = await simulate(scenario(server))
        assert report.reason.startswith(f"no TLS with {server.url}: ")
        assert report.reason.endswith("; --insecure accepts a self-signed certificate")
        report = await simulate(scenario(server, insecure=True))
        assert report.ok, report.errors


# --- The report


def test_a_report_is_saved_as_stereo_with_both_sides_as_long():
    stream = StreamReport(STREAM, ["inbound"], {}, sent=b"\x00" * 4, heard=[(2, b"\x80" * 4)])
    wav = Report(CALL, streams=[stream]).wav()
    assert wav[:44] == wav_header(6, 2)
    assert len(wav) == 44 + 6 * 4


def test_reports_of_two_streams_lie_one_after_the_other():
    streams = [StreamReport(STREAM, ["inbound"], {}, sent=b"\x01" * 4, heard=[(2, b"\x02")]) for _ in range(2)]
    report = Report(CALL, streams=streams)
    assert report.heard == [(2, b"\x02"), (6, b"\x02")]
    assert report.heard_audio == b"\xff\xff\x02\xff" * 2


def test_a_reason_is_one_line():
    assert Report(CALL, errors=["a\n  b", "c"]).reason == "a b"


# --- The command


async def run_command(talk, *arguments, documents=None):
    async with serving(talk, **(documents or {})) as server:
        where = ("--server", server.url, "--public-url", server.url)
        await asyncio.to_thread(call_command, "simulate_call", *where, *arguments)
    return server


async def test_the_command_prints_a_summary(capsys):
    await run_command(echo, "--duration", "0.1", "--dtmf", "0.02:1")
    out, err = capsys.readouterr()
    assert "0.1 s on 1 stream(s), 5 frames sent" in out
    assert "the caller hung up after 0.1 s" in out
    assert "the caller presses 1" in err


async def test_the_command_places_calls_with_sids_and_numbers_of_their_own(capsys):
    server = await run_command(echo, "--duration", "0.1", "--calls", "3", "--quiet", "--from", "+14155550198")
    forms = server.forms("/incoming")
    assert sorted(form["From"] for form in forms) == ["+14155550198", "+14155550199", "+14155550200"]
    assert len({form["CallSid"] for form in forms}) == 3
    assert capsys.readouterr() == ("", "")


async def test_the_command_saves_what_was_said_and_heard(tmp_path):
    speech = tmp_path / "speech.wav"
    speech.write_bytes(wav_header(160, 1, "mulaw") + LOUD)
    saved = tmp_path / "call.wav"
    await run_command(echo, "--duration", "0.1", "--audio", str(speech), "--save", str(saved), "--quiet")
    assert saved.read_bytes()[:44] == wav_header(800, 2)
    assert read_wav(speech.read_bytes()) == LOUD


async def test_the_command_prints_json(capsys):
    await run_command(echo, "--duration", "0.1", "--json")
    (report,) = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["streams"][0]["frames_sent"] == 5


async def test_the_command_fails_with_the_reason():
    documents = {"incoming": [{"status": 500}]}
    with pytest.raises(CommandError, match=r"^the webhook POST /incoming was answered 500$"):
        await run_command(echo, documents=documents)


async def test_the_command_counts_the_calls_that_failed():
    documents = {"incoming": [{"status": 500}, CONNECT]}
    with pytest.raises(
        CommandError, match=r"^1 of 2 calls failed; CA\w+: the webhook POST /incoming was answered 500$"
    ):
        await run_command(echo, "--calls", "2", "--duration", "0.1", documents=documents)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--audio", "/nowhere.wav"], "/nowhere.wav: No such file"),
        (["--audio", __file__], "not a WAV file"),
        (["--dtmf", "3.0"], "write it as SECONDS:DIGIT"),
        (["--dtmf", "3.0:x"], "write it as SECONDS:DIGIT"),
        (["--dial", "engaged"], "write it as OUTCOME:SECONDS"),
        (["--dial", "busy:soon"], "soon is not a number of seconds"),
        (["--duration", "-1"], "is not a number of seconds"),
        (["--drop", "2"], "is not a share"),
        (["--calls", "0"], "is less than one"),
        (["--server", "localhost:8000"], "write an address like"),
        (["--public-url", ""], "PUBLIC_URL has to be set"),
    ],
)
def test_the_command_says_what_is_wrong_with_an_option(arguments, fault):
    with pytest.raises(CommandError, match=fault):
        call_command("simulate_call", *arguments)


def test_the_command_needs_a_token(settings):
    settings.TWILIO_AUTH_TOKENS = []
    with pytest.raises(CommandError, match="have to be set"):
        call_command("simulate_call")
