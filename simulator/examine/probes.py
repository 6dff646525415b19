"""What is done to a server. Each probe adds what it has found to the facts, and judges nothing."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from simulator import messages
from simulator.carrier import CallFailed, Refused
from simulator.documents import StreamNoun, TwimlError
from simulator.examine.facts import Facts
from simulator.examine.line import HEARTBEAT, Line
from simulator.examine.talks import Talk, interrupting, polite
from simulator.examine.target import Desk
from simulator.scenario import Scenario, new_sid


# A socket that starts with a call of nobody's: servers wait so long for a `start` that they like, or less.
STRANGERS_WAIT = 6.0
# What crosses `stop` on its way is nobody's fault.
CROSSING = 0.3
WRONG_TOKEN = "0" * 32

Probe = Callable[[Desk, Facts], Awaitable[None]]


# --- Webhooks


async def document(desk: Desk, facts: Facts) -> None:
    facts.answers["twilio"] = await desk.ask(desk.voice_form(desk.target.scenario()))


async def strangers(desk: Desk, facts: Facts) -> None:
    """Requests that Twilio has not signed, or not like this; each for a call of its own."""
    asked: dict[str, tuple[str, str | None]] = {
        "stranger": ("POST", ""),
        "forger": ("POST", WRONG_TOKEN),
        "get": ("GET", None),
        "get stranger": ("GET", ""),
    }

    async def ask(name: str, method: str, token: str | None) -> None:
        form = desk.voice_form(desk.target.scenario())
        facts.answers[name] = await desk.ask(form, method=method, token=token)

    await asyncio.gather(*(ask(name, *how) for name, how in asked.items()))


# --- Calls


async def alone(desk: Desk, facts: Facts) -> None:
    facts.talk = await interrupting(desk.target)


async def together(desk: Desk, facts: Facts) -> None:
    """Two callers, the second one while the first is being served."""

    async def second() -> Talk:
        await asyncio.sleep(0.5)
        return await polite(desk.target, 1)

    facts.pair = await asyncio.gather(polite(desk.target, 0), second())


# --- Sockets


async def ending(desk: Desk, facts: Facts) -> None:
    """A socket that opens slowly, and one that closes slowly: Twilio's order of messages, with time between them."""

    async def play(line: Line, noun: StreamNoun, _: Scenario) -> None:
        await line.open(noun.url)
        await line.wait(0.7)
        line.start(noun.parameters)
        line.note("start")
        await line.frames(1.0)
        line.stop()
        await line.wait(1.0)

    await _on_a_line(desk, facts, "ending", play)


async def reading(desk: Desk, facts: Facts) -> None:
    """A caller who talks on, to a server that is pinged meanwhile if it is quiet."""

    async def play(line: Line, noun: StreamNoun, _: Scenario) -> None:
        await line.open(noun.url, heartbeat=HEARTBEAT)
        line.start(noun.parameters)
        await line.frames(1.5 * HEARTBEAT + 1)

    await _on_a_line(desk, facts, "reading", play)


async def repeated(desk: Desk, facts: Facts) -> None:
    """The webhook comes twice, the second time while the call is being served."""
    line_form: dict[str, str] = {}
    token = {"I-Twilio-Idempotency-Token": str(uuid.uuid4())}

    async def play(line: Line, noun: StreamNoun, scenario: Scenario) -> None:
        await line.open(noun.url)
        line.start(noun.parameters)
        await line.frames(0.5)
        line.note("repeated")
        facts.answers["repeated"], _ = await asyncio.gather(desk.ask(line_form, **token), line.frames(1.5))

    await _on_a_line(desk, facts, "repeated", play, line_form, token)


def surprise(name: str, do: Callable[[Line], None]) -> Probe:
    """A call in which something comes about that happens in real ones."""

    async def play(line: Line, noun: StreamNoun, _: Scenario) -> None:
        await line.open(noun.url)
        line.start(noun.parameters)
        await line.frames(0.4)
        line.note("surprise")
        do(line)
        await line.frames(1.2)

    async def probe(desk: Desk, facts: Facts) -> None:
        await _on_a_line(desk, facts, name, play)

    return probe


def _key(line: Line) -> None:
    line.send(lambda number: messages.dtmf(number, line.heard.sid, "5"))


def _mark(line: Line) -> None:
    line.send(lambda number: messages.mark(number, line.heard.sid, "a mark that nobody sent"))


def _unknown(line: Line) -> None:
    line.send(
        lambda number: (
            f'{{"event":"weather","sequenceNumber":"{number}","streamSid":"{line.heard.sid}","weather":{{"sky":"blue"}}}}'
        )
    )


def _jump(line: Line) -> None:
    line.frame(skipped_ms=3000)


def intruder(name: str, token: str | None) -> Probe:
    """A socket whose `start` is of a call that the server has never answered."""

    async def play(line: Line, noun: StreamNoun, _: Scenario) -> None:
        await line.open(noun.url, token)
        line.start({}, call_sid=new_sid("CA"))
        line.note("start")
        await line.frames(STRANGERS_WAIT)

    async def probe(desk: Desk, facts: Facts) -> None:
        await _on_a_line(desk, facts, name, play)

    return probe


async def _on_a_line(
    desk: Desk,
    facts: Facts,
    name: str,
    play: Callable[[Line, StreamNoun, Scenario], Awaitable[None]],
    form: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> None:
    """One call of which only the socket is played, on a document of its own. `form` becomes that of its webhook."""
    scenario = desk.target.scenario()
    form = {} if form is None else form
    form |= desk.voice_form(scenario)
    try:
        noun = await desk.place(form, **(headers or {}))
    except (CallFailed, TwimlError) as error:
        facts.lines[name] = str(error)
        return
    line = Line(desk, scenario)
    try:
        await play(line, noun, scenario)
    except Refused as refusal:
        line.heard.refused = str(refusal)
    finally:
        await line.hang_up()
    facts.lines[name] = line.heard


# --- The order in which they go

WEBHOOKS: dict[str, Probe] = {"strangers": strangers}
SOCKETS: dict[str, Probe] = {
    "ending": ending,
    "reading": reading,
    "repeated": repeated,
    "unsigned": intruder("unsigned", ""),
    "forged": intruder("forged", WRONG_TOKEN),
    "unknown call": intruder("unknown call", None),
    "key": surprise("key", _key),
    "mark": surprise("mark", _mark),
    "unknown event": surprise("unknown event", _unknown),
    "jump": surprise("jump", _jump),
}
