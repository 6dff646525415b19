"""Search by any part of a number, a note or a parameter, on PostgreSQL. SQLite reads the rows, which is fast enough."""

from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations


INDEXES = [
    ("call_search_number", "calls_call USING gin (from_number gin_trgm_ops, to_number gin_trgm_ops)"),
    ("call_search_notes", "calls_call USING gin (UPPER(notes) gin_trgm_ops) WHERE notes > ''"),
    ("stream_search_said", "calls_stream USING gin (UPPER(custom_parameters::text) gin_trgm_ops)"),
]


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name, definition in INDEXES:
            schema_editor.execute(f"CREATE INDEX {name} ON {definition}")


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name, _ in INDEXES:
            schema_editor.execute(f"DROP INDEX IF EXISTS {name}")


class Migration(migrations.Migration):
    dependencies = [("calls", "0002_index_list_filters")]

    operations = [TrigramExtension(), migrations.RunPython(create, drop)]
