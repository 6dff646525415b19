"""`manage.py merge_audio`: rows of audio become fewer and longer ones, of calls that are over."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from tqdm import tqdm

from calls.management.arguments import day
from calls.store import merging


class Command(BaseCommand):
    help = (
        "Merges the rows of audio of streams that are over into longer ones. The server does so after each call; this "
        "is for calls from before that. It can be interrupted and started again at any time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=day, metavar="YYYY-MM-DD", help="only what ended on that day or later")

    def handle(self, *args: Any, **options: Any) -> None:
        streams = merging.due()
        if since := options["since"]:
            streams = streams.filter(ended_at__gte=since)
        merged = 0
        quiet = None if options["verbosity"] else True
        try:
            with tqdm(total=streams.count(), unit=" streams", leave=False, disable=quiet) as bar:
                while merging.merge_one_of(streams):
                    merged += 1
                    bar.update()
        except KeyboardInterrupt:
            raise CommandError(
                f"Interrupted. Merged {merged} streams; the rest is as it was.", returncode=130
            ) from None
        except DatabaseError as error:
            raise CommandError(f"Merged {merged} streams. Then the database failed: {str(error).strip()}") from error
        self.stdout.write(self.style.SUCCESS(f"Merged {merged} streams."))
