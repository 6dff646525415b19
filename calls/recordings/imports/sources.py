"""Where exported calls lie: in a folder, or in a ZIP. Nothing is ever unpacked: files are read by their names."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, cast

from calls.recordings.export import FILES, SUMS
from calls.recordings.imports.errors import Unimportable


FACTS, FRAMES = ".json", ".frames.jsonl"
NEEDED = (FACTS, FRAMES)
_ENDINGS = "|".join(map(re.escape, (*FILES, SUMS)))
_FILE = re.compile(rf"(CA[0-9a-fA-F]{{32}})({_ENDINGS})")
# What leads out of where it is unpacked, on one system or another.
_ASTRAY = re.compile(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:|\\|[\x00-\x1f]")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BUFFER = 1 << 20

Archive = Path | IO[bytes]


@dataclass(frozen=True)
class Parcel:
    """The files of one call; in a ZIP if there is an `archive`, whose members `files` names by their endings."""

    sid: str
    where: str
    files: dict[str, str]
    size: int  # bytes of its frames
    archive: Archive | None = None

    @contextmanager
    def open(self, ending: str) -> Iterator[IO[bytes]]:
        """One of its files. Unimportable if it cannot be read, now or later within the block."""
        if ending not in self.files:
            raise Unimportable(f"there is no {self.sid}{ending}")
        try:
            if self.archive is None:
                with open(self.files[ending], "rb", _BUFFER) as file:
                    yield file
            else:
                with zipfile.ZipFile(self.archive) as archive, archive.open(self.files[ending]) as member:
                    # Lines of a member by themselves would be put together in Python.
                    yield BufferedReader(cast(RawIOBase, member), _BUFFER)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise Unimportable(f"{self.sid}{ending} cannot be read: {error}") from error


def parcels(source: Archive, name: str) -> list[Parcel]:
    """The calls in a folder, in a ZIP, or of one of an exported call's own files."""
    if isinstance(source, Path):
        if not source.exists():
            raise Unimportable("there is no such file")
        if source.is_dir():
            return _in_folder(source, sorted(source.iterdir()), name)
        if found := _FILE.fullmatch(source.name):
            return _in_folder(source.parent, sorted(source.parent.glob(f"{found[1]}.*")), str(source.parent))
    return _in_zip(source, name)


def _in_folder(folder: Path, paths: list[Path], name: str) -> list[Parcel]:
    calls: dict[str, dict[str, str]] = {}
    for path in paths:
        if (found := _FILE.fullmatch(path.name)) and path.is_file():
            calls.setdefault(found[1], {})[found[2]] = str(path)
    if not any(FACTS in files for files in calls.values()):
        raise Unimportable("there is no exported call in this folder")
    sizes = {sid: Path(files[FRAMES]).stat().st_size if FRAMES in files else 0 for sid, files in calls.items()}
    return [Parcel(sid, name, files, sizes[sid]) for sid, files in calls.items()]


def _in_zip(source: Archive, name: str) -> list[Parcel]:
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Unimportable(f"it is neither a ZIP nor a folder of exported calls: {why}") from error
    calls: dict[str, dict[str, zipfile.ZipInfo]] = {}
    for member in members:
        if _ASTRAY.search(member.orig_filename):
            raise Unimportable(f"it has a file {member.orig_filename!a}, which leads out of it: no export has one")
        if found := _FILE.fullmatch(member.filename.rpartition("/")[2]):
            _add(calls.setdefault(found[1], {}), found[2], member)
    if not calls:
        raise Unimportable("there is no exported call in it")
    return [
        Parcel(
            sid,
            name,
            {end: member.filename for end, member in files.items()},
            files[FRAMES].file_size if FRAMES in files else 0,
            source,
        )
        for sid, files in calls.items()
    ]


def _add(files: dict[str, zipfile.ZipInfo], ending: str, member: zipfile.ZipInfo) -> None:
    if ending in files:
        raise Unimportable(f"it has {member.filename} twice, or in two folders")
    if member.compress_type not in _METHODS:
        raise Unimportable(f"{member.filename} is compressed in another way than an export is")
    files[ending] = member
