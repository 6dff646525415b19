"""What goes on beside whoever has begun it, and may outlast them: somebody holds it, and a failure is in the log."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any


logger = logging.getLogger(__name__)

# asyncio itself holds tasks weakly.
_running: set["asyncio.Task[None]"] = set()


def beside(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Begins it."""
    task = asyncio.create_task(work)
    _running.add(task)

    def end(task: "asyncio.Task[None]") -> None:
        _running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("supervision_failed", exc_info=error)

    task.add_done_callback(end)
    return task
