"""What is only looked at: who heard what, which rows the database refused, what was erased."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from calls.admin.base import FactsAdmin, ModelAdmin
from calls.admin.cells import heard, moment, time_tag
from calls.admin.lists import is_whole_sid
from calls.admin.paging import Pages
from calls.models import ApiClient, AuditEntry, Erasure, QuarantinedRow, RecordingAccess, Tag


@admin.register(RecordingAccess)
class RecordingAccessAdmin(FactsAdmin[RecordingAccess]):
    list_display = ("moment", "who", "kind", "whose", "detail", "heard", "address")
    fields = ("moment", "who", "kind", "whose", "detail", "heard", "address")
    list_filter = ("kind",)
    list_select_related = ("user", "call")
    # Makes Django show the field; `get_search_results` decides what it means.
    search_fields = ("call_sid",)
    search_help_text = "A whole CallSid, a user name, or the name of an API client."
    list_per_page = 100

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[RecordingAccess], search_term: str
    ) -> tuple[QuerySet[RecordingAccess], bool]:
        """Each on its own index: as one with OR, over a join and in capitals, it would read the whole table."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if is_whole_sid(term):
            return queryset.filter(call_sid=term[:2].upper() + term[2:].lower()), False
        if users := list(User.objects.filter(username__iexact=term).values_list("pk", flat=True)):
            return queryset.filter(user__in=users), False
        clients = ApiClient.objects.filter(name__iexact=term).values_list("pk", flat=True)
        return queryset.filter(client__in=list(clients)), False

    @admin.display(description="Who")
    def who(self, access: RecordingAccess) -> str:
        return access.who

    @admin.display(description="When", ordering="at")
    def moment(self, access: RecordingAccess) -> str:
        return time_tag(access.at)

    @admin.display(description="Call")
    def whose(self, access: RecordingAccess) -> str:
        if access.call:
            url = reverse("admin:calls_call_change", args=[access.call.pk])
            began = moment(access.call.created_at, inside=True)
            return format_html('<a href="{}" title="{}">Call of {}</a>', url, access.call_sid, began)
        if access.kind == RecordingAccess.Kind.EXPORT and not access.call_sid:
            return "a list"
        return format_html('an erased call<br><span class="call-sid">{}</span>', access.call_sid)

    @admin.display(description="Heard")
    def heard(self, access: RecordingAccess) -> str:
        return heard(access)


@admin.register(AuditEntry)
class AuditEntryAdmin(FactsAdmin[AuditEntry]):
    """Who came in, who did not, and who gave whom what. `manage.py export_audit` has the other tables' part as well."""

    list_display = ("moment", "who", "event", "about", "more", "address")
    fields = ("moment", "who", "event", "about", "more", "address")
    list_filter = ("event",)
    # Makes Django show the field; `get_search_results` decides what it means.
    search_fields = ("who",)
    search_help_text = "A user name: what they did, and what was done to their account."
    list_per_page = 100

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        term = search_term.strip()
        return (queryset.filter(Q(who__iexact=term) | Q(about__iexact=term)) if term else queryset), False

    @admin.display(description="When", ordering="at")
    def moment(self, entry: AuditEntry) -> str:
        return time_tag(entry.at)

    @admin.display(description="Details")
    def more(self, entry: AuditEntry) -> str:
        between = " → " if entry.event == AuditEntry.Event.USER_CHANGED else ", "
        said = {name.replace("_", " "): _spelled(value, between) for name, value in entry.detail.items()}
        return "; ".join(f"{name}: {value}" for name, value in said.items())


def _spelled(value: Any, between: str) -> str:
    """A list is of names, or what was and what is."""
    if isinstance(value, list):
        return between.join(_spelled(one, between) for one in value) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@admin.register(QuarantinedRow)
class QuarantinedRowAdmin(FactsAdmin[QuarantinedRow]):
    list_display = ("created_at", "kind", "reason", "size")
    fields = ("created_at", "kind", "reason", "size")
    readonly_fields = ("size",)

    @admin.display(description="bytes")
    def size(self, row: QuarantinedRow) -> int:
        return len(row.data)


@admin.register(Erasure)
class ErasureAdmin(FactsAdmin[Erasure]):
    list_display = ("moment", "call_sid", "audio_only", "reason", "bytes", "user")
    list_select_related = ("user",)

    @admin.display(description="When", ordering="at")
    def moment(self, erasure: Erasure) -> str:
        return time_tag(erasure.at)


@admin.register(Tag)
class TagAdmin(ModelAdmin[Tag]):
    """The words that calls are tagged with; made here or from a call's page."""

    search_fields = ("name",)
    show_full_result_count = False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Pages

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tag]:
        return super().get_queryset(request).order_by("name")
