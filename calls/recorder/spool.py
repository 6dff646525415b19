"""Where batches wait on local disk when the database is away for long: a SQLite file a process, in SPOOL_DIR.

A file names the database that it belongs to, and is locked by the process that fills it. When that process is gone,
the lock is gone, and the next process on the same SPOOL_DIR takes the file over.

Nothing but a SpoolError comes out of here: SQLite's own errors would be taken for those of the database.
"""

import fcntl
import hashlib
import logging
import mmap
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


logger = logging.getLogger(__name__)

# What is kept free for the gaps of a full disk, in bytes: rows without audio of some hundred streams.
RESERVE = 2**19


class SpoolError(Exception):
    """Something is wrong with the spool or its disk."""


class SpoolFull(SpoolError):
    """The spool has reached its cap, or its disk is full."""


class SpoolHeld(SpoolError):
    """Another process holds this file."""


class SpoolUnavailable(SpoolError):
    """The file cannot be opened now: too many are open, there is no room, it is not ours to read."""


class SpoolDamaged(SpoolError):
    """The file cannot be read, or no further."""


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        raise SpoolUnavailable(f"{error} ({path})") from error
    except sqlite3.Error as error:
        raise SpoolDamaged(f"{error} ({path})") from error


def fingerprint(database: dict[str, Any]) -> str:
    """Eight characters that stand for a database: where it is and what it is called, without the password."""
    parts = (database["ENGINE"], database.get("HOST"), database.get("PORT"), database.get("NAME"))
    return hashlib.sha256("|".join(str(part or "") for part in parts).encode()).hexdigest()[:8]


class Spool:
    """Batches as bytes, oldest first. Not for several threads at once."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Opens or makes the file. SpoolHeld, SpoolUnavailable or SpoolDamaged if that cannot be."""
        self.path = path
        self.max_bytes = max_bytes
        #: The key of the newest batch, and of the newest one that was removed.
        self._last = self._removed = 0
        self._reserve: Path | None = None
        with _opening(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            self._lock = self._take_lock()
            try:
                # A dead process's: it has to be room for us now.
                path.with_suffix(".reserve").unlink(missing_ok=True)
                self._db = self._open()
                self.size, self.count = self._measure()
            except BaseException:
                if is_new:
                    _delete(path)
                os.close(self._lock)
                raise

    def _take_lock(self) -> int:
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check_lock(lock)
        except BaseException as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                raise SpoolHeld(f"{self.path} is in use") from error
            raise
        return lock

    def _check_lock(self, lock: int) -> None:
        """The one before us deletes an empty spool with its lock: a lock on a deleted file keeps nobody out."""
        try:
            held = os.stat(self.path.with_suffix(".lock")).st_ino == os.fstat(lock).st_ino
        except FileNotFoundError:
            held = False
        if not held:
            raise SpoolHeld(f"{self.path} was let go of just now")

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            os.chmod(self.path, 0o600)
            # We are alone: without a -shm file, one can be opened on a disk that is full too.
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA secure_delete=ON")
            db.execute("CREATE TABLE IF NOT EXISTS spool (id INTEGER PRIMARY KEY, batch BLOB NOT NULL)")
        except BaseException:
            db.close()
            raise
        return db

    def _measure(self) -> tuple[int, int]:
        what = "coalesce(sum(length(batch)), 0), count(*), coalesce(max(id), 0)"
        try:
            size, count, self._last = self._db.execute(f"SELECT {what} FROM spool").fetchone()
        except sqlite3.DatabaseError as error:
            # Torn somewhere: what is whole before that can still be read.
            logger.error("spool_damaged %s: %s", self.path, error)
            return 0, 1
        return size, count

    def append(self, batch: bytes, *, urgent: bool = False) -> None:
        """Keeps a batch. SpoolFull if there is no room for it; an urgent one is small, and may exceed the cap."""
        if not urgent and self.size + len(batch) > self.max_bytes:
            raise SpoolFull(f"{self.size} bytes wait on {self.path.parent}, at most {self.max_bytes} are allowed")
        try:
            self._insert(batch)
        except sqlite3.Error as error:
            if not urgent:
                raise self._full(error) from error
            self._release()
            try:
                self._insert(batch)
            except sqlite3.Error as again:
                raise self._full(again) from again

    def _insert(self, batch: bytes) -> None:
        if self._reserve is None:
            self._keep_room()
        # A key is never given twice: what is below `_removed` is done.
        self._db.execute("INSERT INTO spool (id, batch) VALUES (?, ?)", (self._last + 1, batch))
        self._last += 1
        self.size += len(batch)
        self.count += 1

    def _full(self, error: sqlite3.Error) -> SpoolFull:
        what = "the disk is full" if error.sqlite_errorcode == sqlite3.SQLITE_FULL else str(error)
        return SpoolFull(f"{what} on {self.path.parent}")

    def _keep_room(self) -> None:
        """A disk that fills up must still take the gaps. One that is full already has none to keep."""
        self._reserve = self.path.with_suffix(".reserve")
        with suppress(OSError):
            file = os.open(self._reserve, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(file, 0, RESERVE)
            finally:
                os.close(file)

    def _release(self) -> None:
        if self._reserve is not None:
            self._reserve.unlink(missing_ok=True)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """(key, batch) oldest first; `remove` each one once it is safe. SpoolDamaged where it cannot be read."""
        while row := self._oldest():
            yield row

    def _oldest(self) -> tuple[int, bytes] | None:
        query = "SELECT id, batch FROM spool WHERE id > ? ORDER BY id LIMIT 1"
        try:
            row: tuple[int, bytes] | None = self._db.execute(query, (self._removed,)).fetchone()
        except sqlite3.Error as error:
            raise SpoolDamaged(f"{error} ({self.path})") from error
        return row

    def look(self) -> Iterator[bytes]:
        """The batches, oldest first, which stay where they are. SpoolDamaged where they cannot be read."""
        try:
            for (batch,) in self._db.execute("SELECT batch FROM spool WHERE id > ? ORDER BY id", (self._removed,)):
                yield batch
        except sqlite3.Error as error:
            raise SpoolDamaged(f"{error} ({self.path})") from error

    def remove(self, key: int, size: int) -> None:
        """Takes the oldest batch out. That needs no room: what a full disk does not delete goes with the file."""
        self._removed = key
        self.size -= size
        self.count -= 1
        with suppress(sqlite3.Error):
            self._db.execute("DELETE FROM spool WHERE id = ?", (key,))

    def close(self) -> None:
        """Lets go of the file; an empty one is deleted."""
        self._db.close()
        self._release()
        if self.count <= 0:
            _delete(self.path)
        os.close(self._lock)

    def rename_damaged(self) -> None:
        """Lets go of a file that cannot be read any further, under a name that nobody replays."""
        self._db.close()
        self._release()
        _rename_damaged(self.path)
        os.close(self._lock)


def _files(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))]


def _delete(path: Path) -> None:
    for file in [*_files(path), path.with_suffix(".lock")]:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def _rename_damaged(path: Path) -> None:
    for file in _files(path):
        with suppress(OSError):
            file.rename(file.with_name(file.name.replace(".spool", ".damaged")))
    path.with_suffix(".lock").unlink(missing_ok=True)


def foreign(folder: Path, database: str) -> list[Path]:
    """The spools of other databases that nobody holds: of this one too, before it was moved or renamed."""
    others = (path for path in folder.glob("*.spool") if not path.name.startswith(f"{database}-"))
    return sorted(path for path in others if not is_held(path))


def is_held(path: Path) -> bool:
    """Whether a process fills this file, or reads it."""
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def damaged(folder: Path) -> list[Path]:
    """The files that were set aside."""
    return sorted(path for path in folder.glob("*.damaged*") if path.is_file())


def erase_damaged(folder: Path, names: Iterable[str]) -> int:
    """Deletes the files that were set aside and name one of these calls or streams. Returns how many.

    Nothing can be taken out of them, and nobody replays them.
    """
    wanted = [name.encode() for name in names]
    found = [path for path in damaged(folder) if _holds(path, wanted)]
    for path in found:
        path.unlink(missing_ok=True)
        logger.warning("spool_erased %s: it held a call that is erased", path)
    return len(found)


def _holds(path: Path, names: list[bytes]) -> bool:
    """Rows name their stream or call in plain bytes."""
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(name) >= 0 for name in names)


def leftovers(folder: Path, database: str, max_bytes: int, told: set[Path] | None = None) -> Iterator[Spool]:
    """The spools of this database whose processes are gone, each locked by us now. A file that is not one is set aside.

    `told` are those of which the log says already that they cannot be opened.
    """
    told = set() if told is None else told
    # By stem: a process's second file comes after its first one.
    for path in sorted(folder.glob(f"{database}-*.spool"), key=lambda path: path.stem):
        try:
            spool = Spool(path, max_bytes)
        except SpoolHeld:
            continue
        except SpoolUnavailable as error:
            # Perhaps the next time.
            if path not in told:
                told.add(path)
                logger.error("spool_unavailable %s", error)
            continue
        except SpoolDamaged as error:
            logger.error("spool_unreadable %s; it is set aside as .damaged", error)
            _rename_damaged(path)
            continue
        yield spool
