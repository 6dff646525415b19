"""The socket of Twilio's media.

Channels' own `dispatch` hops to the one database thread for every message, so a slow query anywhere would delay every
call's audio. So the media consumer has a receive loop of its own: a message goes straight from the socket to its
LiveStream, and nothing on that way waits.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from channels.consumer import AsyncConsumer

from calls import about, handlers, metrics, tracing
from calls.media.protocol import ConnectedMessage, ProtocolError, Start, StartMessage, StreamProtocol
from calls.metrics import Refusal
from calls.security import StreamToken, is_signed_handshake
from calls.server.conversation import Conversation
from calls.server.live_stream import LiveStream, log_rejected
from calls.server.outings import outings
from calls.server.relay import CARRIED, Relay
from calls.server.socket import Receive, Send, Socket, SocketClosed
from calls.server.switchboard import switchboard
from calls.server.talker import Talker
from calls.server.tickets import Pass, ReturnTicket
from calls.sockets.frames import EXTENSION
from calls.streams import MediaStream
from calls.twiml import OUTING


logger = logging.getLogger(__name__)

# Seconds within which `start` must come.
START_TIMEOUT = 10
# Sockets that may wait for their `start` at once. No cap by address: Twilio's streams share few of them.
MAX_STARTING = 200
# Messages of one socket that are handled before the others get their turn.
FAIR_SHARE = 64


class Refused(Exception):
    """This socket is not a stream of ours; `code` and `reason` close it (daphne takes 1000 and 3000-4999 only)."""

    def __init__(self, code: int, reason: Refusal) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Opening:
    """What `start` says, and the texts that came up to it."""

    start: Start
    texts: tuple[str, ...]

    def ticket(self) -> ReturnTicket | None:
        """Of a caller who was sent to another number, and comes back."""
        return ReturnTicket.read(self.start.custom_parameters.get(OUTING), self.start.call_sid)


class MediaStreamConsumer(AsyncConsumer):
    """One media stream: the handshake, the wait for `start`, the refusals, and the socket's receive loop."""

    # No channel layer: a dead Redis must not end a call.
    channel_layer_alias = ""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        message = await receive()
        if message["type"] != "websocket.connect":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        carried = Pass.read(headers.get(CARRIED.lower()))
        if (refusal := _handshake_refusal(scope, headers, carried)) is not None:
            logger.warning("handshake_refused reason=%s", refusal)
            metrics.refuse(refusal)
            await send({"type": "websocket.close", "code": 4403, "reason": refusal})
            return
        await send({"type": "websocket.accept"})
        short_way = scope.get("extensions", {}).get(EXTENSION)
        await self._serve(Socket(receive, send, short_way, _address(scope.get("server"))), carried)

    async def _serve(self, socket: Socket, carried: Pass | None) -> None:
        protocol = StreamProtocol()
        try:
            if carried is not None:
                # So that the other worker knows that it has reached the right one: not its neighbour, and no stranger.
                await socket.send(Pass(carried.key, is_answer=True).sign())
            opening = await _start_in_time(socket, protocol)
            if opening is None:
                return
            about.note(opening.start.call_sid, protocol.stream_sid)
            token, ticket = _check(opening, protocol.stream_sid, is_carried=carried is not None)
            if ticket is not None and outings.find(ticket.key) is None:
                if await switchboard.carry(Relay(socket, ticket), opening.texts):
                    return
                ticket = None
            handler = _handler(token)
        except TimeoutError:
            metrics.refuse(Refusal.DRAINING if switchboard.draining else Refusal.NO_START)
            await socket.close(4408, "draining" if switchboard.draining else f"no start within {START_TIMEOUT} s")
        except SocketClosed:
            return  # the other worker has given up
        except Refused as refused:
            logger.warning("stream_rejected reason=%s", refused.reason)
            metrics.refuse(refused.reason)
            await socket.close(refused.code, refused.reason)
        else:
            live = LiveStream(
                token, opening.start, protocol, socket, records=handler.records, transcribes=handler.transcribes
            )
            await _converse(live, handler, ticket)


async def _converse(live: LiveStream, handler: handlers.Handler, ticket: ReturnTicket | None) -> None:
    """With the handler that waits for this caller, if one does, else with a new one."""
    outing = outings.find(ticket.key) if ticket is not None else None
    if ticket is not None and outing is not None:
        conversation = Conversation(live, outing.handling, partial(outing.come_back, live, ticket.dialled))
    else:
        talker = Talker(live, partial(handler, MediaStream(live)), handler.options.prepare)
        conversation = Conversation(live, talker, talker.start)
    with tracing.span("stream", handler=live.token.handler):
        reader = asyncio.create_task(_read(live))
        try:
            await conversation.run(reader)
        finally:
            reader.cancel()


def _address(server: Sequence[Any] | None) -> str:
    """Where the server took a socket, as another process finds it; "" for one that only this machine can."""
    if not server or not server[1]:
        return ""
    host, port = server[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _handshake_refusal(scope: dict[str, Any], headers: dict[str, str], carried: Pass | None) -> Refusal | None:
    """Why this handshake is refused, before anything is accepted and without a query."""
    if "origin" in headers:
        return Refusal.ORIGIN
    if carried is not None:
        # One for whom there is a place, also in a process that is full or drains.
        return None if outings.find(carried.key) else Refusal.NOT_AWAITED
    if switchboard.draining:
        return Refusal.DRAINING
    if len(switchboard.starting) >= MAX_STARTING or switchboard.is_full:
        return Refusal.FULL
    query = scope.get("query_string", b"").decode("latin-1")
    if not is_signed_handshake(scope["path"] + (f"?{query}" if query else ""), headers):
        return Refusal.SIGNATURE
    return None


async def _start_in_time(socket: Socket, protocol: StreamProtocol) -> Opening | None:
    limit = asyncio.timeout(START_TIMEOUT)
    switchboard.starting.add(limit)
    try:
        async with limit:
            return await _start(socket, protocol)
    finally:
        switchboard.starting.discard(limit)


async def _start(socket: Socket, protocol: StreamProtocol) -> Opening | None:
    """Reads until `start`; None if the socket closes before."""
    connected = ""
    while True:
        frame = await socket.receive()
        if frame["type"] != "websocket.receive":
            return None
        text = frame.get("text")
        try:
            message = protocol.receive_binary(frame.get("bytes")) if text is None else protocol.receive(text)
        except ProtocolError as error:
            log_rejected(protocol, error)
            continue
        if isinstance(message, StartMessage):
            return Opening(message.start, tuple(filter(None, (connected, text))))
        if isinstance(message, ConnectedMessage):
            connected = text or ""
        elif protocol.unknown == 1:
            logger.info("unknown_event: it came before start")


def _check(opening: Opening, stream_sid: str, *, is_carried: bool) -> tuple[StreamToken, ReturnTicket | None]:
    """What binds this stream to its call, and to a handler that waits. Refused if that is not ours, or was used."""
    start, ticket = opening.start, opening.ticket()
    token = StreamToken.read(start.custom_parameters.get("token"))
    if token is None:
        raise Refused(4403, Refusal.NO_TOKEN)
    if token.call_sid != start.call_sid:
        raise Refused(4403, Refusal.OTHER_CALL)
    is_awaited = ticket is not None and outings.find(ticket.key) is not None
    if is_carried and not is_awaited:
        raise Refused(4404, Refusal.NOT_AWAITED)
    if not switchboard.nonces.use(token.nonce):
        raise Refused(4403, Refusal.USED_TOKEN)
    if switchboard.draining and not is_awaited:
        raise Refused(4503, Refusal.DRAINING)
    if stream_sid in switchboard.live:
        raise Refused(4409, Refusal.ALREADY_HERE)
    if switchboard.is_full and not is_awaited:
        raise Refused(4503, Refusal.FULL)
    return token, ticket


def _handler(token: StreamToken) -> handlers.Handler:
    try:
        handler = handlers.find(token.handler)
    except Exception:
        logger.exception("handler_unusable handler=%r call=%s", token.handler, token.call_sid)
        raise Refused(4404, Refusal.UNUSABLE_HANDLER) from None
    if handler is None:
        raise Refused(4404, Refusal.NO_HANDLER)
    return handler


async def _read(live: LiveStream) -> None:
    """The receive loop. Nothing in it waits but `receive` itself."""
    receive = live.socket.receive
    handled = 0
    while True:
        frame = await receive()
        if frame["type"] != "websocket.receive":
            live.socket.note_closed(frame.get("code"))
            live.note_end_of_line()
            live.lifetime.end("disconnect")
            return
        text = frame.get("text")
        if text is None:
            live.receive_binary(frame.get("bytes"))
        else:
            live.receive(text)
        handled += 1
        if handled % FAIR_SHARE == 0:
            # daphne's queue never makes us wait, and a flood would keep the loop for itself.
            await asyncio.sleep(0)
