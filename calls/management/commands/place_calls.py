"""`manage.py place_calls numbers.csv`: calls a file of numbers, one after the other, and nobody twice."""

import datetime as dt
import getpass
from argparse import ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from calls import rest
from calls.campaigns import numbers_file, results, starting
from calls.campaigns.claiming import quiet_hours
from calls.campaigns.foretelling import foretell
from calls.campaigns.numbers_file import NumbersFile
from calls.campaigns.quiet import Place, QuietHours
from calls.campaigns.running import Ending, Runner, at_clock
from calls.management.arguments import at_least_one, rate
from calls.management.audience import obeying_signals, shown
from calls.management.commands.place_call import INTERRUPTED, check_handler
from calls.models import Campaign, CampaignCall


RATE, AT_ONCE, QUIET = 1.0, 20, QuietHours(dt.time(21), dt.time(8))
# Lines that are named one by one.
MOST_TOLD = 50


class Command(BaseCommand):
    help = (
        "Calls the numbers of a CSV file, and connects whoever answers to a handler. It can be interrupted and started "
        "again at any time: no row is called twice."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file",
            type=Path,
            nargs="?",
            metavar="FILE.csv",
            help="with a column number (or to); the others are the handler's: stream.parameters[COLUMN]",
        )
        parser.add_argument("--handler", default="", help="default: DEFAULT_STREAM_HANDLER")
        parser.add_argument("--from", dest="from_", metavar="NUMBER", help="default: DEFAULT_FROM_NUMBER")
        parser.add_argument("--rate", type=rate, metavar="N/s", help="calls placed, such as 30/min; default: 1/s")
        parser.add_argument("--at-once", type=at_least_one, metavar="N", help=f"calls that run; default: {AT_ONCE}")
        parser.add_argument(
            "--quiet",
            type=_hours,
            metavar="HH:MM-HH:MM",
            help=f"by the clock of whoever is called; default: {QUIET}; or none",
        )
        parser.add_argument("--machine-detection", action="store_true", help="find out whether machines answer")
        parser.add_argument("--allow-duplicates", action="store_true", help="call a number once for each of its lines")
        parser.add_argument("--encoding", default="utf-8", help="of the file; default: utf-8")
        parser.add_argument("--new", action="store_true", help="call all of a file again that was called before")
        parser.add_argument("--dry-run", action="store_true", help="only say whom it would call, and when")
        parser.add_argument(
            "--no-wait", action="store_true", help="end when nobody is left who may be called now; calls that run go on"
        )
        parser.add_argument("--resume", type=int, metavar="ID", help="go on with this campaign; without a file")
        parser.add_argument(
            "--call-again", type=_lines, default=[], metavar="LINE,…", help="with --resume: unknown or refused ones"
        )
        parser.add_argument("--results", type=int, metavar="ID", help="write what came of this campaign, as CSV")
        parser.add_argument("--forget", type=int, metavar="ID", help="delete it with its numbers; its calls stay")

    def handle(self, *args: Any, **options: Any) -> None:
        self.options = options
        if sum(options[name] is not None for name in ("file", "resume", "results", "forget")) != 1:
            raise CommandError("Name a file of numbers, or a campaign with --resume, --results or --forget.")
        fixed = [name for name in ("handler", "machine_detection", "allow_duplicates", "new") if options[name]]
        if fixed and options["file"] is None:
            raise CommandError(
                f"--{fixed[0].replace('_', '-')} is said of a file: a campaign has it from the beginning."
            )
        if options["call_again"] and options["resume"] is None:
            raise CommandError("--call-again goes with --resume.")
        if options["results"] is not None:
            self.write_results(_campaign(options["results"]))
            return
        try:
            if options["forget"] is not None:
                rows = starting.forget(_campaign(options["forget"]))
                self.stdout.write(f"Forgotten, with {rows} rows. Calls that were placed stay.")
            else:
                self.call()
        except (numbers_file.WrongFile, starting.Refused, rest.RestError) as error:
            raise CommandError(str(error)) from error

    def write_results(self, campaign: Campaign) -> None:
        for lines in results.csv_lines(campaign):
            self.stdout.write(lines.decode(), ending="")

    def call(self) -> None:
        if self.options["resume"] is not None:
            campaign = _campaign(self.options["resume"])
            if self.options["dry_run"]:
                self.foretell(campaign)
                return
            check_handler(campaign.handler)
            campaign = starting.go_on(campaign, self.changes(), self.options["call_again"])
        else:
            file, plan = self.read()
            if self.options["dry_run"]:
                self.foretell_file(file, plan)
                return
            campaign = self.begin(file, plan)
        self.run(campaign)

    # --- Whom, and how

    def read(self) -> tuple[NumbersFile, starting.Plan]:
        check_handler(self.options["handler"])
        plan = starting.Plan(
            handler=self.options["handler"] or settings.DEFAULT_STREAM_HANDLER,
            from_number=self.options["from_"] or settings.DEFAULT_FROM_NUMBER or "",
            rate=self.options["rate"] or RATE,
            at_once=self.options["at_once"] or AT_ONCE,
            hours=self.options["quiet"].hours if self.options["quiet"] else QUIET,
            machine_detection=self.options["machine_detection"],
        )
        file = numbers_file.read(
            self.options["file"],
            encoding=self.options["encoding"],
            near=plan.from_number,
            hours=plan.hours,
            allow_duplicates=self.options["allow_duplicates"],
        )
        return file, plan

    def begin(self, file: NumbersFile, plan: starting.Plan) -> Campaign:
        campaign, is_new = starting.begin(file, plan, by=_user(), anew=self.options["new"])
        if not is_new:
            self.stdout.write(f"{file.name} was begun before: going on with campaign {campaign.pk}.")
            return starting.go_on(campaign, self.changes())
        quiet = f"quiet hours {plan.hours}" if plan.hours else "no quiet hours"
        how = f"{_rate(plan.rate)}, {plan.at_once} at once, {quiet}"
        self.stdout.write(f"Campaign {campaign.pk}: {len(file.lines)} numbers for {plan.handler}, {how}.")
        self.name_unknown_zones(file, plan)
        return campaign

    def name_unknown_zones(self, file: NumbersFile, plan: starting.Plan) -> None:
        lines = [line.line for line in file.lines if plan.hours and not Place.of(line.number).is_known]
        if lines:
            whose = f"{'line' if len(lines) == 1 else 'lines'} {_listed(lines)}"
            self.stdout.write(
                f"Where {whose} would ring is not known: TIME_ZONE ({settings.TIME_ZONE}) is taken for it."
            )

    def changes(self) -> dict[str, Any]:
        """What was said of how to call, as fields of a campaign that is gone on with."""
        names = {"rate": "rate", "at_once": "at_once", "from_": "from_number"}
        changes = {field: self.options[name] for name, field in names.items() if self.options[name] is not None}
        if self.options["quiet"] is not None:
            hours = self.options["quiet"].hours
            changes |= {"quiet_from": hours and hours.start, "quiet_to": hours and hours.end}
        return changes

    # --- Beforehand

    def foretell_file(self, file: NumbersFile, plan: starting.Plan) -> None:
        known = Campaign.objects.filter(digest=file.digest(plan.handler)).first()
        if known is not None and not self.options["new"]:
            self.foretell(known)
            return
        self.name_unknown_zones(file, plan)
        lines = [(line.line, line.number) for line in file.lines]
        self.stdout.write("\n".join(foretell(lines, plan.rate, plan.hours)))

    def foretell(self, campaign: Campaign) -> None:
        waiting = campaign.rows.filter(status=CampaignCall.Status.WAITING).order_by("line")
        rate = self.options["rate"] or campaign.rate
        hours = self.options["quiet"].hours if self.options["quiet"] else quiet_hours(campaign)
        self.stdout.write(f"Campaign {campaign.pk}: {results.in_words(results.tally(campaign))}.")
        lines = list(waiting.values_list("line", "number"))
        self.stdout.write("\n".join(foretell(lines, rate, hours)))

    # --- Calling

    def run(self, campaign: Campaign) -> None:
        with shown(campaign, self.stdout, bar=bool(self.options["verbosity"])) as show:
            runner = Runner(campaign, show, waits=not self.options["no_wait"])
            with obeying_signals(runner):
                ending = runner.run()
        campaign.refresh_from_db()
        self.conclude(campaign, ending)

    def conclude(self, campaign: Campaign, ending: Ending) -> None:
        counts = results.tally(campaign)
        summary = f"Campaign {campaign.pk}: {results.in_words(counts)}."
        waiting = dict(counts).get(results.WAITING, 0)
        goes_on = f"{waiting} not called yet. Go on with: {campaign.resume}"
        lines = [summary, *_unknown(campaign)]
        match ending:
            case Ending.FINISHED:
                results_of = f"What came of each row: manage.py place_calls --results {campaign.pk}"
                self.stdout.write(self.style.SUCCESS("\n".join([*lines, results_of])))
            case Ending.QUIET:
                first = campaign.rows.filter(status=CampaignCall.Status.WAITING).order_by("not_before").first()
                when = f"; the first one may be called {at_clock(first.not_before)}" if first else ""
                self.stdout.write("\n".join([*lines, f"It is quiet for them now{when}. {goes_on}"]))
            case Ending.INTERRUPTED:
                text = "\n".join([*lines, f"Interrupted; calls that run go on. {goes_on}"])
                raise CommandError(text, returncode=INTERRUPTED)
            case Ending.STOPPED:
                who = (
                    f"Stopped by {campaign.stopped_by}." if campaign.stopped_by else f"Stopped. {campaign.stop_reason}"
                )
                raise CommandError("\n".join([*lines, who.strip(), goes_on]))


def _unknown(campaign: Campaign) -> Iterator[str]:
    """What to do about rows of which nobody knows."""
    found = campaign.rows.filter(status=CampaignCall.Status.UNKNOWN).order_by("line")
    lines = list(found.values_list("line", flat=True))
    if not lines:
        return
    whose = f"{'line' if len(lines) == 1 else 'lines'} {_listed(lines)}"
    were, them = ("was", "it") if len(lines) == 1 else ("were", "them")
    yield f"Whether {whose} of the file {were} called is not known; nobody calls {them} again."
    yield (
        "A callback may still tell. If none does, look for the number in Twilio's Console (Monitor > Logs > Calls); "
        f"if nobody was called: {campaign.resume} --call-again {','.join(map(str, lines[:MOST_TOLD]))}"
    )


def _listed(lines: list[int]) -> str:
    more = f" and {len(lines) - MOST_TOLD} more" if len(lines) > MOST_TOLD else ""
    return ", ".join(map(str, lines[:MOST_TOLD])) + more


def _rate(per_second: float) -> str:
    return f"{per_second:g}/s" if per_second >= 1 else f"{per_second * 60:g}/min"


def _campaign(pk: int) -> Campaign:
    campaign = Campaign.objects.filter(pk=pk).first()
    if campaign is None:
        latest = [f"{known.pk} ({known.name})" for known in Campaign.objects.all()[:5]]
        raise CommandError(f"There is no campaign {pk}; the latest are {', '.join(latest) or 'none yet'}.")
    return campaign


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's, who has no name
        return ""


class _Quiet:
    """--quiet as it was given: `none` is something else than not to say anything."""

    def __init__(self, hours: QuietHours | None) -> None:
        self.hours = hours


def _hours(text: str) -> _Quiet:
    try:
        return _Quiet(QuietHours.parse(text))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _lines(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ArgumentTypeError(f"{text} are no lines such as 7,9")
    return [int(part) for part in parts]
