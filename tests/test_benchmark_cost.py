"""What PostgreSQL uses for one of its databases is told from its processes."""

import math
import os

import pytest
from django.core.management import CommandError, call_command

from benchmark.cost import in_words
from benchmark.postgres import Watch


TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def proc(tmp_path):
    """Processes by hand: `proc(pid, title, seconds)`, of a postmaster with the key 1."""
    (tmp_path / "self").mkdir()

    def has(pid, title, seconds, parent=1):
        folder = tmp_path / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "cmdline").write_bytes(title.encode() + b"\0")
        fields = ["S", str(parent), *["0"] * 9, str(seconds * TICKS), "0"]
        (folder / "stat").write_text(f"{pid} (postgres) {' '.join(fields)}\n")

    has.folder = tmp_path
    return has


def watch(proc):
    watching = Watch("bench", proc.folder)
    watching.begin()
    return watching


def test_what_backends_of_the_database_use_counts_from_the_first_look(proc):
    proc(7, "postgres: 15/main: me bench 127.0.0.1(4000) idle", 5)
    watching = watch(proc)
    proc(7, "postgres: 15/main: me bench 127.0.0.1(4000) COPY", 8)
    proc(8, "postgres: autovacuum worker bench", 1)
    watching.look()
    assert watching.used.seconds == 4


def test_a_backend_that_has_ended_keeps_what_it_used(proc):
    watching = watch(proc)
    proc(7, "postgres: me bench 127.0.0.1(4000) idle", 3)
    watching.look()
    (proc.folder / "7" / "cmdline").unlink()
    watching.look()
    assert watching.used.seconds == 3


def test_what_works_for_all_databases_counts_by_the_share_of_backends(proc):
    watching = watch(proc)
    proc(7, "postgres: me bench 127.0.0.1(4000) idle", 3)
    proc(8, "postgres: me other 127.0.0.1(4001) idle", 1)
    proc(9, "postgres: 15/main: walwriter ", 4)
    watching.look()
    assert watching.used.seconds == 3 + 0.75 * 4


def test_another_postgresql_on_the_machine_does_not_count(proc):
    watching = watch(proc)
    proc(7, "postgres: me bench 127.0.0.1(4000) idle", 3)
    proc(9, "postgres: walwriter ", 4, parent=2)
    watching.look()
    assert watching.used.seconds == 3


def test_a_database_elsewhere_is_not_known_to_use_anything(proc):
    watching = watch(proc)
    proc(8, "postgres: me benchmark 127.0.0.1(4001) idle", 1)
    watching.look()
    assert watching.used.seconds is None


def test_the_cost_is_a_sentence():
    cores = {"callstream": 0.574, "postgres": 0.118}
    said = "1000 calls an hour of 3 minutes take 0.57 cores of Callstream and 0.12 of PostgreSQL."
    assert in_words(3.0, cores) == said


def test_a_postgresql_that_is_not_to_be_seen_is_said_to_be_so():
    assert in_words(3, {"callstream": 0.5, "postgres": math.nan}).endswith("is not to be seen from here.")


@pytest.mark.process
def test_the_cost_needs_postgresql():
    with pytest.raises(CommandError, match="PostgreSQL: say where, with --postgres"):
        call_command("bench_streams", "cost", "--cores", "0", "1")
