"""`manage.py simulate_call`: `python -m simulator call` with this project's addresses, account and token.

It can also answer the calls that the project itself places.
"""

import sys
from argparse import ArgumentParser
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from calls import rest
from calls.management.serving import announced_at
from calls.security import SIMULATED, simulators_mark
from calls.sounds import sound
from simulator import Scenario, command, options


API_PORT = "default: one that is free; for calls that come in: serve it too, for a server whose TWILIO_API_URL it is"


class Command(BaseCommand):
    help = "Plays Twilio's side of a phone call: signed webhooks, a real WebSocket, speech, digits, marks, hang-up."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        where = parser.add_argument_group("where")
        where.add_argument(
            "--server",
            type=options.origin,
            metavar="URL",
            help="dialled (default: where `make run` serves, or port 8000)",
        )
        where.add_argument(
            "--public-url", metavar="URL", help="signed for (default: PUBLIC_URL, or what `make run` serves with)"
        )
        where.add_argument("--handler", default="", help="the voice webhook is /incoming/<handler>")
        where.add_argument("--no-status-callback", action="store_true", help="as if the number had no StatusCallback")
        options.add_numbers(where)
        options.add_call(parser)
        out = parser.add_argument_group("a call that the server places", "Serves Twilio's REST API on loopback.")
        out.add_argument("--outbound", action="store_true", help="place a call (--from, --to, --handler) and answer it")
        out.add_argument("--serve", action="store_true", help="only serve, until Ctrl-C, and answer whatever is placed")
        options.add_api(out, API_PORT)
        options.add_answer(out)
        options.add_output(parser)

    def handle(self, *args: Any, **chosen: Any) -> None:
        # `make run PORT=8001` signs for its own port, whatever .env says.
        running, signed_for = announced_at()
        chosen["server"] = chosen["server"] or running or "http://127.0.0.1:8000"
        if chosen["public_url"] is None:
            chosen["public_url"] = signed_for if chosen["server"] == running else settings.PUBLIC_URL
        try:
            reports, interrupted = _play(_scenario(chosen), chosen)
            command.conclude(reports, chosen, self.stdout.write)
        except rest.RestError as error:
            raise CommandError(str(error)) from error
        except command.Failed as failure:
            raise CommandError(str(failure), returncode=failure.status) from failure
        if interrupted:
            sys.exit(command.INTERRUPTED)


def _scenario(chosen: options.Options) -> Scenario:
    if not settings.TWILIO_AUTH_TOKENS or not settings.TWILIO_ACCOUNT_SID:
        raise CommandError("TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN have to be set: the server's own, to sign with")
    if urlsplit(chosen["public_url"]).scheme not in ("http", "https"):
        raise CommandError("PUBLIC_URL has to be set, or --public-url given: the address to sign for")
    return options.scenario_of(
        chosen,
        public_url=chosen["public_url"].rstrip("/"),
        handler=chosen["handler"],
        account_sid=settings.TWILIO_ACCOUNT_SID,
        auth_token=settings.TWILIO_AUTH_TOKENS[0],
        audio=chosen["audio"] or sound("caller"),
        # So that nobody asks the real Twilio to end or transfer it.
        extra={SIMULATED: simulators_mark(settings.TWILIO_AUTH_TOKENS[0])},
        status_callback=not chosen["no_status_callback"],
    )


def _play(scenario: Scenario, chosen: options.Options) -> command.Played:
    def order(api_url: str) -> None:
        # For this process alone; the server needs it only to end calls.
        settings.TWILIO_API_URL = api_url
        try:
            rest.place_call(scenario.to_number, scenario.from_number, scenario.handler)
        finally:
            connections.close_all()

    if chosen["serve"]:
        return command.answer(scenario, chosen, None)
    return command.answer(scenario, chosen, order) if chosen["outbound"] else command.place(scenario, chosen)
