"""`manage.py export_call CA… --to DIR`: writes a call's sound, facts and frames into files."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from calls import vault
from calls.models import Call, RecordingAccess
from calls.recordings import export
from calls.store import ArchiveError


FILES = {".wav": export.wav, ".json": export.facts, ".frames.jsonl": export.frames}


class Command(BaseCommand):
    help = "Writes calls into files: CA….wav, CA….json (everything known) and CA….frames.jsonl (the raw audio)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sids", nargs="+", metavar="CA…", help="which calls")
        parser.add_argument("--to", required=True, type=Path, metavar="DIR", help="where; made if it is not there")
        parser.add_argument("--force", action="store_true", help="overwrite files that are there")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = Path(options["to"])
        calls = {call.sid: call for call in Call.objects.filter(sid__in=options["sids"])}
        if unknown := [sid for sid in options["sids"] if sid not in calls]:
            raise CommandError(f"No such call: {', '.join(unknown)}")
        there = [path for call in calls.values() for path in _paths(folder, call) if path.exists()]
        if there and not options["force"]:
            raise CommandError(f"{there[0]} is there already; --force overwrites it.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for call in calls.values():
                self.write(folder, call)
        except OSError as error:
            raise CommandError(f"Cannot write to {folder}: {error}") from error
        except ArchiveError as error:
            raise CommandError(f"Not all was exported: {error}.") from error

    def write(self, folder: Path, call: Call) -> None:
        # Before the first byte, as for every other way to hear a recording.
        RecordingAccess.objects.create(
            call=call, call_sid=call.sid or "", kind=RecordingAccess.Kind.EXPORT, detail="export_call"
        )
        for path, content in zip(_paths(folder, call), FILES.values(), strict=True):
            try:
                _write(path, content(call))
            except vault.Unreadable as error:
                raise CommandError(f"{path} was not written: {error}. Those before it are whole.") from error
            self.stdout.write(f"{path}  {path.stat().st_size} bytes")


def _paths(folder: Path, call: Call) -> list[Path]:
    return [folder / f"{call.sid}{end}" for end in FILES]


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """Whole or not at all, and for its owner's eyes only."""
    part = path.with_name(path.name + ".part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.writelines(pieces)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
