"""A server of Media Streams in a page: greets, listens, answers, is interrupted, hangs up. It has nothing of ours."""

import asyncio
import json
import random
from base64 import b64decode, b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, WSMsgType, web


QUIET = b"\xff"
FRAME = 160


def babble(seconds, seed):
    """Like nothing else, as a sentence is: µ-law noise of that length."""
    dice = random.Random(seed)
    return bytes(dice.choice((0x10, 0x20, 0x90, 0xA0)) for _ in range(round(8000 * seconds)))


GREETING, REPLY = babble(0.8, "greeting"), babble(1.0, "reply")


@dataclass
class Desk:
    """What it does; a test changes one thing. Seconds, and µ-law."""

    greeting: bytes = GREETING
    reply: bytes = REPLY
    thinks: float = 0.2
    pause: float = 0.3  # the caller's, after which it is its turn
    clears: bool = True  # when the caller talks into its words
    hangs_up_at: str = "#"
    paces: bool = False  # sends 20 ms every 20 ms, and a little late, as many do
    twiml: str = '<Response><Connect><Stream url="{ws}/media" statusCallback="{http}/stream"/></Connect></Response>'
    after: str = "<Response><Hangup/></Response>"
    #: Of Twilio, where it places calls: address, account and token.
    api: tuple = ("", "", "")
    requests: list = field(default_factory=list)
    turns: int = 0

    @property
    def callbacks(self):
        """What came about, as it was told: (path, StreamEvent or CallStatus)."""
        told = [(kind, form) for kind, form in self.requests if kind in ("stream", "status")]
        return [(kind, form["StreamEvent" if kind == "stream" else "CallStatus"]) for kind, form in told]

    @asynccontextmanager
    async def served(self):
        """Its address."""
        app = web.Application()
        app.router.add_post("/voice", self._voice)
        app.router.add_post("/order", self._order)
        app.router.add_post("/{rest:stream|status}", self._callback)
        app.router.add_get("/media", self._media)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.host = f"127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield f"http://{self.host}"
        finally:
            await runner.cleanup()

    async def _voice(self, request):
        self.requests.append(("voice", dict(await request.post())))
        text = self.twiml.format(ws=f"ws://{self.host}", http=f"http://{self.host}")
        return web.Response(text=text, content_type="text/xml")

    async def _callback(self, request):
        self.requests.append((request.match_info["rest"], dict(await request.post())))
        return web.Response(status=204)

    async def _order(self, request):
        """Places a call through Twilio's REST API."""
        form = dict(await request.post())
        me = f"http://{self.host}"
        call = {"To": form["to"], "From": form["from"], "Url": f"{me}/voice", "StatusCallback": f"{me}/status"}
        events = [("StatusCallbackEvent", event) for event in ("initiated", "ringing", "answered", "completed")]
        url, account, token = self.api
        secret = b64encode(f"{account}:{token}".encode()).decode()
        async with (
            ClientSession(headers={"Authorization": f"Basic {secret}"}) as session,
            session.post(f"{url}/2010-04-01/Accounts/{account}/Calls.json", data=[*call.items(), *events]) as answer,
        ):
            return web.Response(status=answer.status, text=await answer.text())

    async def _media(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await _Talk(self, socket).run()
        return socket


class _Talk:
    def __init__(self, desk, socket):
        self.desk, self.socket = desk, socket
        self.heard = self.quiet = 0
        self.marks = 0
        self.saying = None

    async def run(self):
        async for frame in self.socket:
            if frame.type is not WSMsgType.TEXT:
                break
            message = json.loads(frame.data)
            if await self.take(message) is False:
                break
        if self.saying:
            self.saying.cancel()
        self.desk.requests.append(("closed", {}))
        await self.socket.close()

    async def take(self, message):
        match message["event"]:
            case "start":
                self.sid = message["streamSid"]
                self.say(self.desk.greeting, "greeting", 0)
            case "media":
                await self.listen(b64decode(message["media"]["payload"]))
            case "mark":
                self.marks -= 1
            case "dtmf":
                return message["dtmf"]["digit"] != self.desk.hangs_up_at
            case "stop":
                return False

    async def listen(self, audio):
        loud = sum(byte not in (0xFF, 0x7F) for byte in audio) > 80
        if loud and self.marks and self.desk.clears and self.heard > 3:
            self.saying.cancel()
            await self.send("clear")
        self.heard += loud
        self.quiet = 0 if loud else self.quiet + 1
        if self.heard > 5 and self.quiet == round(self.desk.pause * 50):
            self.heard, self.desk.turns = 0, self.desk.turns + 1
            self.say(self.desk.reply, f"reply {self.desk.turns}", self.desk.thinks)

    def say(self, audio, name, after):
        self.saying = asyncio.create_task(self._say(audio, name, after))

    async def _say(self, audio, name, after):
        await asyncio.sleep(after)
        if audio:
            self.marks += 1
            size = FRAME if self.desk.paces else len(audio)
            for at in range(0, len(audio), size):
                await self.send("media", media={"payload": b64encode(audio[at : at + size]).decode()})
                await asyncio.sleep(0.0205 if self.desk.paces else 0)
            await self.send("mark", mark={"name": name})

    async def send(self, event, **body):
        await self.socket.send_str(json.dumps({"event": event, "streamSid": self.sid, **body}))
