"""SQLite's files hold recordings and numbers: nobody else on the machine may read them."""

import pytest
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.db.utils import ConnectionHandler


pytestmark = pytest.mark.django_db


@pytest.fixture
def connect(tmp_path):
    """Opens the database in a file as production does."""

    def opened(path):
        options = {"init_command": "PRAGMA journal_mode=WAL", "transaction_mode": "IMMEDIATE"}
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": options}
        made.append(ConnectionHandler({"default": database})["default"])
        made[-1].ensure_connection()
        return made[-1]

    made: list[DatabaseWrapper] = []
    yield opened
    for wrapper in made:
        wrapper.close()


def modes(folder):
    return {file.name: oct(file.stat().st_mode & 0o777) for file in folder.iterdir()}


def test_a_new_database_is_for_its_owner_only(connect, tmp_path):
    connect(tmp_path / "calls.sqlite3").cursor().execute("CREATE TABLE calls (id)")
    assert modes(tmp_path) == dict.fromkeys(
        ["calls.sqlite3", "calls.sqlite3-wal", "calls.sqlite3-shm"],
        "0o600",
    )


def test_one_that_others_could_read_is_closed_to_them(connect, tmp_path):
    first = connect(tmp_path / "calls.sqlite3")
    first.cursor().execute("CREATE TABLE calls (id)")
    for file in tmp_path.iterdir():
        file.chmod(0o644)
    connect(tmp_path / "calls.sqlite3")
    assert set(modes(tmp_path).values()) == {"0o600"}


def test_a_database_in_memory_has_no_file(connect):
    connect(":memory:").cursor().execute("SELECT 1")
