"""`manage.py export_audit`: who logged in, changed rights, listened, took away, erased or stepped in, as JSON lines."""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from calls.access.journal import Position, told
from calls.management.arguments import moment


# Seconds between two looks with --follow.
LOOK_AGAIN = 5.0


class Command(BaseCommand):
    help = "Writes all that is on record of staff and programs as JSON lines, oldest first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=moment, metavar="TIME", help="2026-03-14, or 2026-03-14T15:09:26Z")
        parser.add_argument("--until", type=moment, metavar="TIME", help="and nothing from then on")
        parser.add_argument("--follow", action="store_true", help="go on with what is new, 20 s after it happened")
        parser.add_argument(
            "--state", type=Path, metavar="FILE", help="go on behind what this file says was written, and note it there"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["follow"] and options["until"]:
            raise CommandError("--follow has no end: leave --until out.")
        position = _read(options["state"])
        if options["state"]:  # before anything is written that could not be noted
            _note(options["state"], position)
        with contextlib.suppress(KeyboardInterrupt):
            self._write(position, options)
            while options["follow"]:
                time.sleep(LOOK_AGAIN)
                self._write(position, options)

    def _write(self, position: Position, options: dict[str, Any]) -> None:
        before = dict(position)
        for row in told(position, options["since"], options["until"]):
            self.stdout.write(json.dumps(row, ensure_ascii=False, default=str))
        self.stdout.flush()
        if options["state"] and position != before:
            _note(options["state"], position)


def _read(path: Path | None) -> Position:
    if path is None or not path.exists():
        return {}
    try:
        return {str(name): int(key) for name, key in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise CommandError(f"{path} is not what this command writes there: {error}") from error


def _note(path: Path, position: Position) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(position))
        os.replace(part, path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error}") from error
