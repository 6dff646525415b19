"""Where batches wait on local disk when the database is away for long: a SQLite file a process, in SPOOL_DIR.

A file names the database that it belongs to, and is locked by the process that fills it. When that process is gone,
the lock is gone, and the next process on the same SPOOL_DIR takes the file over.
"""

import fcntl
import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any


logger = logging.getLogger(__name__)


class SpoolFull(Exception):
    """The spool has reached its cap, or its disk is full."""


def fingerprint(database: dict[str, Any]) -> str:
    """Eight characters that stand for a database: where it is and what it is called, without the password."""
    parts = (database["ENGINE"], database.get("HOST"), database.get("PORT"), database.get("NAME"))
    return hashlib.sha256("|".join(str(part or "") for part in parts).encode()).hexdigest()[:8]


class Spool:
    """Batches as bytes, oldest first. Not for several threads at once."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Opens or makes the file. BlockingIOError if another process holds it, OSError if it cannot be made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.max_bytes = max_bytes
        self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check_lock()
            self._db = self._open()
            self.size, self.count = self._measure()
        except BaseException:
            os.close(self._lock)
            raise

    def _check_lock(self) -> None:
        """The one before us deletes an empty spool with its lock: a lock on a deleted file keeps nobody out."""
        try:
            held = os.stat(self.path.with_suffix(".lock")).st_ino == os.fstat(self._lock).st_ino
        except FileNotFoundError:
            held = False
        if not held:
            raise BlockingIOError(f"{self.path} was let go of just now")

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            os.chmod(self.path, 0o600)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA secure_delete=ON")
            db.execute("CREATE TABLE IF NOT EXISTS spool (id INTEGER PRIMARY KEY, batch BLOB NOT NULL)")
        except BaseException:
            db.close()
            raise
        return db

    def _measure(self) -> tuple[int, int]:
        try:
            size, count = self._db.execute("SELECT coalesce(sum(length(batch)), 0), count(*) FROM spool").fetchone()
        except sqlite3.DatabaseError as error:
            # Torn somewhere: what is whole before that can still be read.
            logger.error("spool_damaged %s: %s", self.path, error)
            return 0, 1
        return size, count

    def append(self, batch: bytes, *, urgent: bool = False) -> None:
        """Keeps a batch. SpoolFull if there is no room for it; an urgent one is small, and may exceed the cap."""
        if not urgent and self.size + len(batch) > self.max_bytes:
            raise SpoolFull(f"{self.path} holds {self.size} bytes, at most {self.max_bytes} are allowed")
        try:
            self._db.execute("INSERT INTO spool (batch) VALUES (?)", (batch,))
        except sqlite3.Error as error:
            raise SpoolFull(f"{self.path}: {error}") from error
        self.size += len(batch)
        self.count += 1

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """(key, batch) oldest first; `remove` each one once it is safe."""
        while row := self._db.execute("SELECT id, batch FROM spool ORDER BY id LIMIT 1").fetchone():
            yield row

    def remove(self, key: int, size: int) -> None:
        self._db.execute("DELETE FROM spool WHERE id = ?", (key,))
        self.size -= size
        self.count -= 1

    def close(self) -> None:
        """Lets go of the file; an empty one is deleted."""
        self._db.close()
        if not self.count:
            for path in _files(self.path):
                path.unlink(missing_ok=True)
            self.path.with_suffix(".lock").unlink(missing_ok=True)
        os.close(self._lock)

    def set_aside(self) -> None:
        """Lets go of a file that cannot be read any further, under a name that nobody replays."""
        self._db.close()
        _set_aside(self.path)
        os.close(self._lock)


def _files(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]


def _set_aside(path: Path) -> None:
    for file in _files(path):
        with suppress(OSError):
            file.rename(file.with_name(file.name.replace(".spool", ".damaged")))
    path.with_suffix(".lock").unlink(missing_ok=True)


def leftovers(folder: Path, database: str, max_bytes: int) -> Iterator[Spool]:
    """The spools of this database whose processes are gone, each locked by us now. A file that is none is set aside."""
    # By stem: a process's second file comes after its first one.
    for path in sorted(folder.glob(f"{database}-*.spool"), key=lambda path: path.stem):
        try:
            spool = Spool(path, max_bytes)
        except BlockingIOError:
            continue
        except (sqlite3.OperationalError, OSError) as error:
            # Too many files, no room, not ours to read: perhaps the next time.
            logger.error("spool_unavailable %s: %s", path, error)
            continue
        except sqlite3.DatabaseError as error:
            logger.error("spool_unreadable %s: %s; set aside as .damaged", path, error)
            _set_aside(path)
            continue
        yield spool
