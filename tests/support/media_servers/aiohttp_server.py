"""aiohttp: right, or wrong in one way that is named. `serving(wrong)` has it here, `main` in a process."""

import asyncio
import base64
import json
import sys
import time
from contextlib import asynccontextmanager

from aiohttp import web
from twilio.request_validator import RequestValidator

from tests.support.media_servers.parrot import GREETING, Parrot


TOKEN = "0123456789abcdef0123456789abcdef"


def stream(url="{url}", callback="http://{host}/stream", inside="", **attributes):
    more = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f'<Stream url="{url}" statusCallback="{callback}"{more}>{inside}</Stream>'


def connect(verb="Connect", after="", **facts):
    return f"<Response><{verb}>{stream(**facts)}</{verb}>{after}</Response>"


DOCUMENTS = {
    "query": connect(url="{url}?tenant=7"),
    "scheme": connect(url="ftp://{host}/media"),
    "no url": connect(url=""),
    "track": connect(track="both_tracks"),
    "parameter": connect(inside='<Parameter name="token" value="' + "x" * 500 + '"/>'),
    "callback": connect(callback="/stream"),
    "verb": connect("connect"),
    "xml": "<Response><Connect></Response>",
    "long": connect(after=f"<!--{'x' * 70_000}-->"),
    "start speaks": connect("Start", after='<Pause length="30"/>'),
    "start alone": connect("Start"),
    "pause": connect(after='<Pause length="40"/>'),
    "action": connect(after="<Redirect>/broken</Redirect>"),
}

# To calls that were never answered.
OPEN = ("nothing signed", "unsigned socket", "forged socket", "unknown call")


class Server:
    def __init__(self, wrong=""):
        self.wrong, self.validator = wrong, RequestValidator(TOKEN)
        self.tasks, self.answered, self.lines, self.first = [], set(), {}, ""

    @property
    def app(self):
        app = web.Application()
        app.router.add_post("/voice", self.voice)
        app.router.add_get("/media", self.media)
        app.router.add_post("/stream", self.callback)
        app.router.add_post("/broken", self.broken)
        if self.wrong in ("get", "get refused"):
            app.router.add_get("/voice", self.voice)
        return app

    # --- Webhooks

    async def voice(self, request):
        form = await request.post() if request.method == "POST" else request.query
        if not self.is_let_in(request, form):
            return web.Response(status=403)
        sid = form["CallSid"]
        if self.wrong == "webhook" or (self.wrong == "repeated" and sid in self.answered):
            return web.Response(status=500)
        if self.wrong == "redirect":
            return web.Response(status=301, headers={"Location": "/voice/"})
        if self.wrong == "repeated kills" and sid in self.answered:
            await self.lines[sid].close(code=1011)
        self.answered.add(sid)
        return web.Response(body=self.document(request, sid).encode(), content_type=self.content_type)

    def is_let_in(self, request, form):
        if self.wrong == "nothing signed" or (self.wrong == "get" and request.method == "GET"):
            return True
        if self.wrong == "get refused" and request.method == "GET":
            return False
        signature = request.headers.get("X-Twilio-Signature", "")
        if self.wrong == "forged":
            return bool(signature)
        return self.validator.validate(str(request.url), dict(form) if request.method == "POST" else {}, signature)

    @property
    def content_type(self):
        return {"text": "text/plain", "json": "application/json"}.get(self.wrong, "text/xml")

    def document(self, request, sid):
        self.first = self.first or sid
        mixed = f'<Parameter name="call" value="{self.first}"/>'
        usual = connect(inside=mixed if self.wrong == "same parameters" else "")
        secure = self.wrong == "wss"
        url = f"{'wss' if secure else 'ws'}://{request.host}{'/nowhere' if self.wrong == 'path' else '/media'}"
        return DOCUMENTS.get(self.wrong, usual).replace("{url}", url).replace("{host}", request.host)

    async def callback(self, request):
        return web.Response(status=500 if self.wrong == "callbacks" else 204)

    async def broken(self, request):
        return web.Response(status=500)

    # --- Sockets

    async def media(self, request):
        if not self.is_signed(request):
            return web.Response(status=403)
        if self.wrong == "busy" and any(not line.closed for line in self.lines.values()):
            return web.Response(status=503)
        line = web.WebSocketResponse(autoping=True)
        await line.prepare(request)
        parrot = VARIANTS.get(self.wrong, Parrot)()
        if self.wrong == "before start":
            await line.send_str('{"event":"mark","streamSid":"","mark":{"name":"hello"}}')
        await self.talk(line, parrot)
        return line

    def is_signed(self, request):
        signature = request.headers.get("X-Twilio-Signature", "")
        if self.wrong in ("nothing signed", "unsigned socket"):
            return True
        if self.wrong == "forged socket":
            return bool(signature)
        return self.validator.validate(
            str(request.url).replace("http", "wss" if self.wrong == "wss" else "ws", 1), {}, signature
        )

    async def talk(self, line, parrot):
        async for frame in line:
            message = json.loads(frame.data)
            if message["event"] == "media" and self.wrong == "slow":
                await asyncio.sleep(0.2)
            if message["event"] == "stop":
                if self.wrong == "deaf to stop":
                    continue
                if self.wrong == "left open":
                    await asyncio.sleep(7)
                return await line.close()
            if not await self.takes(line, message):
                return None
            for answer in parrot.hears(frame.data):
                await (line.send_bytes if isinstance(answer, bytes) else line.send_str)(answer)

    async def takes(self, line, message):
        """Whether the call goes on after this message."""
        event, wrong = message["event"], self.wrong
        if event == "start" and message["start"]["callSid"] not in self.answered and wrong not in OPEN:
            await line.close(code=1008)
            return False
        if event == "start":
            self.lines[message["start"]["callSid"]] = line
        if event == "start" and wrong == "deaf to stop":
            self.tasks.append(asyncio.create_task(talk_on(line, message["streamSid"])))
        if event == "start" and wrong == "blocking":
            time.sleep(4)  # noqa: ASYNC251
        if event == wrong or (event == "mark" and wrong == "unknown mark" and "nobody" in message["mark"]["name"]):
            await line.close(code=1011)
            return False
        return await self.goes_on(line, message)

    async def goes_on(self, line, message):
        wrong = self.wrong
        media = int(message["media"]["chunk"]) if message["event"] == "media" else 0
        if wrong == "jumps" and media and int(message["media"]["timestamp"]) > 153 + 20 * media + 1000:
            await line.close(code=1011)
            return False
        if media == 90 and wrong == "rfc":
            line._writer.transport.write(b"\x09\x00")  # a ping in pieces
        if media == 90 and wrong in ("1011", "no close frame", "action"):
            if wrong == "no close frame":
                line._writer.transport.abort()
            else:
                await line.close(code=1011 if wrong == "1011" else 1000)
            return False
        return True


# --- Parrots that are wrong in what they say


class Changed(Parrot):
    """Changes each message that it sends, or only one kind."""

    def message(self, event, **body):
        message = self.change(json.loads(super().message(event, **body)))
        return message if isinstance(message, bytes) else message if isinstance(message, str) else json.dumps(message)


def changing(change):
    return type("Changing", (Changed,), {"change": staticmethod(change)})


def saying(change):
    """Changes what is to be said, before it is cut into pieces."""
    return type("Saying", (Parrot,), {"says": lambda self, audio: Parrot.says(self, change(audio))})


def _payload(change):
    def changed(message):
        if message["event"] == "media":
            message["media"]["payload"] = change(message["media"]["payload"])
        return message

    return changing(changed)


def _media(**more):
    return changing(lambda message: message | more if message["event"] == "media" else message)


def _without(key):
    return changing(lambda message: {name: value for name, value in message.items() if name != key})


def _linear(audio):
    """G.711 undone: 16-bit PCM of µ-law."""
    samples = bytearray()
    for byte in audio:
        code = ~byte & 0xFF
        magnitude = (((code & 15) << 3) + 132 << (code >> 4 & 7)) - 132
        samples += (-magnitude if code & 0x80 else magnitude).to_bytes(2, "little", signed=True)
    return bytes(samples)


class Uncut(Parrot):
    def says(self, audio):
        self.said += 1
        self.marks.append(f"said-{self.said}")
        return [self.media(audio * 10), self.message("mark", name=self.marks[-1])]


class Odd(Parrot):
    def says(self, audio):
        self.marks.append("odd")
        pieces = [audio[at : at + 1000] for at in range(0, len(audio), 1000)]
        return [*map(self.media, pieces), self.message("mark", name="odd")]


class Unmoved(Parrot):
    """Talks on when it is interrupted."""

    def interrupted(self):
        self.marks.clear()
        return []


class Waiting(Parrot):
    """Forgets its marks when it clears, and then waits for them for ever."""

    waits = False

    def interrupted(self):
        self.waits = True
        return super().interrupted()

    def says(self, audio):
        return [] if self.waits else super().says(audio)


class Echoing(Parrot):
    """Says back what all callers have said, to each of them."""

    everyone = []

    def hears(self, text):
        if self not in self.everyone:
            self.everyone.append(self)
        return super().hears(text)

    def says(self, audio):
        heard = b"".join(bytes(other.heard) for other in self.everyone if other is not self)
        return super().says(audio + heard)


class Crossed(Parrot):
    """Sends with the SID of whoever came last."""

    last = ""

    def hears(self, text):
        answer = super().hears(text)
        if '"start"' in text:
            Crossed.last = self.sid
        return answer

    def message(self, event, **body):
        mine, self.sid = self.sid, Crossed.last or self.sid
        try:
            return super().message(event, **body)
        finally:
            self.sid = mine


async def talk_on(line, sid):
    payload = base64.b64encode(b"\xff" * 160).decode()
    while not line.closed:
        await line.send_str(json.dumps({"event": "media", "streamSid": sid, "media": {"payload": payload}}))
        await asyncio.sleep(0.1)


VARIANTS = {
    "binary": changing(lambda message: json.dumps(message).encode()),
    "not json": changing(lambda message: str(message)),
    "event": changing(lambda message: message | {"event": "hangup"} if message["event"] == "mark" else message),
    "no sid": _without("streamSid"),
    "extra": _media(track="outbound"),
    "number": changing(lambda m: m | {"mark": {"name": 7}} if m["event"] == "mark" else m),
    "body": changing(lambda m: m | {"mark": "said"} if m["event"] == "mark" else m),
    "sid": changing(lambda message: message | {"streamSid": "MZ" + "0" * 32}),
    "base64": _payload(lambda payload: base64.b64decode(payload).hex() + "!"),
    "wav": saying(lambda audio: b"RIFF\xff\xff\xff\xffWAVEfmt " + audio[16:]),
    "pcm16": saying(_linear),
    "zeros": saying(lambda audio: bytes(1600) + audio[1600:]),
    "odd": Odd,
    "uncut": Uncut,
    "ahead": saying(lambda audio: audio if audio != GREETING else GREETING * 130),
    "unmoved": Unmoved,
    "waiting": Waiting,
    "echoing": Echoing,
    "crossed": Crossed,
}


@asynccontextmanager
async def serving(wrong=""):
    """The address of its voice webhook."""
    runner = web.AppRunner(Server(wrong).app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = site._server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}/voice"
    finally:
        await runner.cleanup()


def main(port, wrong=""):
    web.run_app(Server(wrong).app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[3])
