"""Whether workers of the version before survive the migrations of this one: they go on while a rollout migrates.

    python scripts/migrations.py

Exits with 1, and says what is wrong, a line each. CONTRIBUTING.md has the rules.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django
from django.db.migrations import RunPython, RunSQL, SeparateDatabaseAndState
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import Field, ManyToManyField
from django.db.models.fields import NOT_PROVIDED


APP = "calls"
# The last one that a quiet hour was promised for. What is older is not looked at.
BASELINE = "0030_follow_calls"
# What takes away a name that workers of the version before use.
TAKE_AWAY = (
    *(ops.DeleteModel, ops.RenameModel, ops.AlterModelTable),
    *(ops.RemoveField, ops.RenameField),
)


def main() -> int:
    django.setup()
    found = [f"{name}: {problem}" for name, problem in survey(MigrationLoader(None))]
    print("\n".join(found))
    return 1 if found else 0


def survey(loader: MigrationLoader) -> Iterator[tuple[str, str]]:
    """Problems by migration, in the order in which they are applied."""
    plan = [node for leaf in loader.graph.leaf_nodes(APP) for node in loader.graph.forwards_plan(leaf)]
    own = [name for app, name in dict.fromkeys(plan) if app == APP]
    state, new = loader.project_state((APP, BASELINE)), set[str]()
    for name in own[own.index(BASELINE) + 1 :]:
        migration = loader.graph.nodes[APP, name]
        for operation in migration.operations:
            for problem in problems(operation, state, new):
                yield name, problem
            if isinstance(operation, ops.CreateModel):
                new.add(operation.name_lower)
            operation.state_forwards(APP, state)


def problems(operation: Operation, state: ProjectState, new: set[str]) -> Iterator[str]:
    """What of it a worker of the version before does not survive; tables of `new` it does not know."""
    if isinstance(operation, SeparateDatabaseAndState):
        for inner in operation.database_operations:
            yield from problems(inner, state, new)
    if isinstance(operation, RunPython | RunSQL) and not operation.reversible:
        yield "it cannot be undone: say how, or RunPython.noop if nothing need be"
    model = getattr(operation, "model_name_lower", "") or getattr(operation, "name_lower", "")
    if model not in new:
        yield from _of_a_known_table(operation, state)


def _of_a_known_table(operation: Operation, state: ProjectState) -> Iterator[str]:
    if isinstance(operation, TAKE_AWAY):
        yield f"{operation.describe()}: do that in the release after the one that no longer uses it"
    elif isinstance(operation, ops.AddField) and not _has_value(operation.field):
        yield f"{operation.describe()}: without null=True or a db_default, workers that do not know it cannot insert"
    elif isinstance(operation, ops.AlterField):
        before = state.models[APP, operation.model_name_lower].fields[operation.name]
        if narrowed := list(_narrowed(before, operation.field)):
            yield f"{operation.describe()}: it takes less than before ({', '.join(narrowed)})"
    elif isinstance(operation, ops.AddIndex | ops.RemoveIndex) and not hasattr(operation, "_patiently"):
        yield f"{operation.describe()}: use the operation of calls/migrations/_operations.py, which holds no table"


def _has_value(field: Field) -> bool:
    return field.null or field.db_default is not NOT_PROVIDED or isinstance(field, ManyToManyField)


def _narrowed(before: Field, after: Field) -> Iterator[str]:
    if before.get_internal_type() != after.get_internal_type():
        yield "another type"
    if before.null and not after.null:
        yield "not null"
    if after.unique and not before.unique:
        yield "unique"
    if (before.max_length or 10**9) > (after.max_length or 10**9):
        yield "shorter"
    if before.db_default is not NOT_PROVIDED and not _has_value(after):
        yield "no db_default"


if __name__ == "__main__":
    sys.exit(main())
