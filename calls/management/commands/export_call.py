"""`manage.py export_call CA… --to DIR`: writes a call's sound, facts and frames into files, for `import_call` too."""

import hashlib
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from calls import vault
from calls.models import Call, RecordingAccess
from calls.recordings.export import FILES, SUMS
from calls.store import ArchiveError


STDOUT = Path("-")


class Command(BaseCommand):
    help = (
        "Writes calls into files: CA….wav, CA….json (everything known), CA….frames.jsonl (the raw audio) and "
        "CA….sha256 (checksums of these). `manage.py import_call` takes them, on another installation say."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sids", nargs="+", metavar="CA…", help="which calls")
        parser.add_argument(
            "--to",
            required=True,
            type=Path,
            metavar="DIR",
            help="where; made if it is not there; - writes one ZIP on standard output",
        )
        parser.add_argument("--zip", action="store_true", help="one CA….zip for each call instead of four files")
        parser.add_argument("--force", action="store_true", help="overwrite files that are there")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = Path(options["to"])
        calls = {call.sid: call for call in Call.objects.filter(sid__in=options["sids"])}
        if unknown := [sid for sid in options["sids"] if sid not in calls]:
            raise CommandError(f"No such call: {', '.join(unknown)}")
        there = [path for call in calls.values() for path in _paths(folder, call, options) if path.exists()]
        if there and not options["force"] and folder != STDOUT:
            raise CommandError(f"{there[0]} is there already; --force overwrites it.")
        try:
            if folder == STDOUT:
                _write_zip(sys.stdout.buffer, map(self.noted, calls.values()))
                return
            folder.mkdir(parents=True, exist_ok=True)
            for call in map(self.noted, calls.values()):
                self.write(_paths(folder, call, options), call)
        except OSError as error:
            raise CommandError(f"Cannot write to {folder}: {error}") from error
        except ArchiveError as error:
            raise CommandError(f"Not all was exported: {error}.") from error
        except vault.Unreadable as error:
            raise CommandError(f"Not all was written: {error}. Those before it are whole.") from error

    def noted(self, call: Call) -> Call:
        """On record before the first byte, as every other way to hear a recording."""
        if call.ended_at is None:
            self.stderr.write(
                f"{call} still runs: this is what there is of it so far, and import_call does not take it."
            )
        RecordingAccess.objects.create(
            call=call, call_sid=call.sid or "", kind=RecordingAccess.Kind.EXPORT, detail="export_call"
        )
        return call

    def write(self, paths: list[Path], call: Call) -> None:
        if len(paths) == 1:
            with _whole(paths[0]) as file:
                _write_zip(file, [call])
        else:
            sums = b""
            for path, content in zip(paths, FILES.values(), strict=False):
                with _whole(path) as file:
                    sums += _write(file, path.name, content(call))
            with _whole(paths[-1]) as file:
                file.write(sums)
        for path in paths:
            self.stdout.write(f"{path}  {path.stat().st_size} bytes")


def _paths(folder: Path, call: Call, options: dict[str, Any]) -> list[Path]:
    return [folder / f"{call.sid}{end}" for end in ([".zip"] if options["zip"] else [*FILES, SUMS])]


def _write_zip(file: IO[bytes], calls: Iterable[Call]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for call in calls:
            sums = b""
            for ending, content in FILES.items():
                name = f"{call.sid}{ending}"
                with archive.open(name, "w", force_zip64=True) as member:
                    sums += _write(member, name, content(call))
            archive.writestr(f"{call.sid}{SUMS}", sums)


def _write(file: IO[bytes], name: str, pieces: Iterable[bytes]) -> bytes:
    """Its line for `sha256sum -c`."""
    known = hashlib.sha256()
    for piece in pieces:
        known.update(piece)
        file.write(piece)
    return f"{known.hexdigest()}  {name}\n".encode()


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Written whole or not at all, and for its owner's eyes only."""
    part = path.with_name(path.name + ".part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
