"""`manage.py erase_call CA… --reason …`: erases calls for good, when somebody asks for it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from calls.models import Call, Erasure
from calls.recordings import holds
from calls.recordings.retention import STAYS, Content, erasable, erase, leaving_no_traces
from calls.store import ArchiveError


class Command(BaseCommand):
    help = "Says what erasing these calls would take away, and with --yes erases them. It cannot be undone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sids", nargs="+", metavar="CallSid", help="CA and 32 hexadecimal digits")
        parser.add_argument("--reason", required=True, help="kept for good: name nobody in it")
        parser.add_argument(
            "--audio-only", action="store_true", help="erase the audio with its words and comments, keep the rest"
        )
        parser.add_argument("--yes", action="store_true", help="do it")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["reason"].strip():
            raise CommandError("Give a reason: it is all that will be known of this later.")
        calls = [self.find(sid) for sid in dict.fromkeys(options["sids"])]
        audio_only = options["audio_only"]
        self.stdout.write("What goes:")
        for line in Content.of(calls).lines(audio_only=audio_only):
            self.stdout.write(f"  {line}")
        self.stdout.write(f"What stays: {'all the rest, and ' if audio_only else ''}{STAYS}")
        if not options["yes"]:
            self.stdout.write("Nothing was changed. Say --yes to erase it.")
            return
        with leaving_no_traces():
            try:
                size = sum(erase(call, options["reason"].strip(), audio_only=audio_only) for call in calls)
            except holds.OnHold as error:
                raise CommandError(f"{error} Those named before it are erased.") from error
            except ArchiveError as error:
                raise CommandError(f"Not all was erased: {error}. Do it again.") from error
        what = "the audio of " if audio_only else ""
        self.stdout.write(self.style.SUCCESS(f"Erased {what}{_calls(len(calls))}, {size} bytes of audio."))

    def find(self, sid: str) -> Call:
        if call := Call.objects.filter(sid=sid).first():
            if standing := call.holds.standing().select_related("placed_by"):
                raise CommandError(f"{sid} is under legal hold: {' '.join(map(holds.in_words, standing))}")
            if not erasable(Call.objects.filter(pk=call.pk)).exists():
                raise CommandError(f"{sid} is still running: hang up first, or wait until it is over.")
            return call
        if erased := Erasure.objects.filter(call_sid=sid, audio_only=False).first():
            raise CommandError(f"{sid} was erased already, on {erased.at:%Y-%m-%d %H:%M} UTC.")
        raise CommandError(f"There is no call {sid}.")


def _calls(count: int) -> str:
    return f"{count} call{'' if count == 1 else 's'}"
