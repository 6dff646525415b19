"""`manage.py reset_second_factor USER`: for somebody who has lost their telephone and the recovery codes."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from calls.access import second_factor
from calls.access.auditing import Event, record


class Command(BaseCommand):
    help = "Removes somebody's second factor and recovery codes. Make sure that it is they who ask."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", metavar="USER", help="as they log in")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        if not second_factor.remove(user):
            raise CommandError(f"{user.get_username()} has no second factor.")
        record(Event.FACTOR_RESET, user)
        self.stdout.write(
            f"{user.get_username()} is not asked for a code any more, and may set up a new second factor."
        )
