"""All that is on record of staff and programs, out of every table that has some of it, in one order.

Nothing of a call's content is in it, no number and no secret: what is exported outlives what is erased.
"""

import datetime as dt
import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db.models import Min, QuerySet
from django.utils import timezone

from calls.models import AuditEntry, CallEvent, Erasure, RecordingAccess


# A row is told once it is this old: one that began before it and is not committed yet would be passed over. Longer than
# any transaction of ours may take (config/settings.py).
SETTLED = dt.timedelta(seconds=20)
# Rows that are fetched at a time.
FETCHED = 1000

Row = dict[str, Any]
#: Of each source, the key of the last row that was told.
Position = dict[str, int]

_FLAGS = {ADDITION: "added", CHANGE: "changed", DELETION: "deleted"}


@dataclass(frozen=True)
class Source:
    """A table: its rows, the field with their time, and what is told of one."""

    name: str
    rows: Callable[[], QuerySet[Any]]
    at: str
    tell: Callable[[Row], Row]


def _audit(row: Row) -> Row:
    facts: Row = row["detail"]
    own = {"event": row["event"], "user": row["who"], "about": row["about"], "address": row["address"]}
    # A detail of the same name would not replace it.
    return own | facts | own


def _access(row: Row) -> Row:
    told = {"event": row["kind"], "user": row["user__username"], "client": row["client_name"]}
    return told | {"call": row["call_sid"], "address": row["address"], "what": row["detail"]}


def _admin(row: Row) -> Row:
    """What Django's admin has on record. Of a call, which one; its name there has a number in it."""
    model = f"{row['content_type__app_label']}.{row['content_type__model']}"
    is_call = model == "calls.call" and row["object_id"]
    told = {"event": _FLAGS[row["action_flag"]], "user": row["user__username"], "model": model, "key": row["object_id"]}
    return told | {
        "about": "" if is_call else row["object_repr"],
        "what": LogEntry(change_message=row["change_message"]).get_change_message(),
    }


def _erasure(row: Row) -> Row:
    return {
        "event": "erase_audio" if row["audio_only"] else "erase",
        "user": row["user__username"],
        "call": row["call_sid"],
        "reason": row["reason"],
    }


def _act(row: Row) -> Row:
    return {"event": row["kind"], "user": row["user__username"], "call": row["call__sid"]}


SOURCES = (
    Source("audit", lambda: AuditEntry.objects.values("event", "who", "about", "address", "detail"), "at", _audit),
    Source(
        "access",
        lambda: RecordingAccess.objects.values(
            "kind", "user__username", "client_name", "call_sid", "address", "detail"
        ),
        "at",
        _access,
    ),
    Source(
        "admin",
        lambda: LogEntry.objects.values(
            *("action_flag", "user__username", "object_id", "object_repr", "change_message"),
            *("content_type__app_label", "content_type__model"),
        ),
        "action_time",
        _admin,
    ),
    Source(
        "erasure",
        lambda: Erasure.objects.values("audio_only", "user__username", "call_sid", "reason"),
        "at",
        _erasure,
    ),
    # Who placed, ended, moved or took over which call.
    Source(
        "act",
        lambda: CallEvent.objects.filter(source=CallEvent.Source.CONTROL).values("kind", "user__username", "call__sid"),
        "occurred_at",
        _act,
    ),
)


def told(position: Position, since: dt.datetime | None = None, until: dt.datetime | None = None) -> Iterator[Row]:
    """All rows behind `position`, which goes on with them, oldest first; two queries a table."""
    settled = timezone.now() - SETTLED
    found = [_rows(source, position.get(source.name, 0), settled, since, until) for source in SOURCES]
    for _, name, key, row in heapq.merge(*found, key=lambda one: one[:3]):
        yield row
        position[name] = max(position.get(name, 0), key)


def _rows(
    source: Source, last: int, settled: dt.datetime, since: dt.datetime | None, until: dt.datetime | None
) -> Iterator[tuple[dt.datetime, str, int, Row]]:
    rows = source.rows().filter(pk__gt=last)
    # Keys are given in the order of writing: behind the first row that is too new there is nothing to be told yet.
    first_new = rows.filter(**{f"{source.at}__gt": settled}).aggregate(first=Min("pk"))["first"]
    if first_new is not None:
        rows = rows.filter(pk__lt=first_new)
    if since:
        rows = rows.filter(**{f"{source.at}__gte": since})
    if until:
        rows = rows.filter(**{f"{source.at}__lt": until})
    for row in rows.values("pk", source.at, *rows.query.values_select).order_by(source.at, "pk").iterator(FETCHED):
        at = row[source.at]
        facts = {name: value for name, value in source.tell(row).items() if value not in ("", None)}
        yield at, source.name, row["pk"], {"id": f"{source.name}-{row['pk']}", "at": at.isoformat()} | facts
