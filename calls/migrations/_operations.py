"""Operations of migrations that hold no table while calls are recorded."""

from django.contrib.postgres import operations
from django.db.migrations.operations import AddIndex, RemoveIndex


INVALID = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid"


class _Patient:
    """What goes on beside the others takes its time: it waits for each transaction that was there before."""

    def _patiently(self, schema_editor, do):
        with schema_editor.connection.cursor() as cursor:
            before = {}
            for name in ("statement_timeout", "lock_timeout"):
                before[name] = cursor.execute("SELECT current_setting(%s)", [name]).fetchone()[0]
                cursor.execute("SELECT set_config(%s, '0', false)", [name])
            try:
                do()
            finally:
                for name, value in before.items():
                    cursor.execute("SELECT set_config(%s, %s, false)", [name, value])


class AddIndexConcurrently(_Patient, operations.AddIndexConcurrently):
    """Makes an index while others write the table; on SQLite as AddIndex does. Its migration has `atomic = False`.

    One that was interrupted leaves an index behind which is no good: the next run makes it anew.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            return AddIndex.database_forwards(self, app_label, schema_editor, from_state, to_state)
        forwards = super().database_forwards

        def make():
            with schema_editor.connection.cursor() as cursor:
                if cursor.execute(INVALID, [self.index.name]).fetchone():
                    cursor.execute(f"DROP INDEX CONCURRENTLY {schema_editor.quote_name(self.index.name)}")
            forwards(app_label, schema_editor, from_state, to_state)

        self._patiently(schema_editor, make)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            return AddIndex.database_backwards(self, app_label, schema_editor, from_state, to_state)
        backwards = super().database_backwards
        self._patiently(schema_editor, lambda: backwards(app_label, schema_editor, from_state, to_state))


class RemoveIndexConcurrently(_Patient, operations.RemoveIndexConcurrently):
    """The same the other way round."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            return RemoveIndex.database_forwards(self, app_label, schema_editor, from_state, to_state)
        forwards = super().database_forwards
        self._patiently(schema_editor, lambda: forwards(app_label, schema_editor, from_state, to_state))

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            return RemoveIndex.database_backwards(self, app_label, schema_editor, from_state, to_state)
        backwards = super().database_backwards
        self._patiently(schema_editor, lambda: backwards(app_label, schema_editor, from_state, to_state))
