"""The next row of a campaign: claimed and committed, together with its call's row, before anybody asks Twilio for it.

All of it happens under the campaign's lock, so that several processes keep to one rate, to one number of calls at once,
and to one stop; and so that none of them takes a row that another one has.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from django.db import transaction

from calls import rest
from calls.campaigns.numbers_file import given
from calls.campaigns.quiet import Place, QuietHours
from calls.models import Call, Campaign, CampaignCall


# Rows that are looked at in one go for one that may be called now.
LOOKED_AT = 200


class Why(Enum):
    """Why there is nothing to be claimed now."""

    STOPPED = "stopped"
    FINISHED = "finished"
    #: As many calls run as may.
    FULL = "full"
    RATE = "rate"
    QUIET = "quiet"
    #: Twilio is being asked for the last ones, by whichever process.
    ASKING = "asking"


@dataclass(frozen=True)
class Pause:
    why: Why
    #: When to look again, where that is known.
    until: dt.datetime | None = None


@dataclass(frozen=True)
class Claim:
    """A row that is ours, the call's row, and what Twilio is to be asked for: once."""

    row: CampaignCall
    call: Call
    order: rest.Order


def claim(campaign_id: int, now: dt.datetime) -> Claim | Pause:
    """The next row, or why there is none. Once this has returned, the row is never anybody else's."""
    with transaction.atomic(durable=True):
        campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
        if campaign.finished_at is not None:
            return Pause(Why.FINISHED)
        if campaign.stopped_at is not None:
            return Pause(Why.STOPPED)
        if campaign.next_at > now:
            return Pause(Why.RATE, campaign.next_at)
        if campaign.rows.alive(now).count() >= campaign.at_once:
            return Pause(Why.FULL)
        row = _next(campaign, now)
        return _without(campaign, now) if row is None else _claim(campaign, row, now)


def quiet_hours(campaign: Campaign) -> QuietHours | None:
    if campaign.quiet_from is None or campaign.quiet_to is None:
        return None
    return QuietHours(campaign.quiet_from, campaign.quiet_to)


def order_of(campaign: Campaign, number: str, columns: Mapping[str, str]) -> rest.Order:
    """RestError says what is wrong with it, or with the settings."""
    parameters = given(columns)
    return rest.Order.checked(number, campaign.from_number, campaign.handler, parameters, campaign.machine_detection)


def _next(campaign: Campaign, now: dt.datetime) -> CampaignCall | None:
    """The first that may be called; those before it that became quiet since are put off."""
    hours = quiet_hours(campaign)
    while rows := list(campaign.rows.due(now)[:LOOKED_AT]):
        put_off = []
        for row in rows:
            free = Place.of(row.number).free_from(now, hours)
            if free == now:
                break
            # Somebody who can never be called was named before; a day has changed its hours since.
            row.not_before = free or now + dt.timedelta(days=1)
            put_off.append(row)
        CampaignCall.objects.bulk_update(put_off, ["not_before"])
        if len(put_off) < len(rows):
            return rows[len(put_off)]
    return None


def _without(campaign: Campaign, now: dt.datetime) -> Pause:
    """Nobody can be called now. If nobody is left, that is put on record."""
    waiting = campaign.rows.filter(status=CampaignCall.Status.WAITING).order_by("not_before")
    if first := waiting.values_list("not_before", flat=True).first():
        return Pause(Why.QUIET, first)
    if campaign.rows.filter(status=CampaignCall.Status.CALLING).exists():
        return Pause(Why.ASKING)
    campaign.finished_at = now
    campaign.save(update_fields=["finished_at"])
    return Pause(Why.FINISHED)


def _claim(campaign: Campaign, row: CampaignCall, now: dt.datetime) -> Claim:
    order = order_of(campaign, row.number, row.columns)
    call = rest.announce(order)
    row.claim(call.pk, now)
    campaign.next_at = now + dt.timedelta(seconds=1 / campaign.rate)
    campaign.save(update_fields=["next_at"])
    return Claim(row, call, order)
