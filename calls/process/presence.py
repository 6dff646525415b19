"""How this process is: what it writes into its row of the table of workers with each heartbeat."""

import os
import socket
from typing import Any

from django.conf import settings
from django.utils import timezone

from calls.chores.office import office
from calls.health import why_not_ready
from calls.process.problems import Problems
from calls.recorder import recorder
from calls.server.switchboard import switchboard
from calls.version import version


class Presence:
    """Called from the writer thread: everything that it looks at may be read from there."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._always = {
            "host": socket.gethostname()[:255],
            "pid": os.getpid(),
            "version": version()[:100],
            "started_at": timezone.now(),
        }

    def __call__(self) -> dict[str, Any]:
        return {
            **self._always,
            "streams": switchboard.count,
            "capacity": int(settings.MAX_STREAMS),
            "lag": round(recorder.take_longest_wait(), 2),
            "queue_bytes": recorder.queued_bytes,
            "spool_bytes": recorder.spooled_bytes,
            "dropped_bytes": recorder.dropped_bytes,
            "draining": switchboard.is_draining,
            "reasons": why_not_ready(),
            "does_chores": office.is_open,
            "problems": self._problems.latest(),
        }
