"""A database in which all migrations are done, which each process of a test run copies: doing them takes 6 s of a core.

Whoever is the first to need it makes it; the others wait for that. When a migration changes, it is made anew.
"""

import fcntl
import hashlib
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import django
from django.conf import settings
from django.db import connection


def use_template():
    """From here on, this process's test database is made of the template."""
    creation = connection.creation
    make = creation.create_test_db
    template = (SqliteTemplate if connection.vendor == "sqlite" else PostgresTemplate)(creation, version())

    def create_test_db(*args, **options):
        with lock():
            if not template.exists():
                name = make(*args, **options)
                template.take(name)
                return name
        template.use()
        # What comes after the migrations is done all the same: groups and permissions.
        return make(*args, **options)

    creation.create_test_db = create_test_db


def version():
    """Another one when a migration is."""
    found = hashlib.sha256(django.__version__.encode())
    for path in sorted((settings.BASE_DIR / "calls" / "migrations").glob("*.py")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:12]


@contextmanager
def lock():
    """One process of this machine at a time."""
    with (Path(tempfile.gettempdir()) / "callstream-template.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class SqliteTemplate:
    """A file beside the test databases."""

    def __init__(self, creation, version):
        self.creation = creation
        self.folder = settings.BASE_DIR / "var"
        self.path = self.folder / f"template-{version}.sqlite3"

    def exists(self):
        return self.path.exists()

    def take(self, name):
        for old in self.folder.glob("template-*.sqlite3"):
            old.unlink()
        half = self.path.with_suffix(".half")
        half.unlink(missing_ok=True)
        with closing(sqlite3.connect(name)) as made:
            made.execute("VACUUM INTO ?", [str(half)])
        os.replace(half, self.path)

    def use(self):
        make = self.creation._create_test_db

        def copy(*args, **options):
            name = make(*args, **options)
            # A log that a killed run has left would be taken for this file's.
            for suffix in ("-wal", "-shm"):
                Path(name + suffix).unlink(missing_ok=True)
            shutil.copyfile(self.path, name)
            return name

        self.creation._create_test_db = copy


class PostgresTemplate:
    """A database beside the test databases."""

    def __init__(self, creation, version):
        self.creation = creation
        self.prefix = f"template_of_{connection.settings_dict['NAME']}_"
        self.name = self.prefix + version

    def exists(self):
        return self.name in self.all()

    def all(self):
        with self.creation._nodb_cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [self.prefix + "%"])
            return [name for (name,) in cursor.fetchall()]

    def take(self, name):
        # Nobody may be connected to what is copied.
        connection.close()
        connection.close_pool()
        with self.creation._nodb_cursor() as cursor:
            for old in self.all():
                cursor.execute(f'DROP DATABASE "{old}"')
            cursor.execute(f'CREATE DATABASE "{self.name}" TEMPLATE "{name}"')

    def use(self):
        connection.settings_dict["TEST"]["TEMPLATE"] = self.name
