"""The short way through uvicorn. What it uses of uvicorn stands in the table of calls/sockets/uvicorn.py.

uvicorn's own protocol makes of every frame an object of the websockets library, a queue entry, a wake-up of the
consumer's task and a pause of the transport. A consumer that asks for it (EXTENSION) gets its texts in a call instead.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from calls.sockets.frames import EXTENSION, HEAD, frame_size, framed, text_in


if TYPE_CHECKING:
    from websockets.http11 import Request

    from calls.quick._quick import Path

# The longest text that calls/quick takes.
LONGEST_QUICK = 4096

# An enum's members are slow to look up.
OPEN = State.OPEN

Listener = Callable[[str], None]


class MediaWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol over the websockets library, which gets whole frames, in their order, of what is not short."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listener: Listener | None = None
        #: What takes frames before all others do, while the socket is open.
        self._path: Path | None = None
        self._longest = HEAD + self.config.ws_max_size
        #: Frames came before the handshake was answered: where one begins, only the library knows.
        self._is_eager = False
        #: The beginning of a header whose rest has not come.
        self._head = b""
        #: How many bytes belong to a frame that the library has begun to read.
        self._missing = 0

    def handle_connect(self, event: "Request") -> None:
        super().handle_connect(event)
        if not self.handshake_complete:
            extensions: dict[Any, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self

    def listen(self, listener: Listener, path: "Path | None" = None) -> None:
        """From now on texts go to this function rather than to `receive`, those that wait there first of all."""
        if self._is_eager:
            return
        self._listener = listener
        for event in [self.queue.get_nowait() for _ in range(self.queue.qsize())]:
            if isinstance(text := event.get("text"), str):
                listener(text)
            else:
                self.queue.put_nowait(event)
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self.transport.resume_reading()
        if path is not None and self._longest >= HEAD + LONGEST_QUICK:
            self._open(path)

    def _open(self, path: "Path") -> None:
        """From now on that takes what it can of what comes, and gives us the rest."""
        transport = self.transport
        path.open(_number(transport), transport.get_write_buffer_size, transport.write, self._receive_rest)
        self._path = path
        self._look_whether_open()
        self.data_received = path.data_received  # type: ignore[method-assign]
        # uvloop keeps the method that it has found.
        transport.set_protocol(self)

    def _receive_rest(self, data: bytes) -> None:
        type(self).data_received(self, data)
        self._look_whether_open()

    def data_received(self, data: bytes) -> None:
        # One whole frame that takes the short way is what nearly always comes.
        if self._listener is not None and not self._head and not self._missing and self._hand_over(data):
            return
        if self._is_eager or not self.handshake_complete:
            self._is_eager = self.handshake_initiated
            super().data_received(data)
            return
        self._divide(data)

    def _divide(self, data: bytes) -> None:
        """Cuts what came into frames, each of which goes its way."""
        if self._missing:
            part = data[: self._missing]
            self._missing -= len(part)
            super().data_received(part)
            data = data[len(part) :]
        if self._head:
            data, self._head = self._head + data, b""
        at = 0
        while at < len(data):
            size = frame_size(data, at)
            if not size:
                self._head = data[at:]
                return
            frame = data[at : at + size]
            if not self._hand_over(frame):
                super().data_received(frame)
                self._missing = size - len(frame)
            at += size

    def _hand_over(self, frame: bytes) -> bool:
        """Gives the listener the text, if there is one, the frame is short, and the library is between messages."""
        if self._listener is None or self.conn.state is not OPEN or self.frames or len(frame) > self._longest:
            return False
        text = text_in(frame)
        if text is None:
            return False
        self._listener(text)
        return True

    def send_receive_event_to_app(self) -> None:
        """A text that came the long way: the next one must not overtake it in the queue."""
        if self._listener is not None and self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                text = b"".join(self.frames).decode()
            except UnicodeDecodeError:
                pass  # super() closes, as it has to be
            else:
                self.frames = []
                self._listener(text)
                return
        super().send_receive_event_to_app()

    def write(self, text: str) -> bool:
        """Sends a text at once; False, and nothing is sent, if it has to go by `send`."""
        if self.conn.state is not OPEN or self.disconnected or not self.writable.is_set():
            return False
        frame = framed(text)
        if frame is None:
            return False
        self.transport.write(frame)
        return True

    async def send(self, message: Any) -> None:
        text = message.get("text")
        if not text or not self.write(text):
            await super().send(message)
            self._look_whether_open()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._look_whether_open()

    def shutdown(self) -> None:
        super().shutdown()
        self._look_whether_open()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._look_whether_open()
        # So that none of the two keeps the other.
        vars(self).pop("data_received", None)

    def _look_whether_open(self) -> None:
        """After whatever may have closed it: nothing follows a close, and its number is soon another socket's."""
        if self._path is None:
            return
        if self.conn.state is not OPEN or self.disconnected:
            self._path.close()
            self._path = None
        else:
            self._path.is_between = not (self._head or self._missing or self.frames)


def _number(transport: Any) -> int:
    """The number of a socket that can be written to past its transport: -1 if that encrypts."""
    inner = transport.get_extra_info("socket")
    return -1 if inner is None or transport.get_extra_info("sslcontext") is not None else int(inner.fileno())
