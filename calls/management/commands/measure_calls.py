"""`manage.py measure_calls`: measures the conversations of calls that are over."""

import os
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from tqdm import tqdm

from calls.management.arguments import day
from calls.measuring.backlog import measurable
from calls.measuring.courtesy import NICENESS
from calls.measuring.measurement import measure
from calls.models import Call
from calls.models.call_queries import CallQuerySet


# Calls that are looked up at once.
BATCH = 100
# Failures that are told one by one.
MOST_TOLD = 10


class Command(BaseCommand):
    help = (
        "Measures who spoke when in recordings, and how long callers waited for an answer. The server does so after "
        "each call; this is for calls from before that, and for --again. It can be interrupted and started again at "
        "any time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sids", nargs="*", metavar="CallSid", help="only these calls")
        parser.add_argument("--since", type=day, metavar="YYYY-MM-DD", help="only calls of that day and later")
        parser.add_argument("--handler", help="only calls that this handler took")
        parser.add_argument("--again", action="store_true", help="also calls that are measured already")

    def handle(self, *args: Any, **options: Any) -> None:
        os.nice(NICENESS)
        self.measured, self.changed, self.failed = 0, 0, dict[str, str]()
        calls = self.chosen(options)
        try:
            with tqdm(
                total=calls.count(), unit=" calls", leave=False, disable=None if options["verbosity"] else True
            ) as bar:
                for call in pages(calls):
                    self.measure(call)
                    bar.update()
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted. {self.summary()} The rest is as it was.", returncode=130) from None
        except DatabaseError as error:
            raise CommandError(f"{self.summary()} Then the database failed: {str(error).strip()}") from error
        self.stdout.write(self.style.SUCCESS(self.summary()))
        if self.failed:
            told = [f"{sid}: {why}" for sid, why in [*self.failed.items()][:MOST_TOLD]]
            raise CommandError("\n".join([f"{counted(len(self.failed))} could not be measured:", *told]))

    def chosen(self, options: dict[str, Any]) -> CallQuerySet:
        sids = options["sids"]
        if strange := sorted({*sids} - {*Call.objects.filter(sid__in=sids).values_list("sid", flat=True)}):
            raise CommandError(f"There is no call {strange[0]}.")
        calls = measurable(Call.objects.all() if options["again"] else Call.objects.unmeasured())
        if sids:
            calls = calls.filter(sid__in=sids)
        if since := options["since"]:
            calls = calls.filter(created_at__gte=since)
        if handler := options["handler"]:
            calls = calls.filter(handler=handler)
        return calls.order_by("pk")

    def measure(self, call: Call) -> None:
        """One that fails keeps no other from being measured."""
        try:
            if measure(call, gives_way=True):
                self.measured += 1
            else:
                self.changed += 1
        except DatabaseError:
            raise
        except Exception as error:
            self.failed[str(call)] = f"{type(error).__name__}: {error}"

    def summary(self) -> str:
        changed = f" Left out, since it was changing: {counted(self.changed)}." if self.changed else ""
        return f"Measured {counted(self.measured)}.{changed}"


def pages(calls: CallQuerySet) -> Iterator[Call]:
    last = 0
    while page := list(calls.filter(pk__gt=last)[:BATCH]):
        last = page[-1].pk
        yield from page


def counted(number: int) -> str:
    return f"{number} call{'' if number == 1 else 's'}"
