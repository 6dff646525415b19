"""Asks the database within 2 s, or leaves it to the recorder: what a webhook brings is kept in any case."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest

from calls.media.rows import AnyRow, CallRow
from calls.recorder import recorder
from calls.recorder.writer import Writer
from calls.server.hints import hints
from calls.server.questions import letting_go


logger = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds that a request waits for the database. Twilio gives us 15 in all.
DATABASE_PATIENCE = 2.0
# What is raised where it does not answer.
AWAY = (DatabaseError, InterfaceError, TimeoutError)

# Not the request's own thread: a database that hangs would hold up the answer.
_database = ThreadPoolExecutor(8, thread_name_prefix="webhook")


async def ask(request: HttpRequest, question: Callable[[], T]) -> T:
    """Runs a query of a request, within 2 s. AWAY if there is no answer."""
    if recorder.away_since is not None or not recorder.has_database:
        raise TimeoutError("the database is away")
    if not isinstance(request, ASGIRequest):
        return await sync_to_async(question)()

    async with asyncio.timeout(DATABASE_PATIENCE):
        return await asyncio.get_running_loop().run_in_executor(_database, copy_context().run, letting_go(question))


async def keep(request: HttpRequest, *rows: AnyRow) -> None:
    """Stores rows now if the database is there, and through the recorder as soon as it is if not."""
    if not recorder.has_database:
        recorder.submit(rows)
        return
    try:
        await ask(request, lambda: Writer("default").write(rows))
        hints.add(_sid(rows))
    except AWAY as error:
        logger.warning("call_deferred call=%s: %s", _sid(rows), ascii(str(error))[:200])
        recorder.submit(rows)


def _sid(rows: tuple[AnyRow, ...]) -> str:
    return next((row.sid for row in rows if isinstance(row, CallRow)), "")
