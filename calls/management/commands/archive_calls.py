"""`manage.py archive_calls --older-than 7d`: moves audio of ended calls into the archive, and with --back out of it."""

import datetime as dt
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, connections
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from tqdm import tqdm

from calls.management.arguments import age
from calls.models import Call, Erasure, Stream
from calls.recordings.retention import audio_bytes, erasable
from calls.store import ArchiveError, Away, archive
from calls.store.archive import Busy
from calls.store.moving import bring_back, late, store, unmoved


# Calls that are looked up at once.
BATCH = 100
# Failures that are told one by one.
MOST_TOLD = 10


class Command(BaseCommand):
    help = (
        "Moves the audio of calls that are over from the database into the archive (ARCHIVE_URL), each stream verified "
        "byte for byte before a row is emptied. It plays, exports and is erased from there. It can be interrupted and "
        "started again at any time, and several machines may run it at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sids", nargs="*", metavar="CA…", help="only these calls, with rows that came late")
        parser.add_argument(
            "--older-than",
            type=age,
            default="7d",
            metavar="AGE",
            help="calls that ended that long ago: 12h, 8w (7d)",
        )
        parser.add_argument(
            "--number", action="append", default=[], metavar="+1…", help="only calls from or to it; may be repeated"
        )
        parser.add_argument("--back", action="store_true", help="the other way: back into the database, of calls named")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be moved")
        parser.add_argument(
            "--every", type=age, metavar="AGE", help="such as 1d: again and again, until it is told to stop"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.options = options
        if options["back"] and not options["sids"]:
            raise CommandError("Whose audio is to come back? Name calls.")
        if options["every"]:
            self.repeat(options["every"])
        elif not archive.is_set():
            raise CommandError("ARCHIVE_URL is not set: there is no archive.")
        else:
            self.move()

    def repeat(self, every: dt.timedelta) -> None:
        """For a container of its own. An error is reported and does not end it: the archive may be back next time."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        if not archive.is_set():
            self.stdout.write("ARCHIVE_URL is not set: nothing is moved.")
        while True:
            try:
                if archive.is_set():
                    self.move()
            except (CommandError, DatabaseError, InterfaceError) as error:
                self.stderr.write(self.style.ERROR(f"Not all was moved: {error}"))
            connections.close_all()
            time.sleep(every.total_seconds())

    def move(self) -> None:
        calls = self.chosen()
        count = calls.count()
        where = "back into the database" if self.options["back"] else "into the archive"
        if self.options["dry_run"]:
            size = sum(audio_bytes(call) for call in _pages(calls))
            self.stdout.write(f"Would move {size} bytes of audio of {_calls(count)} {where}. Nothing was changed.")
            return
        moved, size = self.move_each(calls, count)
        self.stdout.write(self.style.SUCCESS(f"Moved {size} bytes of audio of {_calls(moved)} {where}."))
        if self.failed:
            raise CommandError("\n".join([f"{len(self.failed)} streams were left:", *self.failed[:MOST_TOLD]]))

    def chosen(self) -> QuerySet[Call]:
        """Calls that are over, with nothing left to come, of which audio is to be moved."""
        sids, calls = self.options["sids"], Call.objects.all()
        if sids:
            calls = calls.filter(sid__in=sids)
            if unknown := sorted({*sids} - {*calls.values_list("sid", flat=True)}):
                raise CommandError(f"There is no call {unknown[0]}.")
        else:
            calls = calls.filter(ended_at__lt=timezone.now() - self.options["older_than"])
        if numbers := self.options["number"]:
            calls = calls.of_numbers(numbers)
        erased = Erasure.objects.filter(call_sid=OuterRef("sid"))
        wanted = Exists(self.streams().filter(call=OuterRef("pk")))
        return erasable(calls).filter(wanted, ~Exists(erased))

    def streams(self) -> QuerySet[Stream]:
        if self.options["back"]:
            return Stream.objects.exclude(archive="", archive_spare="")
        return late(Stream.objects.all()) if self.options["sids"] else unmoved()

    def move_each(self, calls: QuerySet[Call], count: int) -> tuple[int, int]:
        """How many calls, and bytes. One stream at a time: an interruption costs no more than one of them."""
        self.failed: list[str] = []
        moved = size = 0
        quiet = None if self.options["verbosity"] else True
        with tqdm(total=count, unit=" calls", leave=False, disable=quiet) as bar:
            for call in _pages(calls):
                found = sum(self.move_one(stream) for stream in self.streams().filter(call=call))
                moved, size = moved + bool(found), size + found
                bar.update()
        return moved, size

    def move_one(self, stream: Stream) -> int:
        try:
            return bring_back(stream) if self.options["back"] else store(stream, told=partial(self.tell, stream))
        except Busy:
            # Another machine is at it, or somebody erases it.
            return 0
        except Away as error:
            raise CommandError(f"The archive does not work: {error}. What was moved so far stays there.") from error
        except ArchiveError as error:
            self.failed.append(f"{stream}: {error}")
            return 0

    def tell(self, stream: Stream, step: str) -> None:
        if self.options["verbosity"] > 1:
            tqdm.write(f"{stream} {step}")


def _pages(calls: QuerySet[Call]) -> Iterator[Call]:
    last = 0
    while page := list(calls.filter(pk__gt=last).order_by("pk").only("pk", "sid")[:BATCH]):
        last = page[-1].pk
        yield from page


def _calls(count: int) -> str:
    return f"{count} call{'' if count == 1 else 's'}"
