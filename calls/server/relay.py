"""Carries a caller who has come back to another worker: there the handler waits that sent them to a number.

Twilio opens the stream wherever the proxy sends it. That worker finds in `start` who waits, and where; it opens a
socket there, and from then on passes texts on, both ways and as they are. It knows nothing of the stream and records
none of it: for the other one this is a socket like any.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Sequence
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from calls.addresses import CONNECTION
from calls.server.socket import Socket, SocketClosed
from calls.server.tickets import Pass, ReturnTicket


logger = logging.getLogger(__name__)

# The library tells of each connection.
_quiet = logging.getLogger("websockets.relay")
_quiet.setLevel(logging.WARNING)

# The header in which one worker shows the other its pass.
CARRIED = "X-Callstream-Carried"
# Seconds for which a caller is kept waiting for a worker that may be dead.
PATIENCE = 1.0
# Workers of one uvicorn share an address, and any of them may take a socket: it is tried again, so many seconds apart.
ATTEMPTS, APART = 12, 0.02
# Seconds between two pings, and for a pong: a host that is gone says nothing.
PING, PONG = 5, 5
# What Twilio's socket is closed with when the other worker is gone: /stream-ended then finds a broken stream.
BROKEN = 4502


class Relay:
    """One socket of Twilio's, and the one to the worker whose handler waits."""

    def __init__(self, socket: Socket, ticket: ReturnTicket) -> None:
        self._socket = socket
        self._ticket = ticket
        self._cut = asyncio.Event()
        self._gone = asyncio.Event()

    def cut(self) -> None:
        """This process ends."""
        self._cut.set()

    async def until_gone(self) -> None:
        await self._gone.wait()

    def note_gone(self) -> None:
        self._gone.set()

    async def run(self, opening: Sequence[str]) -> bool:
        """Carries the socket to its end. False if nobody waits there: nothing was taken from it then.

        `opening` is what has come of it already.
        """
        other = await self._find()
        if other is None:
            return False
        logger.info("carried call=%s to=%s", self._ticket.call_sid, self._ticket.address)
        try:
            for text in opening:
                await other.send(text)
            await self._carry(other)
        except ConnectionClosed:
            await self._socket.close(_code_of(other))
        finally:
            other.transport.abort()
        return True

    # --- finding it ---------------------------------------------------------------------------------------------------

    async def _find(self) -> ClientConnection | None:
        address = _private(self._ticket.address)
        if address is None:
            self._log("that is no address in a private network")
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                for _ in range(ATTEMPTS):
                    if other := await self._knock(*address):
                        return other
                    await asyncio.sleep(APART)
        except (OSError, WebSocketException, ValueError) as error:
            # A redirect to somewhere else is a ValueError, and TimeoutError an OSError.
            self._log(ascii(str(error))[:200])
            return None
        self._log("nobody waits there")
        return None

    def _log(self, why: str) -> None:
        call, address = self._ticket.call_sid, self._ticket.address
        logger.warning("not_carried call=%s to=%s: %s; the handler starts anew", call, address, why)

    async def _knock(self, host: str, port: int) -> ClientConnection | None:
        """A socket to the process in which the handler waits; None if it is another one that has answered."""
        bare = f"[{host}]" if ":" in host else host
        try:
            other = await connect(
                f"ws://{bare}:{port}/{CONNECTION}",
                # With these it follows no redirect to anywhere else.
                host=host,
                port=port,
                additional_headers={CARRIED: Pass(self._ticket.key).sign()},
                user_agent_header=None,
                compression=None,
                proxy=None,
                open_timeout=None,
                logger=_quiet,
                ping_interval=PING,
                ping_timeout=PONG,
            )
        except InvalidStatus:
            return None
        try:
            shown = Pass.read(await other.recv())
            if shown == Pass(self._ticket.key, is_answer=True):
                return other
        except BaseException:
            other.transport.abort()
            raise
        other.transport.abort()
        return None

    # --- carrying -----------------------------------------------------------------------------------------------------

    async def _carry(self, other: ClientConnection) -> None:
        """Until one of the three ends it: Twilio, the other worker, or this process."""
        ways = {asyncio.create_task(way) for way in (self._there(other), self._back(other), self._cut.wait())}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        if not self._socket.is_closed:
            await self._socket.close(1000 if self._cut.is_set() else _code_of(other))

    async def _there(self, other: ClientConnection) -> None:
        """What Twilio says. Waits while the other worker does not read, as that would keep Twilio waiting itself."""
        while (frame := await self._socket.receive())["type"] == "websocket.receive":
            text = frame.get("text")
            await other.send(frame["bytes"] if text is None else text)
        self._socket.note_closed(frame.get("code"))
        # A socket that broke breaks there too, and one that was closed is closed.
        if frame.get("code") != ABNORMAL:
            await other.close()

    async def _back(self, other: ClientConnection) -> None:
        with suppress(SocketClosed):
            async for text in other:
                if not self._socket.write(str(text)):
                    await self._socket.send(str(text))


# What ASGI's servers call a connection that ended without a close frame.
ABNORMAL = 1006


def _code_of(other: ClientConnection) -> int:
    """What the other worker has closed its socket with, if that was its will."""
    return 1000 if other.close_code == 1000 else BROKEN


def _private(address: str) -> tuple[str, int] | None:
    """Host and port, if they are of this machine or of a network that is nobody else's."""
    host, _, port = address.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
        return None if ip.is_global or ip.is_multicast else (str(ip), int(port))
    except ValueError:
        return None
