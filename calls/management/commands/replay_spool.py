"""`manage.py replay_spool`: writes what a spool file holds into today's database.

A worker does that by itself with the files of its own database. Those of a database that was moved or renamed since,
and those that were damaged, need somebody who knows that they belong here.
"""

import datetime as dt
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError, connections
from tqdm import tqdm

from calls import vault
from calls.media.rows import AnyRow, CallRow, ChunkRow, EventRow, StreamRow
from calls.models import Erasure, Stream
from calls.recorder.housekeeping import take_over
from calls.recorder.packing import unpack
from calls.recorder.patience import Patience
from calls.recorder.spool import Spool, SpoolDamaged, SpoolError, damaged, fingerprint, is_held


@dataclass
class Content:
    """What a spool file holds."""

    batches: int = 0
    unreadable: bool = False
    samples: int = 0
    calls: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    streams: set[str] = field(default_factory=set)
    times: list[dt.datetime] = field(default_factory=list)

    def add(self, row: AnyRow) -> None:
        match row:
            case CallRow():
                self.calls.add(row.sid)
            case StreamRow():
                self.calls.add(row.call_sid)
                self.begun.add(row.sid)
                self.times.append(row.started_at)
            case EventRow():
                self.calls.add(row.call)
                self.times.append(row.occurred_at)
            case _:
                self.streams.add(row.stream)
                self.samples += len(row.payload) if isinstance(row, ChunkRow) else 0

    def unknown(self) -> set[str]:
        """The streams that neither this file nor the database knows: nothing of them can be written."""
        strange = self.streams - self.begun
        return strange - set(Stream.objects.filter(sid__in=strange).values_list("sid", flat=True))

    def __str__(self) -> str:
        parts = [f"{self.samples / 8000:.0f} s of audio of {len(self.streams | self.begun)} streams"]
        if self.times:
            parts.append(f"from {min(self.times):%Y-%m-%d %H:%M:%S} to {max(self.times):%Y-%m-%d %H:%M:%S} UTC")
        if erased := Erasure.objects.filter(call_sid__in=self.calls).count():
            parts.append(f"{erased} calls of it are erased and stay so")
        if unknown := self.unknown():
            parts.append(f"{len(unknown)} streams of it are not known in this database")
        if self.unreadable:
            parts.append("it is damaged, and more cannot be read")
        return "; ".join(parts)


class Command(BaseCommand):
    help = "Writes spool files of a database that was moved or renamed, and damaged ones. Without options, shows them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--from", dest="files", nargs="+", type=Path, metavar="FILE", help="these files")
        which.add_argument("--all", action="store_true", help="every .spool of SPOOL_DIR that nobody holds")
        parser.add_argument("--dry-run", action="store_true", help="only show what they hold")
        parser.add_argument("--skip-unknown", action="store_true", help="drop streams that this database does not know")
        parser.add_argument("--no-input", action="store_false", dest="interactive", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        found = sorted(settings.SPOOL_DIR.glob("*.spool"))
        files = options["files"] or ([path for path in found if not is_held(path)] if options["all"] else [])
        shown = files or [*found, *(path for path in damaged(settings.SPOOL_DIR) if path.suffix == ".damaged")]
        if not shown:
            self.stdout.write(f"There are no spool files in {settings.SPOOL_DIR}.")
            return
        contents = {path: self._show(path) for path in shown}
        if not files or options["dry_run"]:
            self.stdout.write("Nothing was written. Choose files with --from FILE or --all.")
            return
        self._refuse(contents, skip_unknown=options["skip_unknown"])
        if options["interactive"] and not self._confirm(len(files)):
            raise CommandError("Nothing was written.")
        for path, content in contents.items():
            self._replay(path, content, quiet=not options["verbosity"])

    def _show(self, path: Path) -> Content | None:
        """None for a file that somebody holds."""
        ours = path.name.startswith(fingerprint(settings.DATABASES["default"]))
        whose = "of this database" if ours else "of another database, or of this one before it was moved or renamed"
        if is_held(path):
            self.stdout.write(f"{path} ({whose}): a running process holds it, and writes it itself.")
            return None
        content = Content()
        with _opened(path) as spool:
            try:
                for batch in spool.look():
                    content.batches += 1
                    for row in _rows(batch):
                        content.add(row)
            except SpoolDamaged:
                content.unreadable = True
            self.stdout.write(f"{path} ({whose}): {content}.")
        return content

    def _refuse(self, contents: dict[Path, Content | None], *, skip_unknown: bool) -> None:
        for path, content in contents.items():
            if content is None:
                raise CommandError(f"{path} is held by a running process. Nothing was written.")
            if content.unknown() and not skip_unknown:
                raise CommandError(
                    f"{path} holds streams that this database does not know, because they began in another one or "
                    "were erased. Check DATABASE_URL; with --skip-unknown they are dropped. Nothing was written."
                )

    def _confirm(self, count: int) -> bool:
        facts = connections["default"].settings_dict
        where = f"{facts['NAME']} at {facts['HOST']}" if facts["HOST"] else facts["NAME"]
        return input(f"Write {count} files into {where}, and delete them? [y/N] ").strip().lower() in ("y", "yes")

    def _replay(self, path: Path, content: Content | None, *, quiet: bool) -> None:
        total = content.batches if content else 0
        with tqdm(total=total, unit=" batches", leave=False, disable=True if quiet else None) as bar:
            try:
                # It lets go of the file itself.
                for _ in take_over(_open(path), Patience()):
                    bar.update()
            except (DatabaseError, InterfaceError, vault.KeyMissing) as error:
                raise CommandError(
                    f"{path} was not written to its end, and the rest is still there: {error}"
                ) from error
        if path.exists() or path.with_suffix(".damaged").exists():
            self.stdout.write(self.style.WARNING(f"{path} was written as far as it can be read; the rest is kept."))
        else:
            self.stdout.write(self.style.SUCCESS(f"{path} was written, and is gone."))


def _rows(batch: bytes) -> list[AnyRow]:
    try:
        return unpack(batch)
    except vault.KeyMissing as error:
        raise CommandError(f"A spool file cannot be read: {error}. Nothing was written.") from error
    except ValueError:  # it is quarantined when it is written
        return []


def _open(path: Path) -> Spool:
    if not path.is_file() or path.suffix not in (".spool", ".damaged"):
        raise CommandError(f"{path} is not a spool file.")
    try:
        return Spool(path, 2**62)
    except SpoolError as error:
        raise CommandError(f"{path} cannot be opened: {error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[Spool]:
    spool = _open(path)
    try:
        yield spool
    finally:
        spool.close()
