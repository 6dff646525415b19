"""What handlers set and note of their calls, found by any part of it on PostgreSQL (SQLite reads the rows); who read words.

The columns have a default of the database's own: while this version is rolled out, the one before still writes calls.
"""

from django.db import migrations, models


INDEXES = [
    ("call_search_data", "calls_call USING gin (UPPER(data::text) gin_trgm_ops) WHERE NOT data = '{}'"),
    ("event_search_notes", "calls_callevent USING gin (UPPER(data ->> 'text') gin_trgm_ops) WHERE kind = 'note'"),
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
    dependencies = [("calls", "0018_keep_what_was_said")]

    operations = [
        migrations.AddField(
            model_name="call",
            name="data",
            field=models.JSONField(
                blank=True,
                db_default={},
                default=dict,
                help_text="What the handler has set (`stream.set`), by name.",
            ),
        ),
        migrations.AddField(
            model_name="call",
            name="data_at",
            field=models.JSONField(
                blank=True,
                db_default={},
                default=dict,
                editable=False,
                help_text="When each was set, in µs since 1970.",
            ),
        ),
        migrations.AddIndex(
            model_name="callevent",
            index=models.Index(condition=models.Q(("kind", "note")), fields=["call"], name="event_notes"),
        ),
        migrations.RunPython(create, drop),
        migrations.AlterField(
            model_name="recordingaccess",
            name="kind",
            field=models.CharField(
                choices=[("listen", "Listen"), ("read", "Read"), ("download", "Download"), ("export", "Export")],
                max_length=8,
            ),
        ),
        migrations.RemoveConstraint(model_name="recordingaccess", name="access_kind"),
        migrations.AddConstraint(
            model_name="recordingaccess",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["listen", "read", "download", "export"])), name="access_kind"
            ),
        ),
    ]
