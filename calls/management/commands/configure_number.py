"""`manage.py configure_number +14155550199`: points a Twilio number's calls at this server."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from calls import handlers, rest


class Command(BaseCommand):
    help = "Points the calls of one of the account's numbers at this server, or lists where all of them point."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", nargs="?", help="one of the account's, like +14155550199")
        parser.add_argument("--handler", default="", help="default: whatever DEFAULT_STREAM_HANDLER is at the time")
        parser.add_argument(
            "--fallback",
            default="",
            metavar="URL",
            help="asked when our answer fails; default: the present one if it is not ours, else the same address again",
        )
        parser.add_argument("--dry-run", action="store_true", help="only say what would change")
        parser.add_argument("--list", action="store_true", help="show all numbers and where they point")

    def handle(self, *args: Any, **options: Any) -> None:
        number, handler = options["number"], options["handler"]
        if bool(number) == options["list"]:
            raise CommandError("Name a number, like +14155550199, or say --list.")
        if handler and handler not in handlers.names():
            raise CommandError(f"There is no handler {handler!r}; there are {', '.join(handlers.names())}.")
        try:
            if options["list"]:
                self.show(rest.numbers())
            else:
                dry_run = options["dry_run"]
                change = rest.configure_number(number, handler, fallback=options["fallback"], dry_run=dry_run)
                self.tell(change, dry_run)
        except rest.RestError as error:
            raise CommandError(str(error)) from error

    def show(self, numbers: list[rest.Number]) -> None:
        for number in numbers:
            where = "here, " if number.leads_here else ""
            self.stdout.write(f"{_name(number)}: {where}{number.voice_url or 'no VoiceUrl'}")
            self.warn(number)
        if not numbers:
            self.stdout.write("This account has no numbers.")

    def tell(self, change: rest.Change, dry_run: bool) -> None:
        self.stdout.write(_name(change.before))
        for name, before, after in change.fields:
            self.stdout.write(
                f"  {name}: {before or '(empty)'}" + (f" -> {after}" if before != after else ", as it is")
            )
        self.warn(change.after)
        if not change.changes:
            self.stdout.write("Nothing had to be changed.")
        else:
            self.stdout.write("Nothing was changed: this is a dry run." if dry_run else "Its calls come here now.")

    def warn(self, number: rest.Number) -> None:
        for warning in number.warnings:
            self.stderr.write(self.style.WARNING(f"  Warning: {warning}"))


def _name(number: rest.Number) -> str:
    named = number.name and number.name != number.number
    return f"{number.number} ({number.name})" if named else number.number
