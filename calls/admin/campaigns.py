"""Bulk calling: how campaigns are going, and what came of each row. Commands run them; here they are stopped."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST, require_safe

from calls.access.numbers import mask_all, may_see, shown
from calls.admin.base import FactsAdmin, private_json, staff
from calls.admin.cells import moment, state_cell, time_tag
from calls.admin.exports import attachment
from calls.admin.outbound import may_place
from calls.campaigns import results
from calls.campaigns.claiming import quiet_hours
from calls.campaigns.results import Outcome
from calls.files.accesses import record_access
from calls.models import Call, Campaign, CampaignCall, RecordingAccess


if TYPE_CHECKING:
    RowPaginator = Paginator[CampaignCall]
else:
    RowPaginator = Paginator

ROWS = 100
_WORDS = {one.word for one in results.ORDER}


@dataclass(frozen=True)
class Row:
    """A row as the page shows it."""

    line: int
    number: str
    said: str
    outcome: Outcome
    call: Call | None
    called: Any
    note: str


@admin.register(Campaign)
class CampaignAdmin(FactsAdmin[Campaign]):
    list_display = ("named", "state", "progress", "handler", "made")
    list_display_links = ("named",)
    list_select_related = ("stopped_by",)
    list_per_page = 50
    sortable_by = ()
    ordering = ("-pk",)
    change_list_template = "admin/calls/campaign/change_list.html"

    def has_view_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        """Who may place calls sees what was placed."""
        return super().has_view_permission(request, obj) or may_place(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) or may_place(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Campaign]:
        waiting = Count("rows", filter=Q(rows__status=CampaignCall.Status.WAITING))
        return super().get_queryset(request).annotate(waiting=waiting)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        now = partial(wrap, cacheable=True)(self.now)
        own = [
            path("<int:pk>/now.json", now, name="calls_campaign_now"),
            path("<int:pk>/stop/", wrap(self.stop), name="calls_campaign_stop"),
            path("<int:pk>/results.csv", wrap(self.results), name="calls_campaign_results"),
        ]
        return [*own, *super().get_urls()]

    # --- The page of one

    @method_decorator(require_safe)
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        pk = int(object_id) if object_id.isascii() and object_id.isdecimal() and len(object_id) < 19 else 0
        campaign = self._campaign(request, pk)
        query = {name: request.GET[name] for name in ("show", "p") if name in request.GET}
        now_url = reverse("admin:calls_campaign_now", args=[campaign.pk])
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": str(campaign),
            "subtitle": None,
            "html": self._html(request, campaign),
            "now_url": f"{now_url}?{urlencode(query)}",
        }
        return TemplateResponse(request, "admin/calls/campaign/page.html", {**context, **(extra_context or {})})

    @method_decorator(require_safe)
    def now(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """What the page asks for every few seconds."""
        return private_json({"html": self._html(request, self._campaign(request, pk))})

    @method_decorator(require_POST)
    def stop(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        campaign = self._campaign(request, pk)
        if not may_place(request):
            raise PermissionDenied
        user = staff(request)
        if campaign.stop(by=user):
            LogEntry.objects.log_actions(user.pk, [campaign], CHANGE, "Stopped", single_object=True)
            self.message_user(request, "Stopped: nobody else is called. Calls that run go on.", messages.SUCCESS)
        else:
            self.message_user(request, "It was not running any more.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:calls_campaign_change", args=[pk]))

    @method_decorator(require_safe)
    def results(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """All rows as CSV; who took it is on record."""
        campaign = self._campaign(request, pk)
        if not request.user.has_perm("calls.export_call"):
            raise PermissionDenied
        record_access(request, RecordingAccess.Kind.EXPORT, f"CSV of the results of campaign {pk}")
        lines = results.csv_lines(campaign, whole=may_see(request))
        return attachment(request, lines, f"campaign-{pk}.csv", "text/csv; charset=utf-8")

    def _campaign(self, request: HttpRequest, pk: int) -> Campaign:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(Campaign.objects.select_related("stopped_by"), pk=pk)

    def _html(self, request: HttpRequest, campaign: Campaign) -> str:
        """In a fixed number of queries, however many rows there are."""
        now, whole, counts = timezone.now(), may_see(request), results.tally(campaign)
        show = request.GET.get("show", "") if request.GET.get("show") in _WORDS else ""
        found = campaign.rows.filter(results.having(show, now)).select_related("call").order_by("line")
        pages = _Pages(found.defer("call__parameters", "call__notes"), ROWS)
        pages.total = {one.word: many for one, many in counts}.get(show, 0) if show else campaign.size
        page = pages.get_page(request.GET.get("p"))
        context = {
            "campaign": campaign,
            "state": _state(campaign, whole),
            "facts": list(_facts(campaign, whole)),
            "counts": [(one, many, f"?{urlencode({'show': one.word})}", one.word == show) for one, many in counts],
            "parts": list(_parts(campaign, counts)),
            "done": results.done(counts),
            "show": show,
            "rows": [_row(row, now, whole) for row in page],
            "page": page,
            "query": f"{urlencode({'show': show})}&" if show else "",
            "may_stop": may_place(request) and _is_going(campaign),
            "may_export": request.user.has_perm("calls.export_call"),
        }
        return render_to_string("admin/calls/campaign/now.html", context, request)

    # --- The list

    @admin.display(description="Campaign", ordering="pk")
    def named(self, campaign: Campaign) -> SafeString:
        return format_html('{} <span class="call-none">{}</span>', campaign.name, campaign.pk)

    @admin.display(description="State")
    def state(self, campaign: Campaign) -> SafeString:
        outcome, note = _state(campaign, whole=False)
        return state_cell(outcome.tone, outcome.word, note)

    @admin.display(description="Done")
    def progress(self, campaign: Campaign) -> SafeString:
        done = campaign.size - int(vars(campaign)["waiting"])
        meter = '<span class="campaign-some"><meter min="0" max="{}" value="{}" aria-label="{}"></meter> {}</span>'
        words = f"{done} of {campaign.size}"
        return format_html(meter, campaign.size, done, words, words)

    @admin.display(description="Made", ordering="pk")
    def made(self, campaign: Campaign) -> SafeString:
        by = f", by {campaign.created_by}" if campaign.created_by else ""
        return format_html("{}{}", time_tag(campaign.created_at), by)


class _Pages(RowPaginator):
    """Of as many rows as the tally has counted."""

    total = 0

    @property
    def count(self) -> int:
        return self.total


def _is_going(campaign: Campaign) -> bool:
    return campaign.finished_at is None and campaign.stopped_at is None


def _state(campaign: Campaign, whole: bool) -> tuple[Outcome, str]:
    """A colour, a word, and what else there is to say."""
    if campaign.finished_at is not None:
        return Outcome("Finished", "good"), campaign.stop_reason or moment(campaign.finished_at)
    if campaign.stopped_at is not None:
        who = f"by {campaign.stopped_by}" if campaign.stopped_by else campaign.stop_reason
        return Outcome("Stopped", "warn"), who if whole else mask_all(who, Call(from_number=campaign.from_number))
    if campaign.is_seen:
        return Outcome("Running", "live"), ""
    seen = f"last seen {moment(campaign.seen_at, inside=True)}" if campaign.seen_at else ""
    return Outcome("Interrupted", "warn"), ", ".join(filter(None, ["no process runs it", seen]))


def _facts(campaign: Campaign, whole: bool) -> Sequence[tuple[str, Any]]:
    hours = quiet_hours(campaign)
    rate = f"{campaign.rate:g} a second" if campaign.rate >= 1 else f"{campaign.rate * 60:g} a minute"
    by = f", by {campaign.created_by}" if campaign.created_by else ""
    return [
        ("Handler", campaign.handler),
        ("From", shown(campaign.from_number, whole)),
        ("Rate", f"{rate}, {campaign.at_once} at once"),
        ("Quiet hours", f"{hours}, by the clock of whoever is called" if hours else "none"),
        ("Made", format_html("{}{}", time_tag(campaign.created_at), by)),
    ]


def _parts(campaign: Campaign, counts: Sequence[tuple[Outcome, int]]) -> Iterator[dict[str, Any]]:
    """The bar: each outcome as wide as it is frequent, in hundredths. Numbers as SVG has them, in any language."""
    x = 0.0
    for one, many in counts:
        width = 100 * many / max(1, campaign.size)
        yield {"tone": one.tone, "word": one.word, "x": f"{x:.3f}", "width": f"{width:.3f}"}
        x += width


def _row(row: CampaignCall, now: dt.datetime, whole: bool) -> Row:
    call = row.call or Call(to_number=row.number)
    said = ", ".join(f"{name}: {value}" for name, value in row.columns.items() if value)
    notes = [row.error, *(f"{name}: {value}" for name, value in (row.call.data_in_order if row.call else {}).items())]
    note = ", ".join(filter(None, notes))
    if row.status == CampaignCall.Status.WAITING and row.not_before > now:
        note = f"Quiet there until {moment(row.not_before, inside=True)}"
    return Row(
        line=row.line,
        number=shown(row.number, whole),
        said=said if whole else mask_all(said, call),
        outcome=results.outcome_of(row, now),
        call=row.call,
        called=time_tag(row.claimed_at) if row.claimed_at else "",
        note=note if whole else mask_all(note, call),
    )
