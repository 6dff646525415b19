"""How the database becomes empty again after a test that commits: what `migrate` left there is left alone.

Django's own flush empties every table and has permissions and groups made anew, which took half of the time of such a
test. Few tests fill more than a few tables, and hardly one changes a group.
"""

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.test import TransactionTestCase


#: What `migrate` fills.
FILLED = [model._meta.db_table for model in (ContentType, Permission, Group, Group.permissions.through)]

flush = TransactionTestCase._fixture_teardown


def use_quick_emptying():
    """From here on, in this process; the database is as `migrate` left it."""
    if not connection.introspection.table_names():
        # None of the tests that run has asked for one.
        return
    filled = contents()

    def empty(self):
        if contents() != filled:
            # A test had groups or permissions of its own. What is made anew has other keys.
            flush(self)
            filled[:] = contents()
            return
        delete_all()

    TransactionTestCase._fixture_teardown = empty


def contents():
    """The rows of the tables that `migrate` fills."""
    with connection.cursor() as cursor:
        return [sorted(cursor.execute(f"SELECT * FROM {table}").fetchall()) for table in FILLED]


def delete_all():
    """Everything else, in one transaction: foreign keys are looked at when it ends."""
    tables = [table for table in connection.introspection.django_table_names() if table not in FILLED]
    has_rows = " UNION ALL ".join(f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})" for table in tables)
    with transaction.atomic(), connection.cursor() as cursor:
        for (table,) in cursor.execute(has_rows).fetchall():
            cursor.execute(f"DELETE FROM {table}")
