"""How long the database may say nothing: then it has frozen, and the writer thread that waits for it is woken."""

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from calls.recorder.writer import DATABASE


logger = logging.getLogger(__name__)

# Seconds after which a database that neither answers nor refuses is frozen. A statement has 5 s, SQLite's lock 20 s.
PATIENCE = 15
# Seconds after which the log says that it does not answer.
SLOW = 3


class Patience:
    """The writer thread says when it begins to wait and when it is done; other threads look how long that takes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Since when the writer has been at one thing, and over which connection.
        self._since: float | None = None
        self._connection: BaseDatabaseWrapper | None = None
        #: The log has said that the database does not answer.
        self.is_slow = False

    def begin(self) -> None:
        """The writer thread asks the database for something, and may have to wait."""
        self._connection, self._since = connections[DATABASE], self._clock()

    def end(self) -> None:
        """It waits for nothing any more."""
        self._since = None

    def look(self, *, is_away: bool) -> None:
        """From any other thread: only that can see that the database says nothing, since the writer waits for it."""
        began = self._since
        waited = self._clock() - began if began is not None else 0.0
        if waited > SLOW and not self.is_slow and not is_away:
            self.is_slow = True
            logger.error("db_slow: no answer for %.0f s; recording goes on in memory", waited)
        if waited > PATIENCE:
            self._hang_up()

    def _hang_up(self) -> None:
        """The database has frozen under the writer: neither its own timeouts nor TCP's see that, only we do."""
        raw = self._connection.connection if self._connection is not None else None
        self._since = None
        if isinstance(raw, psycopg.Connection) and not raw.closed:
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(raw.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)
