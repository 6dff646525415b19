"""A realtime model that answers the telephone: the caller's speech in, its own out, over OpenAI Realtime's events.

A handler like yours, in one file: what it imports from us is what your own may. To change what the model can do, copy
it into handlers/ (docs/handlers.md).

The events are those of https://developers.openai.com/api/reference/resources/realtime/client-events and its
…/server-events; what brings audio is known by its names of before August 2025 too. Audio is µ-law both ways,
`audio/pcmu`, as on the line: nothing is converted. The service notices that the caller begins to speak, and stops its
answer; how much of it they had heard by then, only we know
(https://developers.openai.com/api/docs/guides/realtime-conversations).
"""

import asyncio
import json
import logging
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from django.conf import settings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from calls.handlers import ExpectedCall, handler
from calls.streams import Dtmf, Event, Media, MediaStream, Takeover
from calls.tracing import span


logger = logging.getLogger(__name__)
# The library's lines, which show REALTIME_KEY at the level debug.
socket_logger = logging.getLogger("websockets.realtime")
socket_logger.setLevel(logging.INFO)

# Seconds after which a connection is given up, before it is there and when it says nothing to a ping.
OPEN_PATIENCE, PING_PATIENCE = 5, 10
# Seconds without an answer after which the call says so, and before one that failed is asked for again.
SLOW, RETRY = 5.0, 1.0
# Keys are told together, when none has followed for so many ms of the caller's audio.
KEYS_END = 1500

GREET = "A caller is on the line. Greet them."
GO_ON = "The line was interrupted and is back. Do not greet again: say so in a few words, and go on."

TAKEN_OVER = (
    "A colleague has just talked with the caller, for {seconds} s, and has handed them back to you. You have not "
)
TAKEN_OVER += "heard what they said. Do not greet again: ask in a few words whether there is anything else."


class RealtimeError(Exception):
    """The model cannot be reached, or does not answer, and why."""


def session() -> dict[str, Any]:
    """What the model is told first. It knows whom it may transfer to by name: numbers it neither sees nor dials."""
    pcmu = {"format": {"type": "audio/pcmu"}}
    voice = {"voice": settings.REALTIME_VOICE} if settings.REALTIME_VOICE else {}
    tools = [tool("hang_up", "Ends the call, once the caller has heard what you have said. Say goodbye before.")]
    if names := list(settings.REALTIME_TRANSFER_TO):
        what = "Connects the caller to somebody else, after telling them so; you go on when they are back."
        tools.append(tool("transfer", what, to={"type": "string", "enum": names}))
    return {
        "type": "realtime",
        "instructions": settings.REALTIME_INSTRUCTIONS,
        "output_modalities": ["audio"],
        "audio": {"input": {**pcmu, "turn_detection": {"type": "server_vad"}}, "output": {**pcmu, **voice}},
        "tools": tools,
    }


def tool(name: str, description: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "name": name, "description": description, "parameters": parameters}


def message(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


async def send(model: ClientConnection, kind: str, **fields: Any) -> None:
    await model.send(json.dumps({"type": kind, **fields}))


async def open_model(hint: str) -> ClientConnection:
    """A session that has been asked for its first words. RealtimeError."""
    if not settings.REALTIME_KEY:
        raise RealtimeError("REALTIME_KEY is not set")
    with span("realtime connect"):
        return await _open_model(hint)


async def _open_model(hint: str) -> ClientConnection:
    try:
        model = await connect(
            settings.REALTIME_URL,
            additional_headers={"Authorization": f"Bearer {settings.REALTIME_KEY}"},
            compression=None,  # saves a few bytes of each 20 ms, for much work
            open_timeout=OPEN_PATIENCE,
            ping_interval=PING_PATIENCE,
            ping_timeout=PING_PATIENCE,
            close_timeout=2,  # a handler has 5 s to clean up
            max_size=2**24,
            logger=socket_logger,
        )
        await send(model, "session.update", session=session())
        await send(model, "conversation.item.create", item=message("system", hint))
        await send(model, "response.create")
    except InvalidStatus as error:
        body = (error.response.body or b"")[:300].decode(errors="replace")
        raise RealtimeError(f"REALTIME_URL answers {error.response.status_code}: {body}") from None
    except (OSError, TimeoutError, WebSocketException) as error:
        raise RealtimeError(f"REALTIME_URL cannot be reached: {type(error).__name__}: {error}") from None
    return model


async def open_early(call: ExpectedCall) -> ClientConnection | None:
    """At the webhook, so that its first words are there when the caller is. If it fails, the handler tells."""
    with suppress(RealtimeError):
        return await open_model(GO_ON if call.resumed else GREET)
    return None


@handler(prepare=open_early)
async def realtime(stream: MediaStream) -> None:
    """The model talks with the caller until one of them hangs up."""
    try:
        await talk(stream)
    except RealtimeError:
        # What it has said is heard to its end; then the call ends as that of any handler that fails.
        await stream.play(b"")
        raise


async def talk(stream: MediaStream) -> None:
    """Where the connection breaks, another session goes on with what was said; but not twice without a word."""
    said: list[str] = []
    model = stream.prepared or await open_model(GO_ON if stream.resumed else GREET)
    is_first = True
    while True:
        conversation = Conversation(stream, model, said)
        try:
            with span("realtime"):
                return await conversation.run()
        except ConnectionClosed as cut:
            why = conversation.objection or str(cut)
        logger.warning("realtime_cut call=%s: %s", stream.call_sid, why)
        stream.note(f"The connection to the model broke: {why}")
        if not (is_first or conversation.has_spoken):
            raise RealtimeError(f"the model is gone: {why}")
        model, is_first = await open_model(f"{GO_ON} You have said: {' '.join(said)[-2000:]}"), False


class Answer:
    """One item of what the model says, from its first chunk on."""

    def __init__(self, stream: MediaStream, item_id: str) -> None:
        self.item_id = item_id
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._bytes = 0
        self._is_whole = False
        self._playing = stream.say(self._source())

    async def _source(self) -> AsyncIterator[bytes]:
        while chunk := await self._chunks.get():
            yield chunk

    def add(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        self._chunks.put_nowait(chunk)

    def end(self) -> None:
        self._is_whole = True
        self._chunks.put_nowait(b"")

    @property
    def heard_ms(self) -> int:
        """Never more than there is of it, to which the service would object."""
        return self._playing.heard_ms

    @property
    def is_heard(self) -> bool:
        return self._is_whole and self.heard_ms == self._bytes // 8


class Conversation:
    """What the caller and one session of the model say to each other."""

    def __init__(self, stream: MediaStream, model: ClientConnection, said: list[str]) -> None:
        """`said` gets what the model says."""
        self._stream, self._model, self._said = stream, model, said
        #: Whether it has said a word, and what the service has objected to last.
        self.has_spoken, self.objection = False, ""
        #: Whether it is the session that was asked for.
        self._is_set_up = False
        self._answers: list[Answer] = []
        #: The response that is being made, and the last one that was interrupted.
        self._response, self._cut = "", "none"
        #: Whether the caller waits for an answer, the last one failed, and one has to be asked for later.
        self._is_due, self._has_failed, self._is_owed = True, False, False
        #: Keys that were not told yet, and the ms since the last one.
        self._keys, self._quiet = "", 0
        #: Not set while the caller is with somebody else.
        self._is_here = asyncio.Event()
        self._is_here.set()

    async def run(self) -> None:
        """Until the caller leaves. ConnectionClosed if the model leaves before; RealtimeError if it does not answer."""
        tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._speak())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self._end_answers()
        for outcome in await asyncio.gather(*tasks, self._model.close(), return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _hear(self) -> None:
        """The caller, to the model. If that takes nothing, this waits, and the stream drops and counts the oldest."""
        while not self._stream.ended:
            async for event in self._stream:
                await self._pass_on(event)
            await self._is_here.wait()

    async def _pass_on(self, event: Event) -> None:
        if isinstance(event, Dtmf):
            # Where keys are nobody's business, they are not the service's either.
            self._keys, self._quiet = self._keys + ("" if settings.MASK_DTMF else event.digit), 0
        elif isinstance(event, Media):
            await send(self._model, "input_audio_buffer.append", audio=b64encode(event.payload).decode())
            self._quiet += len(event.payload) // 8
        elif isinstance(event, Takeover):
            await self._take_back(event)
        if self._keys and self._quiet >= KEYS_END:
            keys, self._keys = self._keys, ""
            await self._tell(message("user", f"The caller pressed {keys}."))
            await self._ask()

    async def _take_back(self, takeover: Takeover) -> None:
        """A person had the caller, who has heard nothing of what the model said meanwhile, nor it of them."""
        self._keys = ""
        await self._cut_short()
        seconds = (takeover.end_ms - takeover.start_ms) // 1000
        await self._tell(message("system", TAKEN_OVER.format(seconds=seconds)))
        await self._ask()

    async def _speak(self) -> None:
        """The model, to the caller."""
        while not self._stream.ended:
            try:
                async with asyncio.timeout(SLOW):
                    text = await self._model.recv()
            except TimeoutError:
                if self._is_due:
                    self._is_due = False
                    logger.warning("realtime_slow call=%s: no answer for %g s", self._stream.call_sid, SLOW)
                    self._stream.note(f"The model has not answered for {SLOW:g} s")
            else:
                await self._take(json.loads(text))

    async def _take(self, event: Any) -> None:
        """What is not known here is not for us, like audio of a response that was interrupted and comes late."""
        match event:
            case {"type": "session.updated"}:
                self._is_set_up = True
            case {"type": "response.created", "response": {"id": str(response)}}:
                self._response = response
            case {
                "type": "response.output_audio.delta" | "response.audio.delta",
                "item_id": item,
                "delta": delta,
                **more,
            }:
                if more.get("response_id") != self._cut:
                    self._say(str(item), b64decode(str(delta)))
            case {"type": "response.output_audio_transcript.done" | "response.audio_transcript.done"}:
                self._said.append(event.get("transcript", ""))
            case {"type": "input_audio_buffer.speech_started"}:
                await self._interrupt()
            case {"type": "input_audio_buffer.speech_stopped"}:
                self._is_due = True
            case {"type": "response.done", "response": dict(response)}:
                await self._finish(response)
            case {"type": "error", "error": {"code": "conversation_already_has_active_response"}}:
                # The caller has spoken meanwhile.
                self._is_owed = True
            case {"type": "error", "error": dict(error)}:
                self._object(error)
                if not self._is_set_up:
                    # It would go on with settings of its own: other audio, which is noise on the line.
                    raise RealtimeError(f"the session is refused: {self.objection}")

    def _say(self, item_id: str, chunk: bytes) -> None:
        self.has_spoken, self._is_due = True, False
        if not self._answers or self._answers[-1].item_id != item_id:
            self._end_answers()
            self._answers.append(Answer(self._stream, item_id))
        self._answers[-1].add(chunk)

    def _end_answers(self) -> None:
        for answer in self._answers:
            answer.end()
        self._answers = [answer for answer in self._answers if not answer.is_heard]

    async def _interrupt(self) -> None:
        """The caller speaks: what they have not heard is forgotten, here and by the model."""
        self._is_due = False
        await self._cut_short()

    async def _cut_short(self) -> None:
        self._cut = self._response
        answers, self._answers = [answer for answer in self._answers if not answer.is_heard], []
        if answers:
            await self._stream.clear()
        for answer in answers:
            where = {"item_id": answer.item_id, "content_index": 0, "audio_end_ms": answer.heard_ms}
            await send(self._model, "conversation.item.truncate", **where)

    async def _finish(self, response: dict[str, Any]) -> None:
        """A response is "completed", "failed", which it may once, or cut short: then it may hold half a call."""
        self._is_due = False
        self._end_answers()
        status, output = response.get("status"), response.get("output") or []
        calls = [item for item in output if item["type"] == "function_call" and status == "completed"]
        for call in calls:
            await self._call(call["name"], call["arguments"], call["call_id"])
        if status == "failed":
            self._object((response.get("status_details") or {}).get("error") or {})
            if self._has_failed:
                raise RealtimeError(f"no answer: {self.objection}")
            await asyncio.sleep(RETRY)
        self._has_failed = status == "failed"
        if (calls or self._is_owed or self._has_failed) and not self._stream.ended:
            self._is_owed = False
            await self._ask()

    async def _call(self, name: str, arguments: str, call_id: str) -> None:
        """What the model may do."""
        if name == "hang_up":
            await self._stream.hang_up()
            return
        output = await self._transfer(arguments) if name == "transfer" else f"There is no {name}."
        await self._tell({"type": "function_call_output", "call_id": call_id, "output": output})

    async def _transfer(self, arguments: str) -> str:
        known = settings.REALTIME_TRANSFER_TO
        try:
            name = json.loads(arguments)["to"]
            number = known[name]
        except (ValueError, TypeError, KeyError):
            return f"Nobody was called: `to` is one of {', '.join(known)}."
        self._stream.note(f"The model transfers the caller to {name}")
        self._is_here.clear()
        dialled = await self._stream.dial(number)
        self._answers.clear()
        self._is_here.set()
        return f"The caller is back; the call to {name}: {dialled.status}, {dialled.duration} s."

    async def _tell(self, item: dict[str, Any]) -> None:
        await send(self._model, "conversation.item.create", item=item)

    async def _ask(self) -> None:
        self._is_due = True
        await send(self._model, "response.create")

    def _object(self, error: dict[str, Any]) -> None:
        self.objection = ": ".join(filter(None, (error.get("code"), error.get("message")))) or "no reason was given"
        logger.warning("realtime_error call=%s: %s", self._stream.call_sid, self.objection)
        self._stream.note(f"The model: {self.objection}")
