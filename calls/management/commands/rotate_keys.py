"""`manage.py rotate_keys`: puts the keys of all recordings under the first key of RECORDING_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from calls import vault
from calls.models import Stream
from calls.recordings.retention import leaving_no_traces
from calls.store.rotation import Rotation, names_in_use, to_be_wrapped, wrap_anew


class Command(BaseCommand):
    help = (
        "Wraps the keys of all recordings anew with the first key of RECORDING_KEYS, so that the others can go. "
        "No audio is touched. It may be interrupted and begun again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say which keys are in use")

    def handle(self, *args: Any, **options: Any) -> None:
        if not vault.is_on():
            raise CommandError("RECORDING_KEYS is not set: there is no key to rotate to.")
        count = to_be_wrapped().count()
        if options["dry_run"]:
            self.stdout.write(
                f"Would wrap the keys of {_streams(count)} with “{vault.names()[0]}”. Nothing was changed."
            )
            self._tell()
            return
        rotation, quiet = Rotation(), None if options["verbosity"] else True
        with leaving_no_traces(), tqdm(total=count, unit=" keys", leave=False, disable=quiet) as bar:
            for done in wrap_anew(rotation):
                bar.update(done)
        self.stdout.write(self.style.SUCCESS(f"Wrapped {rotation.wrapped} keys with “{vault.names()[0]}”."))
        self._tell()
        if rotation.failed:
            reasons = "\n".join(f"  {count}: {why}" for why, count in rotation.failed.items())
            raise CommandError(f"{sum(rotation.failed.values())} keys were left as they are:\n{reasons}")

    def _tell(self) -> None:
        """Which keys may be removed, and what the others are still needed for."""
        first, *others = vault.names()
        in_use, live = names_in_use(), names_in_use(Stream.objects.live())
        for name in others:
            if name in live:
                self.stdout.write(f"Keep “{name}”: streams that run have it. Begin again when they are over.")
            elif name in in_use:
                self.stdout.write(f"Keep “{name}”: recordings are sealed with it.")
            else:
                self.stdout.write(
                    f"“{name}” may be removed from RECORDING_KEYS once every worker was started with “{first}” as its "
                    "first key and no spool file of before waits in SPOOL_DIR. Backups of before still need it."
                )
        for name in sorted(in_use - {first, *others}):
            self.stdout.write(
                self.style.WARNING(f"“{name}” is not in RECORDING_KEYS, and recordings are sealed with it.")
            )


def _streams(count: int) -> str:
    return f"{count} stream{'' if count == 1 else 's'}"
