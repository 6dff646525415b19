"""`manage.py drain`: has workers take no new calls, while those that they have go on; and take them again."""

import math
import socket
import time
from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from calls.models import Worker
from calls.server.draining import NoneLeft, NotThere, drain, take_again


# Seconds between two looks at how many calls are left.
LOOK = 0.5
BY = "manage.py drain"


class Command(BaseCommand):
    help = (
        "Has workers take no new calls: those that they have go on, and the workers stay. "
        "Without arguments it says which workers there are."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("workers", nargs="*", metavar="WORKER", help="a host, or host:pid as the admin shows it")
        parser.add_argument("--here", action="store_true", help="those of this host")
        parser.add_argument("--all", action="store_true", help="all of them, so that nobody takes calls any more")
        parser.add_argument("--cancel", action="store_true", help="take new calls again")
        limit = parser.add_mutually_exclusive_group()
        limit.add_argument("--seconds", type=seconds, help="then hand on to other workers the calls that are left")
        limit.add_argument("--now", action="store_true", help="the same, as soon as the proxy knows")
        parser.add_argument(
            "--wait", type=seconds, metavar="SECONDS", help="until no call is left; exit code 1 if one is"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not (options["workers"] or options["here"] or options["all"]):
            if options["cancel"]:
                raise CommandError("Take which workers back? Name them, or say --here or --all.")
            if options["now"] or options["seconds"] is not None or options["wait"] is not None:
                raise CommandError("Drain which workers? Name them, or say --here or --all.")
            return self.tell()
        if options["cancel"] and (options["now"] or options["seconds"] is not None or options["wait"] is not None):
            raise CommandError("--cancel takes nothing but the workers.")
        chosen = self.chosen(options)
        keys = [worker.pk for worker in chosen]
        limit = 0.0 if options["now"] else options["seconds"]
        try:
            if options["cancel"]:
                take_again(keys)
            else:
                drain(keys, by=BY, seconds=limit, all_of_them=options["all"])
        except NoneLeft as error:
            raise CommandError(f"{error} Start another one first, or say --all if that is meant.") from None
        except NotThere as error:
            raise CommandError(str(error)) from None
        what = "Take calls again" if options["cancel"] else "Take no new calls"
        self.stdout.write(f"{what}, within 5 s: {', '.join(map(str, chosen))}")
        if options["wait"] is not None:
            self.wait(keys, options["wait"])

    def chosen(self, options: dict[str, Any]) -> list[Worker]:
        alive = list(Worker.objects.alive())
        if options["all"]:
            if options["workers"] or options["here"]:
                raise CommandError("--all is all of them: name no others.")
            found = alive
        else:
            names = [*options["workers"], *([socket.gethostname()] if options["here"] else [])]
            found = [worker for name in names for worker in self.named(name, alive)]
        if not found:
            raise CommandError("No worker runs.")
        return list(dict.fromkeys(found))

    def named(self, name: str, alive: list[Worker]) -> list[Worker]:
        if found := [worker for worker in alive if name in (str(worker), worker.host)]:
            return found
        if known := [worker for worker in Worker.objects.with_silence() if name in (str(worker), worker.host)]:
            raise CommandError(
                f"{name} is not there any more: last heard of at {known[0].seen_at:%Y-%m-%d %H:%M:%S} UTC."
            )
        there = ", ".join(map(str, alive)) or "none"
        raise CommandError(f"There is no worker {name}. Those that run: {there}.")

    def tell(self) -> None:
        workers = list(Worker.objects.alive())
        for worker in workers:
            state = "drains" if worker.is_to_drain else ", ".join(worker.reasons) or "ready"
            self.stdout.write(f"{worker}  {worker.streams}/{worker.capacity} streams  {state}  {worker.version}")
        if not workers:
            self.stdout.write("No worker runs.")

    def wait(self, keys: list[int], patience: float) -> None:
        """Until all of them have read the order, and none has a call left. One that has ended has none."""
        end = time.monotonic() + patience
        most, left = 0, math.inf
        with tqdm(total=0, unit=" calls", leave=False, desc="Ended or moved") as bar:
            while True:
                running = [worker for worker in Worker.objects.with_silence().filter(pk__in=keys) if not worker.is_gone]
                count = sum(worker.streams for worker in running)
                if any(worker.drain_asked_at is None for worker in running):
                    raise CommandError("Somebody has called it off.")
                left = 0 if all(worker.draining for worker in running) and not count else max(count, 1)
                most = max(most, count)
                bar.total, bar.n = most, most - count
                bar.refresh()
                if not left or time.monotonic() >= end:
                    break
                time.sleep(min(LOOK, max(0.0, end - time.monotonic())))
        if left:
            raise CommandError(f"{count} call{'' if count == 1 else 's'} left after {patience:g} s. They go on.")
        self.stdout.write(self.style.SUCCESS("No call is left."))


def seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found <= 86_400:
        raise ArgumentTypeError(f"{text} is no number of seconds up to a day")
    return found
