"""The archive: objects of bytes, each written once and read in ranges, in the storage that ARCHIVE_URL names.

Which object has which audio is known by rows alone. Everything here waits for a disk or a network: never call it from
the event loop.
"""

import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.files import File
from django.core.files.storage import InvalidStorageError, storages

from calls.archive_url import ALIAS


logger = logging.getLogger(__name__)

# What is read at once of an object that is read whole.
PIECE = 1 << 20
# Rather than ask twice, these many bytes in between are read too: the other lane's, mostly.
NEAR = 1 << 17
# And no more than that at once, with what lies in between.
MOST = 1 << 21


class ArchiveError(Exception):
    """Why audio in the archive, or on its way there, could not be had, moved or erased; for operators."""

    #: For staff and programs, who need not know where it lies.
    said = "The archive, which has this recording, does not work. Try again later."


class Away(ArchiveError):
    """The archive cannot be read or written now."""


class Missing(Away):
    """The archive answers, and does not have what a row says that it has."""

    said = "The archive does not have this recording any more. Tell whoever runs this installation."


class Busy(ArchiveError):
    """Somebody else moves the audio of this stream just now, or has taken it over."""


class Corrupt(ArchiveError):
    """The archive gives back other bytes than it was given."""


class _Telling:
    """The log is told once that the archive is away, and once that it is back."""

    def __init__(self) -> None:
        self._is_away = False

    @contextmanager
    def __call__(self) -> Iterator[Any]:
        """The storage."""
        try:
            yield _storage()
        except Missing:
            raise
        except Away as error:
            if not self._is_away:
                logger.error("archive_away %s", error)
            self._is_away = True
            raise
        if self._is_away:
            logger.warning("archive_back")
        self._is_away = False


_opened = _Telling()


def _storage() -> Any:
    if not is_set():
        raise Away("ARCHIVE_URL is not set, or names no archive")
    try:
        return storages[ALIAS]
    except InvalidStorageError as error:
        raise Away(f"the archive cannot be opened: {error}") from error


def is_set() -> bool:
    return ALIAS in storages.backends


def read(name: str, start: int, size: int) -> bytes:
    """These bytes of an object, all of them."""
    with _opened() as storage:
        found: bytes = storage.read_range(name, start, size)
        if len(found) != size:
            raise Missing(f"{name} in the archive ends before {start + size}")
        return found


def read_spans(name: str, spans: dict[int, tuple[int, int]]) -> dict[int, bytes]:
    """Several places (offset, size) of an object, by keys: neighbours are read together."""
    found, run = dict[int, bytes](), list[tuple[int, int, int]]()
    for span in [*sorted((at, at + size, key) for key, (at, size) in spans.items()), None]:
        if run and (span is None or span[0] - run[-1][1] > NEAR or span[1] - run[0][0] > MOST):
            start = run[0][0]
            data = read(name, start, run[-1][1] - start)
            found |= {key: data[begin - start : end - start] for begin, end, key in run}
            run = []
        if span:
            run.append(span)
    return found


def pieces(name: str, stop: int | None = None) -> Iterator[bytes]:
    """An object's bytes, or those up to `stop`."""
    end = size(name) if stop is None else stop
    for at in range(0, end, PIECE):
        yield read(name, at, min(PIECE, end - at))


def size(name: str) -> int:
    with _opened() as storage:
        return int(storage.size(name))


def sha256(name: str, *, between: Callable[[], None] = lambda: None) -> str:
    """Of what the archive gives back; `between` its pieces something else may be done."""
    known = hashlib.sha256()
    for piece in pieces(name):
        known.update(piece)
        between()
    return known.hexdigest()


def write(name: str, content: Iterable[bytes]) -> str:
    """Writes an object that is not there yet, which lasts from then on; returns the SHA-256 of what it was given."""
    source = _Source(content)
    with _opened() as storage:
        if storage.save(name, File(io.BufferedReader(source, PIECE))) != name:
            raise Away(f"{name} was there already")
        storage.settle(name)
    return source.known.hexdigest()


def ask() -> None:
    """Raises Away unless the archive is there."""
    with _opened() as storage:
        storage.ask()


def delete(name: str) -> None:
    """Also one that is not there."""
    with _opened() as storage:
        storage.delete(name)


class _Source(io.RawIOBase):
    """An iterable as a file that is read once, and knows what was read of it."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self._content = iter(content)
        self._rest = b""
        self.known = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            if (piece := next(self._content, None)) is None:
                return 0
            self._rest = piece
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        self.known.update(taken)
        return len(taken)
