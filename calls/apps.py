from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate, pre_migrate


class CallsConfig(AppConfig):
    name = "calls"
    verbose_name = "Calls"

    def ready(self) -> None:
        from calls import checks  # noqa: F401
        from calls.groups import make_groups

        pre_migrate.connect(take_time, sender=self)
        post_migrate.connect(make_groups, sender=self)


def take_time(using: str, **kwargs: Any) -> None:
    """A migration may build an index over millions of rows: the limits that requests have are not for it."""
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0; SET lock_timeout = 0")
