"""What has become of a campaign's rows: counted, row by row, and as CSV."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from django.db.models import Case, Count, Q, Value, When
from django.utils import timezone

from calls.access.numbers import mask_all, shown
from calls.models import Call, Campaign, CampaignCall
from calls.models.campaigns import ANSWER_BY
from calls.tables import harmless, table, utc


BATCH = 1000
Status = CampaignCall.Status


class Outcome(NamedTuple):
    """What has become of a row, in a word."""

    word: str
    #: Whether that is good: one of good, warn, bad, live, quiet.
    tone: str


WAITING = Outcome("waiting", "quiet")
ASKED = Outcome("being called", "live")
LIVE = Outcome("on the line", "live")
REFUSED = Outcome("refused", "bad")
UNKNOWN = Outcome("unknown", "warn")
#: In the order in which they are told: those that are over, then those that are not.
ORDER = [
    *(Outcome("completed", "good"), Outcome("ended", "good"), Outcome("busy", "warn"), Outcome("no-answer", "warn")),
    *(Outcome("failed", "bad"), Outcome("canceled", "quiet"), REFUSED, UNKNOWN, Outcome("erased", "quiet")),
    *(LIVE, ASKED, WAITING),
]
_OF_CALLS = {outcome.word: outcome for outcome in ORDER}


def outcome(status: str, call_status: str | None, *, is_over: bool, is_lost: bool) -> Outcome:
    """`is_over` and `call_status` are its call's, if there is one; `is_lost`: whoever asked Twilio is gone."""
    match status:
        case Status.WAITING:
            return WAITING
        case Status.FAILED:
            return REFUSED
        case Status.UNKNOWN:
            return UNKNOWN
        case Status.CALLING:
            return UNKNOWN if is_lost else ASKED
    if call_status is None:
        return _OF_CALLS["erased"]
    if not is_over:
        return LIVE
    return _OF_CALLS[call_status if Call.Status.is_terminal(call_status) else "ended"]


def outcome_of(row: CampaignCall, now: dt.datetime) -> Outcome:
    call = row.call
    is_lost = row.claimed_at is not None and row.claimed_at < now - ANSWER_BY
    status, is_over = (call.status, call.ended_at is not None) if call else (None, True)
    return outcome(row.status, status, is_over=is_over, is_lost=is_lost)


def having(word: str, now: dt.datetime) -> Q:
    """Rows with that outcome, as `outcome` has it; all of them for a word that is none."""
    lost, called = Q(status=Status.CALLING, claimed_at__lt=now - ANSWER_BY), Q(status__in=[Status.PLACED, Status.OVER])
    over = called & Q(call__ended_at__isnull=False)
    found = {
        WAITING.word: Q(status=Status.WAITING),
        REFUSED.word: Q(status=Status.FAILED),
        UNKNOWN.word: Q(status=Status.UNKNOWN) | lost,
        ASKED.word: Q(status=Status.CALLING, claimed_at__gte=now - ANSWER_BY),
        LIVE.word: called & Q(call__isnull=False, call__ended_at=None),
        "erased": called & Q(call=None),
        "ended": over & ~Q(call__status__in=[status for status in Call.Status if status.terminal]),
    }
    return found.get(word) or (over & Q(call__status=word) if word in _OF_CALLS else Q())


def tally(campaign: Campaign) -> list[tuple[Outcome, int]]:
    """How many rows have each outcome that any has. One query."""
    rows = campaign.rows.order_by().annotate(
        is_over=_flag(call__ended_at__isnull=False), is_lost=_flag(claimed_at__lt=timezone.now() - ANSWER_BY)
    )
    found = rows.values_list("status", "call__status", "is_over", "is_lost").annotate(many=Count("pk"))
    counts: Counter[Outcome] = Counter()
    for status, call_status, is_over, is_lost, many in found:
        counts[outcome(status, call_status, is_over=is_over, is_lost=is_lost)] += many
    return [(one, counts[one]) for one in ORDER if counts[one]]


def _flag(**fact: Any) -> Case:
    return Case(When(Q(**fact), then=Value(True)), default=Value(False))


def done(counts: Sequence[tuple[Outcome, int]]) -> int:
    """How many rows of a tally were called, or will not be."""
    return sum(many for one, many in counts if one not in (WAITING, ASKED))


def in_words(counts: Sequence[tuple[Outcome, int]]) -> str:
    return ", ".join(f"{many} {one.word}" for one, many in counts) or "no rows"


def csv_lines(campaign: Campaign, *, whole: bool = True) -> Iterator[bytes]:
    """All rows in the file's order; without `whole`, as those see them who may not see numbers."""
    heads = ["line", "number", *campaign.columns, *_HEADS]
    # The mark at the beginning tells Excel that this is UTF-8.
    yield ("\ufeff" + table([[harmless(head) for head in heads]])).encode()
    now = timezone.now()
    for rows in batches(campaign):
        yield table([[_cell(value) for value in _row(campaign, row, now, whole)] for row in rows]).encode()


def batches(campaign: Campaign) -> Iterator[list[CampaignCall]]:
    """Each a query of its own: none stays open for as long as a download takes."""
    rows = campaign.rows.select_related("call").defer("call__parameters", "call__notes").order_by("line")
    found = list(rows[:BATCH])
    while found:
        yield found
        found = list(rows.filter(line__gt=found[-1].line)[:BATCH])


_HEADS = ["status", "outcome", "CallSid", "called (UTC)", "answered by", "duration (s)", "data", "error"]


def _row(campaign: Campaign, row: CampaignCall, now: dt.datetime, whole: bool) -> list[Any]:
    call, word = row.call, outcome_of(row, now).word
    unmasked = call or Call(to_number=row.number)
    columns = row.columns if whole else mask_all(row.columns, unmasked)
    known = call.data_in_order if call else {}
    data = json.dumps(known if whole else mask_all(known, unmasked), ensure_ascii=False) if known else ""
    facts: list[Any] = ["", "", "", ""]
    if call is not None:
        facts = [call.sid or "", utc(call.created_at), call.answered_by, "" if call.duration is None else call.duration]
    error = row.error if whole else mask_all(row.error, unmasked)
    cells = [str(columns.get(name, "")) for name in campaign.columns]
    outcomes = ["called" if row.status in (Status.PLACED, Status.OVER) else word, word]
    return [row.line, shown(row.number, whole), *cells, *outcomes, *facts, data, error]


def _cell(value: Any) -> str:
    return str(value) if isinstance(value, int) else harmless(value)
