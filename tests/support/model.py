"""A realtime service on loopback: it says OpenAI Realtime's events as the JSON that its reference shows."""

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Self

from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.support.line import PATIENCE


SESSION_CREATED = (
    '{"type":"session.created","event_id":"event_C9G5RJeJ2gF77mV7f2B1j","session":{"object":"realtime.session",'
    '"id":"sess_C9G5QPteg4UIbotdKLoYQ","model":"gpt-realtime-2025-08-28","output_modalities":["audio"]}}'
)
SESSION_UPDATED = (
    '{"type":"session.updated","event_id":"event_C9G8mqI3IucaojlVKE8Cs","session":{"type":"realtime",'
    '"object":"realtime.session","id":"sess_C9G8l3zp50uFv4qgxfJ8o","output_modalities":["audio"]}}'
)
RESPONSE_CREATED = (
    '{"type":"response.created","event_id":"event_C9G8pqbTEddBSIxbBN6Os","response":{"object":"realtime.response",'
    '"id":"%(response)s","status":"in_progress","status_details":null,"output":[],"usage":null,"metadata":null}}'
)
DELTA = (
    '{"event_id":"event_4950","type":"%(kind)s","response_id":"%(response)s","item_id":"%(item)s","output_index":0,'
    '"content_index":0,"delta":"%(audio)s"}'
)
AUDIO_DONE = (
    '{"event_id":"event_5152","type":"response.output_audio.done","response_id":"%(response)s","item_id":"%(item)s",'
    '"output_index":0,"content_index":0}'
)
TRANSCRIPT = (
    '{"event_id":"event_4748","type":"response.output_audio_transcript.done","response_id":"%(response)s",'
    '"item_id":"%(item)s","output_index":0,"content_index":0,"transcript":"%(words)s"}'
)
RESPONSE_DONE = (
    '{"type":"response.done","event_id":"event_CCXHxcMy86rrKhBLDdqCh","response":{"object":"realtime.response",'
    '"id":"%(response)s","status":"%(status)s","status_details":%(details)s,"output":[%(output)s],"metadata":null}}'
)
FUNCTION_CALL = (
    '{"id":"item_CCXhUJ4G6s2f4yXy1pWqg","type":"function_call","status":"completed","name":"%s",'
    '"call_id":"call_oMfFnI1bWqy4nNLD","arguments":"%s"}'
)
MESSAGE = (
    '{"id":"item_CCXHwGjjDUfOXbiySlK7i","type":"message","status":"completed","role":"assistant",'
    '"content":[{"type":"output_audio","transcript":"Loud and clear!"}]}'
)
SPEECH_STARTED = (
    '{"event_id":"event_1516","type":"input_audio_buffer.speech_started","audio_start_ms":1000,"item_id":"msg_003"}'
)
SPEECH_STOPPED = (
    '{"event_id":"event_1718","type":"input_audio_buffer.speech_stopped","audio_end_ms":2000,"item_id":"msg_003"}'
)
ERROR = (
    '{"event_id":"event_890","type":"error","error":{"type":"invalid_request_error","code":"%s","message":"%s",'
    '"param":null,"event_id":null}}'
)
RATE_LIMITS = (
    '{"type":"rate_limits.updated","event_id":"event_CCXHxcMy86rrKhBLDdqCi","rate_limits":[{"name":"tokens",'
    '"limit":50000,"remaining":49950,"reset_seconds":60}]}'
)


class Session:
    """One connection: what the handler sends comes out of `told`."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.key = socket.request.headers.get("Authorization") if socket.request else None
        #: The caller's audio.
        self.audio: list[str] = []
        self._news: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def listen(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self.socket:
                event = json.loads(text)
                if event["type"] == "input_audio_buffer.append":
                    self.audio.append(event["audio"])
                else:
                    self._news.put_nowait(event)
        self.closed.set()

    def cut(self) -> None:
        """The network is gone."""
        self.socket.transport.abort()

    async def told(self) -> dict[str, Any]:
        """The next event that is no audio."""
        async with asyncio.timeout(PATIENCE):
            return await self._news.get()

    async def opened(self) -> tuple[dict[str, Any], str]:
        """What a session begins with: its settings, which are accepted, and the hint."""
        update, item, ask = [await self.told() for _ in range(3)]
        assert (update["type"], ask) == ("session.update", {"type": "response.create"})
        await self.send(SESSION_UPDATED)
        return update, item["item"]["content"][0]["text"]

    async def heard(self, frames: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.audio) < frames:  # noqa: ASYNC110 - audio comes without an event
                await asyncio.sleep(0.005)

    async def gone(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.closed.wait()

    # --- what it says -------------------------------------------------------------------------------------------------

    async def send(self, *events: str) -> None:
        for event in events:
            await self.socket.send(event)

    async def begin(self, response: str = "resp_001") -> None:
        await self.send(RESPONSE_CREATED % {"response": response})

    async def say(
        self,
        audio: bytes,
        item: str = "msg_008",
        response: str = "resp_001",
        kind: str = "response.output_audio.delta",
        size: int = 3200,
    ) -> None:
        """Deltas of `size` bytes."""
        for at in range(0, len(audio), size):
            encoded = b64encode(audio[at : at + size]).decode()
            await self.send(DELTA % {"kind": kind, "response": response, "item": item, "audio": encoded})

    async def end(
        self, *output: str, response: str = "resp_001", status: str = "completed", details: str = "null"
    ) -> None:
        values = {"response": response, "status": status, "details": details, "output": ",".join(output or [MESSAGE])}
        await self.send(RESPONSE_DONE % values)

    async def answer(self, audio: bytes, item: str = "msg_008", response: str = "resp_001") -> None:
        """A whole response."""
        await self.begin(response)
        await self.say(audio, item, response)
        await self.send(AUDIO_DONE % {"response": response, "item": item}, RATE_LIMITS)
        await self.end(response=response)

    async def call(self, name: str, arguments: str = "{}", response: str = "resp_001") -> None:
        """A response that calls a function."""
        await self.end(MESSAGE, FUNCTION_CALL % (name, arguments.replace('"', '\\"')), response=response)


Script = Callable[[Session], Awaitable[None]]


class Model:
    """`async with Model() as model:`; with a script, each session plays it. `refusal` refuses every handshake."""

    def __init__(self, script: Script | None = None, refusal: tuple[HTTPStatus, str] | None = None) -> None:
        self.refusal = refusal
        self.count = 0
        self._script = script
        self._sessions: asyncio.Queue[Session] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._answer, compression=None, ping_interval=None
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/v1/realtime?model=gpt-realtime"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _answer(self, socket: ServerConnection, request: Request) -> Response | None:
        self.count += 1
        return socket.respond(*self.refusal) if self.refusal else None

    async def _serve(self, socket: ServerConnection) -> None:
        session = Session(socket)
        self._sessions.put_nowait(session)
        await session.send(SESSION_CREATED)
        async with asyncio.TaskGroup() as tasks:
            script = tasks.create_task(self._script(session)) if self._script else None
            await session.listen()
            if script:
                script.cancel()

    async def session(self) -> Session:
        """The next connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._sessions.get()


class ModelBeside:
    """A model in a thread of its own, for tests that start a server process: `with ModelBeside(script) as model:`."""

    def __init__(self, script: Script, refusal: tuple[HTTPStatus, str] | None = None) -> None:
        self._script, self._refusal = script, refusal
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(), debug=False), daemon=True)

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with Model(self._script, self._refusal) as model:
            self.url = model.url
            self._is_up.set()
            await self._end.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._is_up.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)
