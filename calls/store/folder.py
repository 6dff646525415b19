"""An archive that is a folder: ARCHIVE_URL=file:///…"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage

from calls.store.archive import Away, Missing


class Folder(FileSystemStorage):
    """For the server's eyes only. The folder is never made here: a disk that is not mounted is no empty archive."""

    def __init__(self, location: str) -> None:
        super().__init__(location, file_permissions_mode=0o600, directory_permissions_mode=0o700)

    def read_range(self, name: str, start: int, size: int) -> bytes:
        with self._open_archive(), open(self.path(name), "rb") as file:
            file.seek(start)
            return file.read(size)

    def settle(self, name: str) -> None:
        """Waits until the file is on the disk, and will be read back from there."""
        path = Path(self.path(name))
        with self._open_archive():
            for part in (path, *path.parents):
                _sync(part)
                if part == Path(self.location):
                    break

    def _save(self, name: str, content: Any) -> str:
        with self._open_archive():
            return str(super()._save(name, content))  # type: ignore[misc]

    def size(self, name: str) -> int:
        with self._open_archive():
            return super().size(name)

    def delete(self, name: str) -> None:
        with self._open_archive():
            super().delete(name)

    def ask(self) -> None:
        with self._open_archive():
            os.listdir(self.location)

    @contextmanager
    def _open_archive(self) -> Iterator[None]:
        if not os.path.isdir(self.location):
            raise Away(f"the archive's folder {self.location} is not there")
        try:
            yield
        except FileNotFoundError as error:
            raise Missing(f"{error.filename} is not in the archive") from error
        except OSError as error:
            raise Away(f"the archive's folder does not work: {error}") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        # What was written is still in memory, and would be compared with itself.
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
