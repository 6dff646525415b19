"""`manage.py verify_calls --all`: checks that every sample of every stream is stored or explained."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Exists, OuterRef, QuerySet
from tqdm import tqdm

from calls.management.arguments import moment
from calls.models import Call, Erasure, Stream
from calls.recordings.verification import damage, problems
from calls.store import Away


class Command(BaseCommand):
    help = "Checks that every sample of the streams that have ended is stored or explained. Exit code 1 if not."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sids", nargs="*", metavar="CA…", help="these calls")
        parser.add_argument("--since", type=moment, metavar="DATE", help="calls from then on (2026-03-14)")
        parser.add_argument("--until", type=moment, metavar="DATE", help="calls before then")
        parser.add_argument("--all", action="store_true", help="every call")
        parser.add_argument("--audio", action="store_true", help="read each byte that is in the archive, too")

    def handle(self, *args: Any, **options: Any) -> None:
        calls = _chosen(options)
        streams = Stream.objects.filter(call__in=calls, ended_at__isnull=False).filter(~Exists(_erased()))
        found = 0
        count = streams.count()
        with tqdm(total=count, unit=" streams", leave=False, disable=None if options["verbosity"] else True) as bar:
            for stream in streams.select_related("call").order_by("pk").iterator(chunk_size=500):
                try:
                    for problem in (*problems(stream), *(damage(stream) if options["audio"] else ())):
                        found += 1
                        bar.clear()
                        self.stdout.write(f"{stream.call} {stream.sid} {problem}")
                except Away as error:
                    # Each of the others would wait for it as long.
                    raise CommandError(f"Not all was verified: {error}.") from error
                bar.update()
        if found:
            raise CommandError(f"{found} problems in {count} streams.")
        self.stdout.write(self.style.SUCCESS(f"{count} streams: every sample is stored or explained."))


def _chosen(options: dict[str, Any]) -> QuerySet[Call]:
    calls = Call.objects.all()
    if sids := set(options["sids"]):
        calls = calls.filter(sid__in=sids)
        if unknown := sids - set(calls.values_list("sid", flat=True)):
            raise CommandError(f"No such call: {', '.join(sorted(unknown))}")
    elif not (options["all"] or options["since"] or options["until"]):
        raise CommandError("Which calls? Name some, or use --since, --until or --all.")
    if options["since"]:
        calls = calls.filter(created_at__gte=options["since"])
    if options["until"]:
        calls = calls.filter(created_at__lt=options["until"])
    return calls


def _erased() -> QuerySet[Erasure]:
    """What somebody has erased, or is erasing, is not lost."""
    return Erasure.objects.filter(call_sid=OuterRef("call__sid"))
