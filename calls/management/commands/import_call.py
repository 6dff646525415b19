"""`manage.py import_call CA….zip …`: takes calls that `export_call` has written, of another installation say."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from tqdm import tqdm

from calls.media.audio import SAMPLE_RATE
from calls.recordings.imports import Parcel, Unimportable, bring_in, parcels
from calls.recordings.imports.sources import Archive


class Command(BaseCommand):
    help = (
        "Imports calls that export_call has written: ZIPs, folders, or a call's own files. Each is checked first, and "
        "comes whole or not at all; one that is here already is left as it is. The others go on after one that fails, "
        "and the exit status is 1 then."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "sources",
            nargs="+",
            metavar="FILE",
            help="a ZIP, a folder or a file of an exported call; - for a ZIP on standard input",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.imported, self.samples, self.failed = 0, 0, list[str]()
        is_shown = None if options["verbosity"] else True
        with _archives(options["sources"]) as archives:
            found = list(self.find(archives))
            # Each is read twice: to be checked, and to be written.
            size = 2 * sum(parcel.size for parcel in found)
            with tqdm(total=size, unit="B", unit_scale=True, leave=False, disable=is_shown) as bar:
                try:
                    for parcel in found:
                        self.bring_in(parcel, bar)
                except KeyboardInterrupt:
                    raise CommandError(f"Interrupted. {self.summary()}", returncode=130) from None
                except DatabaseError as error:
                    raise CommandError(f"The database failed: {str(error).strip()}\n{self.summary()}") from error
        if self.failed:
            raise CommandError(self.summary())
        self.stdout.write(self.style.SUCCESS(self.summary()))

    def find(self, archives: dict[str, Archive]) -> Iterator[Parcel]:
        known = set[tuple[str, str]]()
        for name, archive in archives.items():
            try:
                for parcel in parcels(archive, name):
                    # A shell's pattern names all files of a call that lies in a folder.
                    if (parcel.where, parcel.sid) not in known:
                        known.add((parcel.where, parcel.sid))
                        yield parcel
            except Unimportable as error:
                self.failed.append(f"{name}: {error}")

    def bring_in(self, parcel: Parcel, bar: Any) -> None:
        bar.set_description(parcel.sid[:8])
        at = bar.n
        try:
            imported = bring_in(parcel, bar.update)
        except Unimportable as error:
            self.failed.append(f"{parcel.where}: {parcel.sid}: {error}")
        else:
            self.imported += 1
            self.samples += imported.samples
            for warning in imported.warnings:
                tqdm.write(f"{parcel.sid}: {warning}", file=self.stderr)
        bar.update(at + 2 * parcel.size - bar.n)

    def summary(self) -> str:
        done = f"Imported {_counted(self.imported)}, {self.samples / SAMPLE_RATE:.0f} s of audio."
        failed = [f"{done} {len(self.failed)} could not be imported:", *self.failed]
        return "\n".join(failed) if self.failed else done


@contextmanager
def _archives(names: list[str]) -> Iterator[dict[str, Archive]]:
    """Each once, by its name; a ZIP that comes in by a pipe cannot be read to and fro, and is laid in a file."""
    if "-" not in names:
        yield {name: Path(name) for name in names}
        return
    if sys.stdin.isatty():
        raise CommandError("- reads a ZIP from standard input: pipe one in, or redirect it from a file.")
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        yield {name: file if name == "-" else Path(name) for name in names}


def _counted(number: int) -> str:
    return f"{number} call{'' if number == 1 else 's'}"
