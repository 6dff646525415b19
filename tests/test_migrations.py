"""Workers of the version before survive a migration: a check tells what they do not, and indexes hold no table."""

import runpy

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently as AddOnPostgres
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

from calls.migrations._operations import AddIndexConcurrently, RemoveIndexConcurrently
from tests.support.servers import ROOT


CHECK = runpy.run_path(str(ROOT / "scripts" / "migrations.py"))
BY_NONCE = models.Index(name="stream_by_nonce", fields=["nonce", "id"])


@pytest.fixture(scope="module")
def state():
    return MigrationLoader(None).project_state(("calls", CHECK["BASELINE"]))


def said(operation, state, new=()):
    return [*CHECK["problems"](operation, state, {*new})]


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (migrations.AddField("call", "mood", models.CharField(max_length=9, default="")), "db_default"),
        (migrations.RemoveField("call", "notes"), "in the release after"),
        (migrations.RenameField("call", "notes", "remarks"), "in the release after"),
        (migrations.RenameModel("Mark", "Sign"), "in the release after"),
        (migrations.DeleteModel("Mark"), "in the release after"),
        (migrations.AlterField("stream", "ended_at", models.DateTimeField()), "not null"),
        (migrations.AlterField("call", "handler", models.CharField(max_length=9)), "shorter"),
        (migrations.AlterField("call", "notes", models.IntegerField(default=0)), "another type"),
        (migrations.AddIndex("stream", BY_NONCE), "_operations.py"),
        (AddOnPostgres("stream", BY_NONCE), "_operations.py"),
        (migrations.RunPython(lambda *_: None), "undone"),
        (migrations.RunSQL("SELECT 1"), "undone"),
        (migrations.SeparateDatabaseAndState([migrations.RemoveField("call", "notes")]), "in the release after"),
    ],
)
def test_what_old_workers_do_not_survive_is_told(state, operation, why):
    (problem,) = said(operation, state)
    assert why in problem


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddField("call", "mood", models.CharField(max_length=9, default="", db_default="")),
        migrations.AddField("call", "mood", models.CharField(max_length=9, null=True)),
        migrations.AlterField("call", "handler", models.CharField(max_length=900)),
        migrations.AddIndex("worker", models.Index(name="worker_seen", fields=["seen_at"])),
        migrations.AddField("worker", "name", models.CharField(max_length=9)),
        migrations.RunPython(lambda *_: None, migrations.RunPython.noop),
        AddIndexConcurrently("stream", BY_NONCE),
    ],
)
def test_what_they_do_not_notice_and_new_tables_are_all_right(state, operation):
    assert said(operation, state, new=["worker"]) == []


def test_the_migrations_of_this_version_are_such():
    assert [*CHECK["survey"](MigrationLoader(None))] == []


@pytest.mark.django_db(transaction=True)
def test_an_index_is_made_beside_others_and_taken_away_again():
    loader = MigrationLoader(connection)
    before = loader.project_state()
    after = apply(AddIndexConcurrently("stream", BY_NONCE), before)
    assert "stream_by_nonce" in indexes()
    # What was interrupted is made anew.
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'stream_by_nonce'::regclass")
        apply(AddIndexConcurrently("stream", BY_NONCE), before)
    apply(RemoveIndexConcurrently("stream", "stream_by_nonce"), after)
    assert "stream_by_nonce" not in indexes()


def apply(operation, before: ProjectState) -> ProjectState:
    after = before.clone()
    operation.state_forwards("calls", after)
    with connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("calls", editor, before, after)
    return after


def indexes():
    with connection.cursor() as cursor:
        return set(connection.introspection.get_constraints(cursor, "calls_stream"))
