"""`manage.py seal_calls`: seals recordings that were made before RECORDING_KEYS was set."""

import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from calls import vault
from calls.management.arguments import at_least_one
from calls.models import Call
from calls.recordings.retention import leaving_no_traces
from calls.store.sealing import seal_stream, to_be_sealed


# What ends may still be written for a while: late rows, and the spool of a worker that died.
SETTLED = dt.timedelta(hours=1)


class Command(BaseCommand):
    help = (
        "Seals recordings of calls that ended more than an hour ago and were recorded without a key. Each row is "
        "opened again and compared before it is replaced. It may be interrupted and begun again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=at_least_one, metavar="N", help="at most so many streams, and then stop")
        parser.add_argument("--dry-run", action="store_true", help="only say how many streams would be sealed")

    def handle(self, *args: Any, **options: Any) -> None:
        if not vault.is_on():
            raise CommandError("RECORDING_KEYS is not set: there is no key to seal with.")
        streams = to_be_sealed(Call.objects.filter(ended_at__lt=timezone.now() - SETTLED)).order_by("pk")
        count = streams.count()
        if options["limit"]:
            count = min(count, options["limit"])
        if options["dry_run"]:
            self.stdout.write(f"Would seal {count} streams. Nothing was changed.")
            return
        last = done = rows = 0
        quiet = None if options["verbosity"] else True
        with leaving_no_traces(), tqdm(total=count, unit=" streams", leave=False, disable=quiet) as bar:
            while done < count and (stream := streams.filter(pk__gt=last).first()):
                rows += sum(seal_stream(stream))
                last = stream.pk
                done += 1
                bar.update()
        self.stdout.write(self.style.SUCCESS(f"Sealed {done} streams, {rows} rows."))
