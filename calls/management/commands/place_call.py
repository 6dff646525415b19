"""`manage.py place_call +14155550100`: calls a number, and connects whoever answers to a handler."""

import time
from argparse import ArgumentTypeError
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from calls import handlers, rest
from calls.models import Call, CallEvent


# Seconds between looks at the database, and without news until Twilio itself is asked.
LOOK_EVERY = 0.5
PATIENCE = 15.0
INTERRUPTED = 130


class Command(BaseCommand):
    help = "Calls a number through Twilio, and connects whoever answers to a handler."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("to", metavar="NUMBER", help="whom to call, like +14155550100")
        parser.add_argument("--from", dest="from_", metavar="NUMBER", help="default: DEFAULT_FROM_NUMBER")
        parser.add_argument("--handler", default="", help="default: DEFAULT_STREAM_HANDLER")
        parser.add_argument(
            "--param",
            dest="parameters",
            type=_pair,
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="for the handler: stream.parameters[NAME]; may be repeated",
        )
        parser.add_argument("--machine-detection", action="store_true", help="find out whether a machine answers")
        parser.add_argument("--wait", action="store_true", help="say how the call goes until it is over")

    def handle(self, *args: Any, **options: Any) -> None:
        check_handler(options["handler"])
        try:
            call = rest.place_call(
                options["to"],
                options["from_"],
                options["handler"],
                dict(options["parameters"]),
                options["machine_detection"],
            )
        except rest.RestError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{call.sid}: {call.status}, {call.from_number} calls {call.to_number} for {call.handler}.")
        if options["wait"]:
            self.wait(call)

    def wait(self, call: Call) -> None:
        """Follows the row, which Twilio's callbacks move, until the call is over."""
        try:
            for line in follow(call, LOOK_EVERY, PATIENCE):
                self.stdout.write(line)
                self.stdout.flush()
        except KeyboardInterrupt:
            raise CommandError(f"Not waiting any longer; {call.sid} goes on.", returncode=INTERRUPTED) from None
        call.refresh_from_db()
        if call.status != Call.Status.COMPLETED:
            raise CommandError(f"There was no conversation: {call.status}.")


def follow(call: Call, look_every: float, patience: float) -> Iterator[str]:
    """A line for each thing that happens to a call until it is over."""
    seen = set(call.events.filter(kind="place").values_list("pk", flat=True))
    news = time.monotonic()
    while True:
        call.refresh_from_db()
        for event in call.events.exclude(pk__in=seen):
            seen.add(event.pk)
            news = time.monotonic()
            yield f"{timezone.localtime(event.occurred_at):%H:%M:%S} {describe(event)}"
        if call.ended_at is not None:
            yield _summary(call)
            return
        if time.monotonic() - news > patience:
            news = time.monotonic()
            yield from _ask(call)
        time.sleep(look_every)


def describe(event: CallEvent) -> str:
    answered_by = event.data.get("AnsweredBy")
    return f"{event.kind} ({event.get_source_display()})" + (f", answered by {answered_by}" if answered_by else "")


def _summary(call: Call) -> str:
    lasted = f" after {call.duration} s" if call.duration is not None else ""
    return f"The call is over: {call.status}{lasted}, {call.audio_samples / 8000:.1f} s recorded."


def _ask(call: Call) -> Iterator[str]:
    """No news: either nothing happens, or Twilio's callbacks do not reach us."""
    before = call.status
    try:
        rest.look_up(call)
    except rest.RestError as error:
        yield f"No news, and Twilio could not be asked: {error}"
        return
    if call.status != before:
        yield f"{call.status}, says Twilio; its callbacks do not reach us at {settings.PUBLIC_URL}."


def check_handler(name: str) -> None:
    if name and name not in handlers.names():
        raise CommandError(f"There is no handler {name!r}; there are {', '.join(handlers.names())}.")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ArgumentTypeError(f"{text!r}: write it as NAME=VALUE")
    return name, value
