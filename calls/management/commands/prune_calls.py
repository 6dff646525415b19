"""`manage.py prune_calls --older-than 90d`: erases what has been kept long enough."""

import datetime as dt
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.utils import timezone
from tqdm import tqdm

from calls.management.arguments import age
from calls.models import Call
from calls.recordings import holds
from calls.recordings.pruning import Eraser
from calls.recordings.retention import BATCH, audio_bytes, batches, erasable, leaving_no_traces


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

    def handle(self, *args: Any, **options: Any) -> None:
        old = self.chosen(options["older_than"], options["number"])
        calls = erasable(old, audio_only=options["audio_only"])
        count, held = calls.count(), holds.held(old).count()
        if held:
            self.stdout.write(f"Under legal hold, and not erased: {held} call{'' if held == 1 else 's'}.")
        what = "the audio of {} calls" if options["audio_only"] else "{} calls"
        if options["dry_run"]:
            size = sum(audio_bytes(call) for call in calls.only("pk").iterator(chunk_size=BATCH))
            self.stdout.write(f"Would erase {what.format(count)}, {size} bytes of audio. Nothing was changed.")
            return
        quiet = None if options["verbosity"] else True
        eraser = Eraser("prune_calls", audio_only=options["audio_only"])
        with leaving_no_traces(), tqdm(total=count, unit=" calls", leave=False, disable=quiet) as bar:
            for batch in batches(calls):
                eraser.erase(batch)
                bar.update(len(batch))
        self.stdout.write(self.style.SUCCESS(f"Erased {what.format(eraser.calls)}, {eraser.bytes} bytes of audio."))
        if eraser.left:
            raise CommandError("\n".join([f"{what.format(len(eraser.left))} were left:", *eraser.left[:MOST_TOLD]]))

    def chosen(self, age: dt.timedelta | None, numbers: list[str]) -> QuerySet[Call]:
        if age is None and settings.RECORDING_RETENTION_DAYS:
            age = dt.timedelta(days=settings.RECORDING_RETENTION_DAYS)
        if age is None:
            raise CommandError("How old? Use --older-than 90d, or set RECORDING_RETENTION_DAYS.")
        old = Call.objects.filter(ended_at__lt=timezone.now() - age)
        return old.of_numbers(numbers) if numbers else old
