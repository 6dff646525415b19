"""`manage.py prune_calls --older-than 90d`: erases what has been kept long enough."""

import datetime as dt
import signal
import sys
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, connections
from django.db.models import Q, QuerySet
from django.utils import timezone
from tqdm import tqdm

from calls.management.arguments import age
from calls.models import Call
from calls.recordings import holds
from calls.recordings.retention import audio_bytes, erasable, erase, leaving_no_traces
from calls.store import ArchiveError, Away
from calls.store.moving import has_objects


# Calls that are looked up at once.
BATCH = 100
# Calls that could not be erased and are named.
MOST_TOLD = 10


class Command(BaseCommand):
    help = "Erases calls that ended long enough ago. An audit row of each stays, and nothing of its content."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=age, metavar="AGE", help="such as 90d, 12h or 8w; default: RECORDING_RETENTION_DAYS"
        )
        parser.add_argument(
            "--number", action="append", default=[], metavar="+1…", help="only calls from or to it; may be repeated"
        )
        parser.add_argument(
            "--audio-only", action="store_true", help="erase the audio with its words and comments, keep the rest"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say what would be erased")

        parser.add_argument(
            "--every", type=age, metavar="AGE", help="such as 1d: again and again, until it is told to stop"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.options = options
        if options["every"]:
            self.repeat(options["every"])
        else:
            self.prune()

    def repeat(self, every: dt.timedelta) -> None:
        """For a container of its own. An error is reported and does not end it: the database may be back next time."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        while True:
            try:
                self.prune()
            except (CommandError, DatabaseError, InterfaceError) as error:
                self.stderr.write(self.style.ERROR(f"Nothing was erased: {' '.join(str(error).split())}"))
            connections.close_all()
            time.sleep(every.total_seconds())

    def prune(self) -> None:
        options, old = self.options, self.chosen()
        calls = erasable(old, audio_only=options["audio_only"])
        count, held = calls.count(), holds.held(old).count()
        if held:
            self.stdout.write(f"Under legal hold, and not erased: {held} call{'' if held == 1 else 's'}.")
        what = "the audio of {} calls" if options["audio_only"] else "{} calls"
        if options["dry_run"]:
            size = sum(audio_bytes(call) for call in calls.only("pk").iterator(chunk_size=BATCH))
            self.stdout.write(f"Would erase {what.format(count)}, {size} bytes of audio. Nothing was changed.")
            return
        erased, size = self.erase(calls, count)
        self.stdout.write(self.style.SUCCESS(f"Erased {what.format(erased)}, {size} bytes of audio."))
        if self.failed:
            raise CommandError("\n".join([f"{what.format(len(self.failed))} were left:", *self.failed[:MOST_TOLD]]))

    def chosen(self) -> QuerySet[Call]:
        age = self.options["older_than"]
        if age is None and settings.RECORDING_RETENTION_DAYS:
            age = dt.timedelta(days=settings.RECORDING_RETENTION_DAYS)
        if age is None:
            raise CommandError("How old? Use --older-than 90d, or set RECORDING_RETENTION_DAYS.")
        old = Call.objects.filter(ended_at__lt=timezone.now() - age)
        if numbers := self.options["number"]:
            old = old.filter(Q(from_number__in=numbers) | Q(to_number__in=numbers))
        return old

    def erase(self, calls: QuerySet[Call], count: int) -> tuple[int, int]:
        """One call at a time, so that an interruption costs nothing."""
        erased = size = 0
        self.failed, self.is_away = list[str](), False
        quiet = None if self.options["verbosity"] else True
        with leaving_no_traces(), tqdm(total=count, unit=" calls", leave=False, disable=quiet) as bar:
            last = 0
            while batch := list(calls.filter(pk__gt=last).order_by("pk")[:BATCH]):
                last = batch[-1].pk
                for call in batch:
                    bar.update()
                    if self.is_away and has_objects(call):
                        # Each of them would wait for the archive as long as the first one did.
                        self.failed.append(f"{call}: its audio is in the archive")
                        continue
                    try:
                        size += erase(call, "prune_calls", audio_only=self.options["audio_only"])
                    except holds.OnHold:
                        continue  # just now
                    except ArchiveError as error:
                        self.failed.append(f"{call}: {error}")
                        self.is_away = self.is_away or isinstance(error, Away)
                    else:
                        erased += 1
        return erased, size
