"""What supervision asks of the database: in threads of its own, so that a slow query delays other pages at most."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from calls.server.questions import letting_go


Found = TypeVar("Found")

# One more, so that a slow query leaves a thread to the others.
_threads = ThreadPoolExecutor(2, thread_name_prefix="supervision")


async def look_up(look: Callable[[], Found]) -> Found:
    """What `look` returns or raises. Who does not wait for it any more does not end it."""
    return await asyncio.get_running_loop().run_in_executor(_threads, letting_go(look))
