"""The calls that the load generator plays: placed by a signed webhook where the server answers one."""

import asyncio
import base64
import secrets
from dataclasses import replace

from django.conf import settings

from benchmark.load import BenchmarkError, Call
from benchmark.servers import Server
from simulator import messages, parameters
from simulator.documents import StreamNoun, parse_twiml, read_stream
from simulator.scenario import Scenario, new_sid
from simulator.webhooks import CallFailed, Web
from simulator.wellformed import NO_ACCOUNT


CONNECTED = messages.CONNECTED.encode()


def place(server: Server, count: int, handler: str = "echo") -> list[Call]:
    """`count` calls to that handler. BenchmarkError if the server refuses one."""
    if not server.candidate.records:
        noun = StreamNoun("ws://127.0.0.1/connection", "", ["inbound"], {}, "", "POST", ())
        return [_call(_scenario(server, handler), noun, "") for _ in range(count)]
    return asyncio.run(_place(server, count, handler))


def _scenario(server: Server, handler: str) -> Scenario:
    token = settings.TWILIO_AUTH_TOKENS[0]
    account = NO_ACCOUNT
    return Scenario(public_url=server.url, server=server.url, auth_token=token, account_sid=account, handler=handler)


async def _place(server: Server, count: int, handler: str) -> list[Call]:
    async with Web(server.url, settings.TWILIO_AUTH_TOKENS[0]) as web:
        try:
            return [await opening(web, _scenario(server, handler)) for _ in range(count)]
        except CallFailed as error:
            raise BenchmarkError(f"{server.candidate.title} does not take calls: {error}") from error


def complete(server: Server, calls: list[Call], seconds: float) -> None:
    """Says of each that it is over, as Twilio does after its stream. BenchmarkError if the server refuses one."""
    asyncio.run(_complete(server, calls, seconds))


async def _complete(server: Server, calls: list[Call], seconds: float) -> None:
    async with Web(server.url, settings.TWILIO_AUTH_TOKENS[0]) as web:
        for call in calls:
            scenario = replace(_scenario(server, "echo"), call_sid=call.call_sid)
            answer = await web.request(scenario.status_callback_url, parameters.completed(scenario, seconds))
            if answer.status not in (200, 204):
                raise BenchmarkError(f"{scenario.status_callback_url}: HTTP {answer.status} {answer.first_line}")


async def opening(web: Web, scenario: Scenario) -> Call:
    """Posts the voice webhook, and returns what opens the stream that it is answered with. CallFailed if it is not."""
    answer = await web.request(scenario.voice_url, parameters.first(scenario, "ringing"))
    if answer.status != 200:
        raise CallFailed(f"HTTP {answer.status} {answer.first_line}")
    noun = read_stream(parse_twiml(answer.body, answer.content_type)[0], scenario.voice_url)
    return _call(scenario, noun, web.sign(noun.url, {}))


def _call(scenario: Scenario, noun: StreamNoun, signature: str) -> Call:
    sid = new_sid("MZ")
    start = messages.start(1, sid, scenario.account_sid, scenario.call_sid, noun.tracks, noun.parameters)
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    handshake = (
        f"GET /connection HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nx-twilio-signature: {signature}\r\n\r\n"
    )
    return Call(scenario.call_sid, sid, scenario.account_sid, handshake.encode(), start.encode())
