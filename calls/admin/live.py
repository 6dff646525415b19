"""The list of running calls: which there are, wherever they are held, and where each of them is at the moment.

Who speaks and who waits comes over a socket (calls.supervision.list_page); rows come from here, with the page and
whenever it asks for them again.
"""

import datetime as dt
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import (
    BooleanField,
    ExpressionWrapper,
    OuterRef,
    Prefetch,
    Q,
    QuerySet,
    Subquery,
    Value,
    prefetch_related_objects,
)
from django.db.models.functions import Concat
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from calls.access.numbers import may_see, shown
from calls.addresses import LIVE_CALLS
from calls.admin import cells, wording
from calls.admin.base import CallMixin, own_page, private_json
from calls.admin.filters import Handler, Tagged, Way
from calls.admin.neighbours import Filtered
from calls.models import Call, CallEvent, Stream
from calls.recorder.housekeeping import LEASE


PERMISSIONS = ("calls.view_call", "calls.supervise_call")
# More are no list that anybody reads: filters make it shorter.
MOST = 300
#: What its address may say beside filters: to have those first that wait longest.
BY_WAIT = "wait"


def may_supervise(request: HttpRequest) -> bool:
    return request.user.has_perms(PERMISSIONS)


def running() -> list[int]:
    """The keys of the calls that run, by the leases of their streams: a process that died has none soon."""
    return Call.objects.running(timezone.now(), dt.timedelta(seconds=LEASE))


class OfHandler(Handler):
    """Few calls run, and all calls of a handler are many: an expression, for which there is no index."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        named = queryset.alias(named=Concat("handler", Value("")))
        return named.filter(named=self.value()) if self.value() else queryset


class OfWay(Way):
    """By an expression, for the same reason."""

    conditions = {
        "inbound": ("Inbound", Q(is_out=False)),
        "outbound": ("Outbound", Q(is_out=True)),
    }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        is_out = ExpressionWrapper(Q(direction__startswith="outbound"), BooleanField())
        return super().queryset(request, queryset.alias(is_out=is_out))


class Running(Filtered):
    """They are the list's calls, filtered and searched as in the history."""

    search_placeholder = "Number, name, SID, tags, data…"

    def get_results(self, request: HttpRequest) -> None:
        if not may_see(request):
            self.search_placeholder = "Whole number, SID, tags, data…"
        # Sorted here, lest a database walks an index of all calls that has them in this order.
        self.result_list = sorted(self.rows().order_by(), key=lambda call: (call.created_at, call.pk))[: -MOST - 1 : -1]
        self.result_count = self.full_result_count = len(self.result_list)
        newest = CallEvent.objects.filter(call=OuterRef("pk")).order_by("-occurred_at", "-pk")
        # In a query of its own: the first one is that of the list.
        latest = Call.objects.order_by().filter(pk__in=[call.pk for call in self.result_list])
        keys = latest.values_list(Subquery(newest.values("pk")[:1]), flat=True)
        events = CallEvent.objects.filter(pk__in=[key for key in keys if key])
        events = events.only("call", "kind", "occurred_at", "data")
        self.events = {event.call_id: event for event in events}
        held = Stream.objects.held(dt.timedelta(seconds=LEASE)).only("pk", "call")
        streams = Stream.objects.only("call", "started_at", "ended_at", "end_reason")
        prefetch_related_objects(
            self.result_list, "tags", Prefetch("streams", streams), Prefetch("streams", held, to_attr="held")
        )


@dataclass(frozen=True)
class Row:
    """A running call, as the list shows it."""

    call: Call
    #: Numbers as its reader may see them.
    caller: str
    called: str
    name: str
    way: SafeString
    tags: list[str]
    running: SafeString
    state: SafeString
    #: Where its caller is, if no stream of theirs runs; "" if one does.
    away: str
    event: str
    event_at: int
    url: str


def row_of(request: HttpRequest, pages: Running, call: Call) -> Row:
    whole, event = may_see(request), pages.events.get(call.pk)
    return Row(
        call=call,
        caller=shown(call.from_number, whole) or "unknown",
        called=shown(call.to_number, whole) or "unknown",
        name=call.caller_name if whole else "",
        way=cells.direction_tag(call),
        tags=[tag.name for tag in call.tags.all()],
        running=cells.running_tag(call),
        state=cells.status_tag(call),
        away=_away(call),
        event=wording.of_event(event, call) if event else "",
        event_at=round(event.occurred_at.timestamp() * 1000) if event else 0,
        url=reverse("admin:calls_call_change", args=[call.pk]),
    )


def _away(call: Call) -> str:
    """Without a stream nobody of ours hears the caller: who or what does?"""
    if call.held:  # type: ignore[attr-defined]  # prefetched
        return ""
    ended = [stream for stream in call.streams.all() if stream.ended_at]
    last = max(ended, key=lambda stream: stream.ended_at or timezone.now(), default=None)
    if last and last.end_reason == Stream.EndReason.DIAL:
        return "with somebody else"
    if call.dialing:
        return "on hold, or with somebody else"
    return "connecting again" if last else "not connected yet"


class Live(CallMixin):
    """Adds this to the admin of calls."""

    def get_urls(self) -> list[URLPattern]:
        wrap = partial(self.admin_site.admin_view, cacheable=True)
        own = [
            path("live/", self.admin_site.admin_view(self.live), name="calls_call_live"),
            path("live/rows.json", wrap(self.live_rows), name="calls_call_live_rows"),
        ]
        return [*own, *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Call]:
        calls = super().get_queryset(request)
        keys = getattr(request, "running", None)
        return calls if keys is None else calls.filter(pk__in=keys).defer("parameters", "data", "data_at", "notes")

    def get_list_filter(self, request: HttpRequest) -> Any:
        return (OfHandler, OfWay, Tagged) if hasattr(request, "running") else super().get_list_filter(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        facts = {"live_calls": len(running())} if may_supervise(request) else {}
        return super().changelist_view(request, {**facts, **(extra_context or {})})

    @method_decorator(require_safe)
    def live(self, request: HttpRequest) -> HttpResponseBase:
        try:
            pages, keys = self._running(request)
        except IncorrectLookupParameters:  # as the list itself does
            return HttpResponseRedirect(f"{reverse('admin:calls_call_live')}?e=1")
        count, total = len(pages.result_list), len(keys)
        context = {
            "title": heading(count, total),
            "cl": pages,
            "filters": [(spec.title, _choices(spec.choices(pages))) for spec in pages.filter_specs],
            "rows": [row_of(request, pages, call) for call in pages.result_list],
            "count": count,
            "total": total,
            "most": MOST,
            "by_wait": pages.params.get("o") == BY_WAIT,
            "newest_query": pages.get_query_string(remove=["o"]),
            "wait_query": pages.get_query_string({"o": BY_WAIT}),
            "words": {way: wording.of_kinds(Call(direction=way)) for way in ("inbound", "outbound")},
            "socket": f"/{LIVE_CALLS}",
        }
        return own_page(self, request, "live", context)

    @method_decorator(require_safe)
    def live_rows(self, request: HttpRequest) -> HttpResponseBase:
        """The rows of the same list as it is now: by the call's key, newest first."""
        try:
            pages, keys = self._running(request)
        except IncorrectLookupParameters as error:
            return JsonResponse({"error": str(error)}, status=400)
        rows = [
            [call.pk, render_to_string("admin/calls/call/live_row.html", {"row": row_of(request, pages, call)})]
            for call in pages.result_list
        ]
        return private_json({"title": heading(len(rows), len(keys)), "rows": rows})

    def _running(self, request: HttpRequest) -> tuple[Running, list[int]]:
        """The calls that run as they are filtered, and the keys of all of them. IncorrectLookupParameters."""
        if not may_supervise(request):
            raise PermissionDenied
        asked = copy(request)
        # First those that run, by their own index; filters look at these only.
        asked.running = running()  # type: ignore[attr-defined]
        pages: Any = self.get_changelist_instance(asked)
        return pages, asked.running  # type: ignore[attr-defined]


def heading(count: int, total: int) -> str:
    of_all = f"{count} of {total}" if count < total else f"{total or 'No'}"
    return f"{of_all} live call{'' if total == 1 else 's'}"


def _choices(choices: Any) -> dict[str, Any]:
    every = list(choices)
    return {"every": every, "chosen": next((one["display"] for one in every if one["selected"]), "")}
