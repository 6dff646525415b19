"""Looks for callers who will not come back from where they were dialled, so that their handlers need not wait.

Mostly Twilio says so to the process that waits. It may say it to another one, or nobody: then the database knows, since
the call is over, or has gone on with another handler. One query for all that wait, in a thread of its own.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from django.db import DatabaseError, InterfaceError, close_old_connections
from django.db.models import Exists, OuterRef, Q

from calls.models import Stream
from calls.models.call_queries import LONGEST_CALL
from calls.recorder import recorder
from calls.server.outings import Outing, outings
from calls.server.switchboard import switchboard


logger = logging.getLogger(__name__)

# Seconds between two looks.
EVERY = 3.0
_thread = ThreadPoolExecutor(1, thread_name_prefix="missing")


async def run() -> None:
    """Looks for as long as the process lives."""
    while True:
        await asyncio.sleep(EVERY)
        switchboard.collect()
        if outings.away and recorder.away_since is None:
            await look()


async def look() -> None:
    """Gives up those who will not come back."""
    waiting = {outing.live.sid: outing for outing in outings.away.values()}
    loop = asyncio.get_running_loop()
    for sid in await loop.run_in_executor(_thread, _missing, [*waiting]):
        _give_up(waiting[sid])
    for outing in waiting.values():
        if time.monotonic() - outing.began > LONGEST_CALL.total_seconds():
            _give_up(outing)


def _give_up(outing: Outing) -> None:
    logger.info("not_back call=%s after %.0f s", outing.live.call_sid, time.monotonic() - outing.began)
    outing.lose()


def _missing(sids: list[str]) -> list[str]:
    """Of these streams those whose call is over, or has another stream that talks."""
    # A <Start> stream beside them says nothing; a call that is erased has no streams left.
    newer = Stream.objects.filter(call=OuterRef("call"), bidirectional=True, started_at__gt=OuterRef("started_at"))
    try:
        lost = Stream.objects.filter(Q(call__ended_at__isnull=False) | Exists(newer), sid__in=sids)
        return list(lost.values_list("sid", flat=True))
    except (DatabaseError, InterfaceError):
        # The recorder says so.
        return []
    except Exception:
        logger.exception("missing_failed; going on")
        return []
    finally:
        close_old_connections()
