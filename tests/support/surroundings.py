"""A server whose database and Redis can be taken away."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection

from tests.support.child import HANDLERS
from tests.support.proxy import Mode, Proxy
from tests.support.servers import Server, database_url, until


@contextmanager
def database_locked() -> Iterator[None]:
    """SQLite: somebody else writes, and does not stop."""
    other = sqlite3.connect(connection.settings_dict["NAME"], timeout=20, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


class Surroundings:
    """A server that reaches its database and Redis through lines that can be broken."""

    def __init__(self, folder: Path, patience: int = 1, **environment: str) -> None:
        """`patience`: seconds that SQLite waits for a lock. Tests have no more; production has 20."""
        self.folder, self.patience, self.environment = folder, patience, environment
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as self._stack:
            self._set_up()
            self.server = self._stack.enter_context(self.another())
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        environment = {
            "DJANGO_SETTINGS_MODULE": "tests.support.child_settings",
            "CHORES": "false",
            "STREAM_HANDLERS": HANDLERS,
            "DATABASE_URL": self._database(),
            **self.environment,
        }
        if settings.REDIS_URL:
            parts = urlsplit(settings.REDIS_URL)
            self.redis = self._line(parts.hostname, parts.port or 6379)
            environment["REDIS_URL"] = f"redis://127.0.0.1:{self.redis.port}{parts.path}"
        self.environment = environment

    def another(self, kind: str = "uvicorn", **facts: Any) -> Server:
        """A server in the same surroundings, not started yet."""
        return Server(kind, self.folder, **facts, **self.environment)

    def _line(self, host: str, port: int) -> Proxy:
        return self._stack.enter_context(Proxy(host, port))

    def _database(self) -> str:
        if connection.vendor == "sqlite":
            return f"{database_url()}?timeout={self.patience}"
        facts = connection.settings_dict
        self.database = self._line(facts["HOST"], int(facts["PORT"] or 5432))
        return database_url("127.0.0.1", self.database.port)

    @contextmanager
    def without_database(self, how: Mode = "cut") -> Iterator[None]:
        """SQLite: somebody else writes and does not stop. PostgreSQL: stopped (cut) or hung (freeze)."""
        if connection.vendor == "sqlite":
            with database_locked():
                yield
            return
        self.database.mode = how
        try:
            yield
        finally:
            self.database.mode = "pass"

    def notices(self, word: str = "db_down") -> Callable[[], bool]:
        """Returns what waits until the server's log says that once more: by default, that its database is away."""
        seen = self.server.log.count(word)
        return lambda: until(lambda: self.server.log.count(word) > seen, f"{word} in the log")
