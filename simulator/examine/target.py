"""The server under examination, and the callers that it gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from simulator import parameters
from simulator.carrier import Answer, CallFailed, Carrier
from simulator.documents import StreamNoun, TwimlError, Verb, parse_twiml, read_stream
from simulator.examine.voices import BABBLE
from simulator.scenario import Scenario
from simulator.webhooks import Web
from simulator.wellformed import NO_ACCOUNT


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the server is, and how calls to it are signed. Audio is µ-law."""

    voice_url: str
    auth_token: str
    account_sid: str = NO_ACCOUNT
    server: str = ""  # dialled instead of each host that an address names
    insecure: bool = False
    status_callback: str = ""
    from_number: str = "+14155550100"
    to_number: str = "+14155550199"
    sentences: tuple[bytes, bytes] = field(default=BABBLE, repr=False)  # two callers', each their own

    @property
    def origin(self) -> str:
        voice = urlsplit(self.voice_url)
        return f"{voice.scheme}://{voice.netloc}"

    @property
    def is_public(self) -> bool:
        """Whether Twilio itself could dial its sockets: it takes wss:// only."""
        return self.voice_url.startswith("https:")

    def scenario(self, **facts: Any) -> Scenario:
        """One call more, with a CallSid of its own."""
        scenario = Scenario(
            public_url=self.origin,
            url=self.voice_url,
            server=self.server,
            insecure=self.insecure,
            auth_token=self.auth_token,
            account_sid=self.account_sid,
            from_number=self.from_number,
            to_number=self.to_number,
            status_callback=bool(self.status_callback),
            status_url=self.status_callback,
            silence_timeout=0,
        )
        return replace(scenario, **facts)

    def for_document(self, answer: Answer) -> "Target":
        """A server without TLS whose document names the same host with wss, as Twilio wants it, has no TLS there."""
        try:
            noun = read_stream(stream_verb(parse_twiml(answer.body, answer.content_type)), self.voice_url)
        except TwimlError:
            return self
        at_home = urlsplit(noun.url).netloc == urlsplit(self.voice_url).netloc
        secure = noun.url.startswith("wss:") and not self.is_public
        return replace(self, server=self.origin) if at_home and secure and not self.server else self


@dataclass(frozen=True)
class Exchange:
    """One webhook, in words, and what came back: an answer, or the reason why there is none."""

    asked: str
    answer: Answer | None = None
    failure: str = ""

    @property
    def is_document(self) -> bool:
        """Whether TwiML was handed out; a text that only looks like it counts."""
        return self.answer is not None and self.answer.status == 200 and b"<Response" in self.answer.body

    @property
    def status(self) -> int:
        return self.answer.status if self.answer else 0

    def __str__(self) -> str:
        if self.answer is None:
            return f"{self.asked} → {self.failure}"
        body = " ".join(self.answer.body[:120].decode(errors="replace").split())
        return f"{self.asked} → {self.answer.status} {self.answer.content_type} {body}".rstrip()


class Desk:
    """`async with Desk(target, carrier) as desk`: asks the server's webhooks, with any signature or none."""

    def __init__(self, target: Target, carrier: Carrier) -> None:
        self.target, self.carrier = target, carrier
        self.web = Web(target.server, target.auth_token, target.insecure, carrier)

    def voice_form(self, scenario: Scenario) -> dict[str, str]:
        return parameters.first(scenario, "ringing")

    async def ask(
        self, form: Mapping[str, str], method: str = "POST", token: str | None = None, **headers: str
    ) -> Exchange:
        """One request. `token` signs it: the right one if None, nobody's if empty."""
        url = self.target.voice_url
        asked, sent = f"{method} {urlsplit(url).path or '/'}", None if method == "GET" else dict(form)
        if method == "GET":
            url += ("&" if urlsplit(url).query else "?") + urlencode(form)
        if token != "":
            web = self.web if token is None else Web("", token, carrier=self.carrier)
            headers["X-Twilio-Signature"] = web.sign(url, sent or {})
        asked += {None: "", "": " without X-Twilio-Signature"}.get(token, " signed with another account's token")
        try:
            return Exchange(asked, await self.carrier.exchange(method, url, sent, headers))
        except CallFailed as failure:
            return Exchange(asked, failure=str(failure))

    async def place(self, form: Mapping[str, str], **headers: str) -> StreamNoun:
        """Asks for a call's document; its stream. CallFailed or TwimlError if it has none."""
        exchange = await self.ask(form, **headers)
        if exchange.answer is None or exchange.status != 200:
            raise CallFailed(str(exchange))
        document = parse_twiml(exchange.answer.body, exchange.answer.content_type)
        return read_stream(stream_verb(document), self.target.voice_url)


def stream_verb(document: list[Verb]) -> Verb:
    """The first verb that opens a stream; TwimlError if none does."""
    for verb in document:
        if verb.name in ("Connect", "Start") and verb.noun("Stream"):
            return verb
    raise TwimlError("the document opens no stream: " + (", ".join(map(str, document)) or "an empty <Response>"))
