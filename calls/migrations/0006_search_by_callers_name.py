"""Search by any part of a caller's name, on PostgreSQL. SQLite reads the rows, which is fast enough."""

from django.db import migrations


INDEX = "CREATE INDEX call_search_name ON calls_call USING gin (UPPER(caller_name::text) gin_trgm_ops) WHERE caller_name > ''"


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(INDEX)


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX IF EXISTS call_search_name")


class Migration(migrations.Migration):
    dependencies = [("calls", "0005_write_both_lanes_into_one_page")]

    operations = [migrations.RunPython(create, drop)]
