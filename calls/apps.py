"""Calls as one of Django's apps: its checks, its groups, and files that nobody else may read."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, pre_migrate


class CallsConfig(AppConfig):
    name = "calls"
    verbose_name = "Calls"

    def ready(self) -> None:
        from calls import checks  # noqa: F401
        from calls.access import auditing, second_factor, sessions
        from calls.access.groups import make_groups

        # A session has its marks before it is on record.
        for part in (sessions, second_factor, auditing):
            part.connect()
        pre_migrate.connect(take_time, sender=self)
        post_migrate.connect(make_groups, sender=self)
        connection_created.connect(keep_private)


def take_time(using: str, **kwargs: Any) -> None:
    """A migration may build an index over millions of rows: the limits that requests have are not for it."""
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0; SET lock_timeout = 0")


def keep_private(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Recordings and numbers are in SQLite's files, and those are made as the umask says: for everybody to read."""
    if connection.vendor != "sqlite":
        return
    for end in ("", "-wal", "-shm"):
        file = Path(f"{connection.settings_dict['NAME']}{end}")
        with suppress(OSError):
            if file.is_file() and (mode := file.stat().st_mode) & 0o077:
                file.chmod(mode & 0o700)
