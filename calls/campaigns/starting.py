"""Making a campaign of a file, or going on with the one that there is: no file is called twice by mistake."""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from calls.campaigns.claiming import order_of, quiet_hours
from calls.campaigns.numbers_file import Line, NumbersFile
from calls.campaigns.quiet import Place, QuietHours
from calls.models import Campaign, CampaignCall


BATCH = 1000
# Rows whose number somebody has been called at, as far as is known.
_CALLED = [*{*CampaignCall.Status} - {CampaignCall.Status.WAITING, CampaignCall.Status.FAILED}]


class Refused(Exception):
    """Why a campaign is not begun, in a sentence that says what to do."""


@dataclass(frozen=True)
class Plan:
    """How a file is called."""

    handler: str
    from_number: str
    rate: float
    at_once: int
    hours: QuietHours | None
    machine_detection: bool = False

    def as_fields(self) -> dict[str, Any]:
        fields = {"handler": self.handler, "from_number": self.from_number, "rate": self.rate, "at_once": self.at_once}
        hours = {"quiet_from": self.hours and self.hours.start, "quiet_to": self.hours and self.hours.end}
        return {**fields, **hours, "machine_detection": self.machine_detection}


def begin(file: NumbersFile, plan: Plan, *, by: str = "", anew: bool = False) -> tuple[Campaign, bool]:
    """The campaign of this file, and whether it is a new one; with `anew` it is, whatever was called before.

    Refused says which one there was. RestError: no row of it could be called, for what is wrong with our settings.
    """
    digest = file.digest(plan.handler)
    known = Campaign.objects.filter(digest=digest)
    unfinished = known.filter(finished_at=None).first()
    if anew:
        _give_up(unfinished)
    elif unfinished is not None:
        _refuse_stopped(unfinished)
        return unfinished, False
    else:
        _refuse_again(file, plan, known.first())
    campaign = Campaign(name=file.name[:200], digest=digest, columns=file.columns, created_by=by[:150])
    campaign.size = len(file.lines)
    for name, value in plan.as_fields().items():
        setattr(campaign, name, value)
    order_of(campaign, file.lines[0].number, file.lines[0].columns)
    try:
        return _made(campaign, file.lines), True
    except IntegrityError:  # another process has begun the same file just now
        return Campaign.objects.get(digest=digest, finished_at=None), False


def go_on(campaign: Campaign, changes: Mapping[str, Any], again: Collection[int] = ()) -> Campaign:
    """Undoes a stop, and takes over what is to be different from now on (fields of a campaign, by name).

    `again` are lines that are called once more, though nobody knows whether they were, or though they were refused.
    """
    if strange := sorted({*again} - {*_repeatable(campaign, again)}):
        raise Refused(f"Line {strange[0]} is neither unknown nor refused: only such lines are called again.")
    if campaign.finished_at is not None and not again:
        raise Refused(f"Nothing is left of {campaign}: it was finished {at(campaign.finished_at)}.")
    before = quiet_hours(campaign)
    for name, value in changes.items():
        setattr(campaign, name, value)
    with transaction.atomic():
        campaign.save(update_fields=list(changes))
        if quiet_hours(campaign) != before:
            campaign.rows.filter(status=CampaignCall.Status.WAITING).update(not_before=timezone.now())
        waiting = {"status": CampaignCall.Status.WAITING, "claimed_at": None, "call": None, "error": ""}
        campaign.rows.filter(line__in=_repeatable(campaign, again)).update(**waiting, not_before=timezone.now())
        if again:
            Campaign.objects.filter(pk=campaign.pk).update(finished_at=None)
        campaign.go_on()
    campaign.refresh_from_db()
    return campaign


def forget(campaign: Campaign) -> int:
    """Deletes it with its numbers, and returns how many rows that were; nothing then knows that they were called."""
    if campaign.is_seen:
        raise Refused(f"{campaign} is running, or was until just now: stop it first, and wait some seconds.")
    with transaction.atomic():
        rows, _ = campaign.rows.all().delete()
        campaign.delete()
    return rows


def at(moment: dt.datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d at %H:%M}"


def _repeatable(campaign: Campaign, lines: Collection[int]) -> list[int]:
    status = CampaignCall.Status
    rows = campaign.rows.filter(line__in=lines, status__in=[status.UNKNOWN, status.FAILED])
    return list(rows.values_list("line", flat=True))


def _give_up(campaign: Campaign | None) -> None:
    if campaign is None:
        return
    if campaign.is_seen and campaign.stopped_at is None:
        raise Refused(f"{campaign} is of this very file, and running: stop it first.")
    reason = "Given up: a new campaign was made of the same file."
    Campaign.objects.filter(pk=campaign.pk).update(finished_at=timezone.now(), stop_reason=reason)


def _refuse_stopped(campaign: Campaign) -> None:
    """Whatever starts a failed command again does not undo what somebody has decided."""
    if campaign.stopped_at is not None and not campaign.stop_reason:
        who = f"by {campaign.stopped_by} " if campaign.stopped_by else ""
        raise Refused(f"{campaign} was stopped {who}{at(campaign.stopped_at)}. It goes on with: {campaign.resume}")


def _refuse_again(file: NumbersFile, plan: Plan, before: Campaign | None) -> None:
    if before is not None and before.finished_at is not None:
        raise Refused(
            f"{before} was made of this very file, and finished {at(before.finished_at)}: nobody is called twice. "
            f"--results {before.pk} says what came of it; whoever means to call all of them again says --new."
        )
    changed = Campaign.objects.filter(name=file.name[:200], handler=plan.handler).first()
    if changed is None:
        return
    called = set(changed.rows.filter(status__in=_CALLED).values_list("number", flat=True))
    if twice := sum(line.number in called for line in file.lines):
        goes_on = f"--resume {changed.pk} goes on with it as it was; " if changed.finished_at is None else ""
        raise Refused(
            f"{file.name} has changed since {changed} was made of it, which has called {twice} of its "
            f"{len(file.lines)} numbers. {goes_on}--new makes a campaign of the file as it is, and calls them again."
        )


@transaction.atomic
def _made(campaign: Campaign, lines: list[Line]) -> Campaign:
    campaign.save(force_insert=True)
    now, hours = timezone.now(), quiet_hours(campaign)
    rows = (
        CampaignCall(
            campaign=campaign,
            line=line.line,
            number=line.number,
            columns=line.columns,
            not_before=Place.of(line.number).free_from(now, hours) or now,
        )
        for line in lines
    )
    CampaignCall.objects.bulk_create(rows, BATCH)
    return campaign
