"""The order of a list of calls. Whatever it is sorted by, calls that lack it come last, the newest of them first.

They are read by a query of their own: so the others are read in order from an index that holds no call without a
figure, forwards and backwards, and nothing is written into it before a call is measured.
"""

from django.db import connection
from django.db.models import F, Q, QuerySet

from calls.models import Call


# So many calls or fewer are sorted sooner than they are found among all others in the order of an index. PostgreSQL
# would not know: that none of the busy ones was measured is in no statistics, and it would walk the whole index. SQLite
# has none, and looks up what a filter names wherever it can.
FEW = 10_000


def may_lack(ordering: str) -> bool:
    """Whether there may be calls without what they are sorted by ("response_ms", "-response_ms")."""
    name = ordering.removeprefix("-")
    return name != "pk" and bool(Call._meta.get_field(name).null)


def halves(calls: QuerySet[Call], ordering: str) -> tuple[QuerySet[Call], QuerySet[Call]]:
    """The sorted list's two parts: those that have it, and those that lack it."""
    name = ordering.removeprefix("-")
    having, lacking = (calls.filter(**{f"{name}__isnull": lacks}) for lacks in (False, True))
    is_few = connection.vendor != "sqlite" and having.order_by()[: FEW + 1].count() <= FEW
    by = F(name) + 0 if is_few else F(name)  # a sum is in no index
    in_order = (by.desc(), "-pk") if ordering.startswith("-") else (by.asc(), "pk")
    return having.order_by(*in_order), lacking.order_by("-pk")


def window(calls: QuerySet[Call], ordering: str, start: int, stop: int) -> list[Call]:
    """Lines of the whole list from `start` until before `stop`."""
    having, lacking = halves(calls, ordering)
    found = list(having[start:stop])
    if len(found) < stop - start:
        before = 0 if found else start - having.order_by()[:start].count()
        found += lacking[before : before + stop - start - len(found)]
    return found


def beside(calls: QuerySet[Call], ordering: str, call: Call, *, after: bool) -> Call | None:
    """The call before or after that one in the sorted list, in which it need not be itself any more."""
    calls = calls.only("pk")
    if not may_lack(ordering):
        return _along(calls.order_by(ordering, "-pk" if ordering.startswith("-") else "pk"), ordering, call, after)
    having, lacking = halves(calls, ordering)
    if getattr(call, ordering.removeprefix("-")) is None:
        return _along(lacking, "-pk", call, after) or (None if after else having.last())
    return _along(having, ordering, call, after) or (lacking.first() if after else None)


def _along(calls: QuerySet[Call], ordering: str, call: Call, after: bool) -> Call | None:
    """By its place in the order and not by counting, so that it costs one look into an index wherever it lies."""
    name = ordering.removeprefix("-")
    way = "lt" if ordering.startswith("-") == after else "gt"
    value = getattr(call, name)
    # The first condition says nothing new but to the database, which begins there instead of at the end of the index.
    there = Q(**{f"{name}__{way}e": value})
    there &= Q(**{f"{name}__{way}": value}) | Q(**{name: value, f"pk__{way}": call.pk})
    beyond = calls.filter(there)
    return beyond.first() if after else beyond.last()
