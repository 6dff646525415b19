"""Whose fault an error of the database is: its own, a lock's, or else a row's."""

import sqlite3

from django.db import InterfaceError, OperationalError


# PostgreSQL's lock_not_available, and deadlock_detected: two waited for each other, and it was us who had to give in.
_LOCKED = ("55P03", "40P01")
# PostgreSQL's classes of a table that is not as we know it, and of one that takes no writes.
_UNFIT = ("42", "25")


def is_locked(error: BaseException) -> bool:
    """Whether the database is there, and somebody else holds a row."""
    return getattr(error.__cause__, "sqlstate", None) in _LOCKED


def is_away(error: BaseException) -> bool:
    """Whether it is the database's fault and neither a row's nor a lock's: trying again will help, one day.

    A table that is not as we know it or takes no writes is neither; only PostgreSQL calls these other names.
    """
    code = getattr(error.__cause__, "sqlstate", None) or ""
    if is_locked(error):
        return False
    return isinstance(error, OperationalError | InterfaceError | sqlite3.OperationalError) or code[:2] in _UNFIT
