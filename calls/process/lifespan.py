"""How a server process begins and ends: checks first, then the recorder, and a drain at SIGTERM.

daphne knows no lifespan, and at SIGTERM cancels every stream (or none, and dies of a signal) before an application
could write what it has; uvicorn closes every socket with 1012 first. So under both the first SIGTERM or SIGINT is
ours: streams may finish, everything is written, each socket is closed with 1000, and then the server's own handler
runs. A second signal skips the wait.
"""

import asyncio
import atexit
import gc
import logging
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from calls import metrics, tracing
from calls.chores.office import office
from calls.media import formats
from calls.post import post
from calls.process import logs, oversights
from calls.process.pools import Pools
from calls.process.presence import Presence
from calls.process.problems import Problems
from calls.process.scraping import tell_of_this_process
from calls.process.watchdog import HOPELESS, Watchdog
from calls.recorder import recorder
from calls.server import missing
from calls.server.draining import Orders
from calls.server.inquiry import inquiry
from calls.server.listening import listening
from calls.server.preparations import preparations
from calls.server.stalls import Stall
from calls.server.switchboard import NOTICE, switchboard
from calls.sockets import daphne
from calls.speech.transcription import drain
from calls.supervision import work as supervision
from calls.supervision.pages import pages


logger = logging.getLogger(__name__)

# Seconds after the last socket's close within which its callbacks come: an answer of ours beats a broken connection.
LAST_WORDS = 0.5
# Seconds that requests have to be answered when the streams are gone.
REQUEST_PATIENCE = 3.0
# Seconds that transcribers have to finish when the streams are gone.
TRANSCRIBER_PATIENCE = 3.0
# Seconds that a collector of traces has to take the last of them.
TRACES_PATIENCE = 2.0
# The exit code of a process that gives itself up (EX_SOFTWARE).
GIVEN_UP = 70
# Seconds that a thread keeps the interpreter when the event loop wants it, which is for every frame; Python has 5 ms.
SWITCH_INTERVAL = 0.001

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
SignalHandler = Callable[[int, FrameType | None], Any]


def prepare() -> None:
    """For a server process: runs the system checks (ASGI servers run none), starts the recorder, tunes Python."""
    logs.install(recorder.owner)
    errors = [message for message in checks.run_checks() if message.is_serious()]
    if errors:
        raise ImproperlyConfigured("\n".join(str(error) for error in errors))
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        tracing.start(settings.OTEL_SERVICE_NAME, recorder.owner, masks=settings.MASK_NUMBERS_IN_LOGS)
    daphne.install()
    # Or the first call to play another format than µ-law would wait for numpy, and all calls with it.
    formats.load()
    post.load()
    problems = Problems(recorder.hasten)
    logging.getLogger().addHandler(problems)
    recorder.attendance.describe = Presence(problems)
    if settings.METRICS_TOKEN:
        tell_of_this_process()
        metrics.figures.join()
        # After the recorder, which counts until it is closed.
        atexit.register(metrics.figures.close)
    recorder.start()
    # The last resort, whatever ends the process in an orderly way.
    atexit.register(recorder.close)
    sys.setswitchinterval(SWITCH_INTERVAL)
    # What is loaded by now stays: the garbage collector need not look at it again, which took 60 ms of every call.
    gc.collect()
    gc.freeze()
    logger.info("worker_started worker=%s host=%s", recorder.owner, platform.node())


class Lifespan:
    """Answers lifespan itself (Channels' router raises for it) and arms the drain once the loop runs."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self._drain: Drain | None = None
        self._pools = Pools(application)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if self._drain is None:
            # uvicorn speaks of its own lifespan before anything else, and ends no request that is being answered.
            orders = Orders(asyncio.get_running_loop())
            self._drain = Drain(asyncio.get_running_loop(), orders, has_lifespan=scope["type"] == "lifespan")
            orders.start()
            self._supervision = supervision.start()
            self._missing = asyncio.create_task(missing.run())
            inquiry.start()
            listening.start()
            office.start()
            self._watchdog = Watchdog(_note_stall, give_up)
            self._watchdog.start()
            oversights.watch()
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._drain.answer(self._pools, scope, receive, send)
        else:
            await self.application(scope, receive, send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                # What the last requests of all have left, which the server let end before this.
                await asyncio.get_running_loop().run_in_executor(None, recorder.close)
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


class Drain:
    """Stands between the process's signals and the server's own handlers of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, orders: Orders, *, has_lifespan: bool = False) -> None:
        self._loop = loop
        self._orders = orders
        #: Whether the server lets requests end by itself: then none is refused, for Twilio would not ask again.
        self._has_lifespan = has_lifespan
        self._skip = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: Requests that are being answered, those that took too long, and whether it is too late for more.
        self._requests: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()
        self._is_over = False
        self._previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                # A shell starts background jobs with SIGINT ignored; it stays so.
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        # Nobody who presses Ctrl-C means to wait for calls to end.
        if self._task is not None or number == signal.SIGINT:
            self._skip.set()
        if self._task is None:
            self._task = self._loop.create_task(self._run(number))

    async def answer(self, application: Application, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Has a request answered. Below daphne, one that outlives the loop would leave a thread waiting for ever."""
        if self._is_over:
            await _refuse(send)
            return
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            await application(scope, receive, send)
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            # Sent half, or too slow; one whose answer has begun just ends.
            with suppress(OSError, RuntimeError):
                await _refuse(send)
        finally:
            self._requests.discard(task)

    async def _finish_requests(self) -> None:
        """Lets requests end, and ends those that do not."""
        self._is_over = not self._has_lifespan
        for patience in (REQUEST_PATIENCE, 1.0):
            if not self._requests:
                return
            _, late = await asyncio.wait(self._requests, timeout=patience)
            self._ended |= late
            for task in late:
                task.cancel()

    async def _move_pages(self) -> None:
        """Closes browsers' sockets once the proxy knows that they had better be opened elsewhere."""
        if not switchboard.draining:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._skip.wait(), min(NOTICE, settings.DRAIN_SECONDS))
        await pages.leave()

    async def _run(self, number: int) -> None:
        began, active = time.monotonic(), len(switchboard.live)
        logger.warning("drain_started active=%d", active)
        self._orders.close()
        moving = self._loop.create_task(self._move_pages())
        try:
            cut = await switchboard.drain(settings.DRAIN_SECONDS, self._skip)
            await preparations.close()
            await moving
            if active:
                await asyncio.sleep(LAST_WORDS)
            await drain(TRANSCRIBER_PATIENCE)
            await self._finish_requests()
            safe = await self._loop.run_in_executor(None, recorder.close)
            await self._loop.run_in_executor(None, tracing.stop, TRACES_PATIENCE)
            logger.warning("drain_done cut=%d in=%.1fs safe=%s", cut, time.monotonic() - began, safe)
        finally:
            for each, handler in self._previous.items():
                signal.signal(each, handler)
            signal.raise_signal(number)


def _note_stall(stall: Stall) -> None:
    switchboard.note_stall(stall)
    preparations.note_stall(stall)


def give_up() -> None:
    """The loop will not move again: makes safe what the recorder holds, and exits, so that another process is started.

    Twilio then finds its sockets closed and asks /stream-ended, which connects the callers to a process that works.
    """
    logger.critical("loop_hung for %.0f s; this process gives up, so that another one takes its calls", HOPELESS)
    recorder.attendance.gives_up = True
    recorder.close()
    metrics.figures.close()
    os._exit(GIVEN_UP)


async def _refuse(send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"draining\n"})
