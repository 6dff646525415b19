"""What supervision asks of the database: in threads of its own, so that a slow query delays other pages at most."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import close_old_connections


Found = TypeVar("Found")

# One more, so that a slow query leaves a thread to the others.
_threads = ThreadPoolExecutor(2, thread_name_prefix="supervision")


async def look_up(look: Callable[[], Found]) -> Found:
    """What `look` returns or raises. Who does not wait for it any more does not end it."""

    def answer() -> Found:
        try:
            return look()
        finally:
            # No request does that here: a connection goes back to the pool, and one that is broken is not used again.
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(_threads, answer)
