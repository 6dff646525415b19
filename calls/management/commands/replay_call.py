"""`manage.py replay_call CA… --handler new_version`: plays a recorded call's caller to other code, and compares."""

import json
import logging
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.module_loading import import_string
from tqdm import tqdm

from calls import handlers
from calls.admin.saved_views import UnknownView, calls_of
from calls.handlers import NotAHandler, Talk
from calls.management.arguments import at_least_one, milliseconds
from calls.management.replaying import Replayer, Terms
from calls.models import Call, RecordingAccess
from calls.replays import telling
from calls.replays.differences import IGNORABLE
from calls.replays.stored import Playable, Unplayable
from calls.replays.telling import Compared
from calls.store import ArchiveError


# Exit codes: something is different; an argument is wrong; Ctrl-C.
DIFFERENT, WRONG, INTERRUPTED = 1, 2, 130
WARNING = "The handler itself runs: what it does beside talking, it does again."
# Calls that are listed, the worst ones.
MOST_TOLD = 50


class Command(BaseCommand):
    help = (
        "Plays the callers of recorded calls to a handler: what they said, the keys that they pressed and when they "
        "hung up. Says what is different from what happened then: what was said when, how long they waited, marks, "
        "clears, data, and how it ended. Of a call with several streams the first one is played. No row is written "
        "but who has read the recording, and nobody is called; but the handler itself runs, and does what it does: one "
        "that books orders books them again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_argument_group("which calls")
        which.add_argument("sids", nargs="*", metavar="CA…", help="these")
        which.add_argument("--view", metavar="NAME", help="those of a saved view, in its order")
        which.add_argument("--of", metavar="USERNAME", help="whose view that is; default: everybody's")
        which.add_argument("--calls", metavar="FILE", help="those of a file, a CallSid a line; - for standard input")
        which.add_argument(
            "--most", type=at_least_one, default=1000, metavar="N", help="of a view, no more (default %(default)s)"
        )
        parser.add_argument(
            "--handler", metavar="NAME", help="a name of STREAM_HANDLERS, or module.coroutine; default: each call's own"
        )
        parser.add_argument(
            "--tolerance",
            type=milliseconds,
            default=200,
            metavar="TIME",
            help="what is no further apart than this is the same, such as 200ms (the default) or 1s",
        )
        parser.add_argument(
            "--ignore",
            action="append",
            default=[],
            choices=sorted(IGNORABLE),
            metavar="WHAT",
            help="is no difference; may be repeated: " + ", ".join(sorted(IGNORABLE)),
        )
        parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it there, too")
        parser.add_argument(
            "--without-words",
            action="store_true",
            help="do without TRANSCRIBER: for handlers that do not ask for transcripts(), and much faster than with it",
        )
        parser.add_argument("--real-time", action="store_true", help="as slowly as it was: for what needs that")

    def handle(self, *args: Any, **options: Any) -> None:
        sids = list(dict.fromkeys(_sids(options)))
        talk = _handler(options["handler"])
        self.options = options
        if options["without_words"]:
            # For this process alone.
            settings.TRANSCRIBER = ""
        if options["verbosity"]:
            self.stderr.write(self.style.WARNING(WARNING))
        self.skipped: dict[str, str] = {}
        compared = self.replay(sids, talk)
        self.keep(compared)
        self.tell(compared, single=len(sids) == 1)
        if different := sum(not one.comparison.is_same for one in compared):
            raise CommandError(_verdict(different, len(sids)), returncode=DIFFERENT)
        if len(sids) == 1 and self.skipped:
            raise CommandError(f"{sids[0]} was not played: {self.skipped[sids[0]]}", returncode=WRONG)

    def replay(self, sids: list[str], talk: Talk | None) -> list[Compared]:
        """One after the other, each as fast as its handler works."""
        done = []
        no_bar = True if len(sids) == 1 or not self.options["verbosity"] else None
        terms = Terms(talk, self.options["tolerance"], self.options["ignore"], self.options["real_time"])
        with _quiet(self.options["verbosity"]), Replayer(terms) as replayer:
            for sid in tqdm(sids, unit=" calls", leave=False, disable=no_bar):
                try:
                    done.append(self.compared(sid, replayer))
                except Unplayable as error:
                    self.skipped[sid] = str(error)
                except ArchiveError as error:
                    raise CommandError(f"{sid}: {error}", returncode=WRONG) from error
                except KeyboardInterrupt:
                    self.keep(done)
                    self.tell(done, single=False)
                    played = f"{len(done)} of {len(sids)} calls"
                    raise CommandError(f"Interrupted: {played} were played.", returncode=INTERRUPTED) from None
        return done

    def compared(self, sid: str, replayer: Replayer) -> Compared:
        call = Call.objects.get(sid=sid)
        playable = Playable.of(call)
        # Before the first byte, as for every other way to hear a recording.
        detail = f"replay_call --handler {self.options['handler'] or call.handler}"
        RecordingAccess.objects.create(call=call, call_sid=sid, kind=RecordingAccess.Kind.EXPORT, detail=detail[:200])
        return replayer.compared(playable)

    # --- what came of it

    def keep(self, compared: list[Compared]) -> None:
        if self.options["json"]:
            _write(self.options["json"], self.plain(compared))

    def tell(self, compared: list[Compared], *, single: bool) -> None:
        if single:
            for one in compared:
                self.tell_one(one)
            return
        different = [one for one in telling.worst_first(compared) if not one.comparison.is_same]
        if different:
            self.write(telling.table(different[:MOST_TOLD]))
            more = len(different) - MOST_TOLD
            self.write([f"… and {more} more that are different; --json has all of them."] if more > 0 else [])
            self.stdout.write("")
        self.write(telling.summary(compared, self.skipped, self.options["tolerance"]))

    def tell_one(self, one: Compared) -> None:
        if one.remark:
            self.stdout.write(self.style.WARNING(one.remark))
        columns = shutil.get_terminal_size().columns
        for line in telling.lines(one.comparison, columns):
            self.stdout.write(line if line.startswith(("=", " ")) else self.style.WARNING(line))
        self.stdout.write("")
        self.write(telling.figures(one.comparison.before, one.comparison.after))
        if one.comparison.is_same:
            within = f"The same, within {self.options['tolerance']} ms."
            self.stdout.write(self.style.SUCCESS(within))

    def write(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stdout.write(line)

    def plain(self, compared: list[Compared]) -> dict[str, Any]:
        return {
            "handler": self.options["handler"] or "",
            "at": timezone.now().isoformat(),
            "tolerance_ms": self.options["tolerance"],
            "ignored": self.options["ignore"],
            "calls": [telling.plain(one) for one in telling.worst_first(compared)],
            "not_played": [{"call_sid": sid, "why": why} for sid, why in self.skipped.items()],
        }


# --- which calls, and which handler -----------------------------------------------------------------------------------


def _sids(options: dict[str, Any]) -> list[str]:
    if sum(map(bool, (options["sids"], options["view"], options["calls"]))) != 1:
        raise CommandError("Which calls? Name some, or use --view or --calls; one of these.", returncode=WRONG)
    if options["view"]:
        return _of_view(options)
    sids = options["sids"] or _of_file(options["calls"])
    known = {*Call.objects.filter(sid__in=sids).values_list("sid", flat=True)}
    if unknown := [sid for sid in sids if sid not in known]:
        raise CommandError(f"No such call: {', '.join(unknown[:10])}", returncode=WRONG)
    return list(sids)


def _of_view(options: dict[str, Any]) -> list[str]:
    try:
        calls = calls_of(options["view"], options["of"])
    except UnknownView as error:
        raise CommandError(str(error), returncode=WRONG) from error
    return [sid for sid in calls.values_list("sid", flat=True)[: options["most"]] if sid]


def _of_file(name: str) -> list[str]:
    try:
        with _opened(name) as file:
            lines = [line.partition("#")[0].strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name} cannot be read: {error}", returncode=WRONG) from error
    if not any(lines):
        raise CommandError(f"{name} names no call.", returncode=WRONG)
    return [line for line in lines if line]


@contextmanager
def _opened(name: str) -> Iterator[TextIO]:
    if name == "-":
        yield sys.stdin
        return
    with open(name, encoding="utf-8") as file:
        yield file


def _handler(name: str | None) -> Talk | None:
    """The one that is named. None: each call's own."""
    if not name:
        return None
    try:
        if "." in name:
            talk: Talk = import_string(name)
        elif (found := handlers.find(name)) is not None:
            talk = found.talk
        else:
            known = ", ".join(handlers.names())
            raise CommandError(f"There is no handler {name!r}; there are {known}.", returncode=WRONG)
        if objection := handlers.objection_to(talk):
            raise NotAHandler(f"{name!r} is not a handler: {objection}")
    except (ImportError, NotAHandler) as error:
        raise CommandError(str(error), returncode=WRONG) from error
    return talk


# --- around it --------------------------------------------------------------------------------------------------------


@contextmanager
def _quiet(verbosity: int) -> Iterator[None]:
    """What a handler logs is for its own time; with --verbosity 2 it is shown."""
    logger = logging.getLogger("calls")
    before = logger.level
    if verbosity < 2:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {error}", returncode=WRONG) from error


def _verdict(different: int, played: int) -> str:
    return "It is different." if played == 1 else f"{different} of {played} calls are different."
