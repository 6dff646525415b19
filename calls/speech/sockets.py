"""What the transcribers behind a WebSocket share: how one is opened, and that sending and receiving end together."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from websockets.asyncio.client import ClientConnection as ClientConnection
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, InvalidURI

from calls.speech.transcribers import Refused


# Seconds to open and to close one; the library's own pings find out if it is dead.
PATIENCE = 5
# What a service says to a request that may be right another time.
PASSING = (408, 425, 429)


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


@asynccontextmanager
async def connected(url: str, headers: dict[str, str] | None = None) -> AsyncGenerator[ClientConnection]:
    """A socket to a service. Refused if it never will be one; OSError, TimeoutError and such if it may be later."""
    facts: dict[str, Any] = {"additional_headers": headers, "open_timeout": PATIENCE, "close_timeout": PATIENCE}
    if url.startswith("wss:"):
        # Read once, and not on the event loop: that takes 20 ms.
        facts["ssl"] = await asyncio.to_thread(_certificates)
    try:
        socket = await connect(url, compression=None, **facts)
    except InvalidStatus as error:
        status = error.response.status_code
        if 400 <= status < 500 and status not in PASSING:
            raise Refused(f"the service answered {status}") from error
        raise ConnectionError(f"the service answered {status}") from error
    except InvalidURI as error:
        raise Refused(str(error)) from error
    async with socket:
        yield socket


@asynccontextmanager
async def sending(coroutine: Coroutine[Any, Any, None], abort: Callable[[], object]) -> AsyncGenerator[None]:
    """Sends beside what the body receives, which ends by `abort` if that fails. What failed in it is raised here."""
    task = asyncio.create_task(coroutine)
    task.add_done_callback(lambda task: abort() if not task.cancelled() and task.exception() else None)
    try:
        yield
    except Exception as error:
        if task.done() and not task.cancelled() and (cause := task.exception()):
            # That it was aborted says less than why.
            raise cause from error
        raise
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()
