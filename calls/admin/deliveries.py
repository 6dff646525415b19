"""The webhooks that were sent, or are still to be: what was in each, what came of each try, and a button to send it
again."""

import json
from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.dateparse import parse_datetime
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from calls.access.numbers import mask_all, may_see
from calls.admin.base import FactsAdmin, staff
from calls.admin.cells import moment, state_cell, time_tag
from calls.admin.filters import Choice
from calls.admin.paging import Pages
from calls.models import Call, Delivery, Notice, Receiver
from calls.notices.delivery import payload
from calls.notices.facts import masked


TONES = {Delivery.Status.WAITING: "live", Delivery.Status.DELIVERED: "good", Delivery.Status.GIVEN_UP: "bad"}
SEND = "calls.send_delivery"


class State(Choice):
    title = "state"
    parameter_name = "status"
    conditions = {str(status): (str(status.label), Q(status=status)) for status in Delivery.Status}


class To(admin.SimpleListFilter):
    title = "receiver"
    parameter_name = "receiver"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Receiver.objects.values_list("pk", "name")[:50]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
        value = self.value() or ""
        return queryset.filter(receiver=int(value)) if value.isascii() and value.isdigit() else queryset


class Kind(Choice):
    title = "what happened"
    parameter_name = "kind"
    conditions = {str(kind): (kind.value, Q(kind=kind)) for kind in Notice.Kind}


class DeliveryPages(Pages):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not may_see(request):
            for delivery in self.result_list:
                _hide_answers(delivery)


@admin.register(Delivery)
class DeliveryAdmin(FactsAdmin[Delivery]):
    list_display = ("when", "state", "what", "receiver", "whose")
    list_filter = (State, To, Kind)
    list_select_related = ("notice__call", "receiver")
    list_per_page = 100
    list_display_links = ("when",)
    sortable_by = ()
    ordering = ("-pk",)
    actions = ("send_again",)
    fields = (
        *("what", "receiver", "whose", "when", "event", "state", "attempts", "last_try", "next_try", "gives_up"),
        *("content", "tries"),
    )
    readonly_fields = (
        "kind",
        "whose",
        "when",
        "event",
        "state",
        "last_try",
        "next_try",
        "gives_up",
        "content",
        "tries",
    )
    change_form_template = "admin/calls/delivery/change_form.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DeliveryPages

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Without what a list does not show; a page asks for it."""
        call = [f"notice__call__{name}" for name in ("parameters", "data", "data_at", "notes")]
        return super().get_queryset(request).defer("answers", "notice__data", *call)

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(SEND)

    def get_urls(self) -> list[URLPattern]:
        send = path("<int:pk>/send/", self.admin_site.admin_view(self.send), name="calls_delivery_send")
        return [send, *super().get_urls()]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup == "notice__call" or super().lookup_allowed(lookup, value, request)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        delivery = kwargs["obj"]
        context |= {"may_send": request.user.has_perm(SEND), "title": str(delivery), "subtitle": None}
        return super().render_change_form(request, context, *args, **kwargs)

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Delivery | None:
        """With what the user may not see masked; nobody saves it."""
        delivery = super().get_object(request, *args, **kwargs)
        if delivery is not None:
            self._mask(delivery, request)
        return delivery

    def _mask(self, delivery: Delivery, request: HttpRequest) -> None:
        notice = delivery.notice
        if not (delivery.receiver.with_numbers and may_see(request)):
            notice.data = masked(notice.data, notice.call)
        if not may_see(request):
            delivery.answers = mask_all(delivery.answers, notice.call or Call())
            _hide_answers(delivery)

    @method_decorator(require_POST)
    def send(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        if not self.has_send_permission(request):
            raise PermissionDenied
        delivery = get_object_or_404(Delivery.objects.select_related("receiver", "notice"), pk=pk)
        self._send(request, [delivery])
        return HttpResponseRedirect(reverse("admin:calls_delivery_change", args=[pk]))

    @admin.action(description="Send again", permissions=["send"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        self._send(request, list(queryset))

    def _send(self, request: HttpRequest, deliveries: list[Delivery]) -> None:
        active = [delivery for delivery in deliveries if delivery.receiver.is_active]
        for delivery in active:
            delivery.send_again()
        Receiver.objects.filter(pk__in={delivery.receiver_id for delivery in active}).update(rests_until=None)
        if active:
            LogEntry.objects.log_actions(staff(request).pk, active, CHANGE, change_message="Sent again.")
            count = "1 webhook is" if len(active) == 1 else f"{len(active)} webhooks are"
            self.message_user(request, f"{count} sent again, under the same id.", messages.SUCCESS)
        if off := len(deliveries) - len(active):
            words = f"{off} not sent: the receiver is switched off. Switch it on first."
            self.message_user(request, words, messages.WARNING)

    @admin.display(description="When", ordering="pk")
    def when(self, delivery: Delivery) -> str:
        return time_tag(delivery.notice.at)

    @admin.display(description="What happened")
    def what(self, delivery: Delivery) -> str:
        return delivery.kind

    @admin.display(description="Call")
    def whose(self, delivery: Delivery) -> str | SafeString:
        call = delivery.notice.call
        if call is None:
            return "–"
        url = reverse("admin:calls_call_change", args=[call.pk])
        return format_html('<a href="{}">Call of {}</a>', url, moment(call.created_at, inside=True))

    @admin.display(description="State")
    def state(self, delivery: Delivery) -> SafeString:
        status = Delivery.Status(delivery.status)
        tries = "not tried yet" if not delivery.attempts else f"{delivery.attempts} tries" * (delivery.attempts > 1)
        parts = [delivery.error.rstrip("."), tries] if status != Delivery.Status.DELIVERED else [tries]
        return state_cell(TONES[status], str(status.label), ", ".join(filter(None, parts)))

    @admin.display(description="Next try")
    def next_try(self, delivery: Delivery) -> str:
        if delivery.status != Delivery.Status.WAITING:
            return "–"
        if not delivery.receiver.is_active:
            return "when the receiver is switched on"
        return time_tag(max(filter(None, [delivery.next_at, delivery.receiver.rests_until])))

    @admin.display(description="Last try")
    def last_try(self, delivery: Delivery) -> str:
        return time_tag(delivery.last_at)

    @admin.display(description="Tried until")
    def gives_up(self, delivery: Delivery) -> str:
        return time_tag(delivery.give_up_at)

    @admin.display(description="Id")
    def event(self, delivery: Delivery) -> str:
        return str(delivery.notice.uuid)

    @admin.display(description="What is sent")
    def content(self, delivery: Delivery) -> SafeString:
        what = payload(delivery.notice, with_numbers=True)
        text = json.dumps(what, indent=2, ensure_ascii=False)
        return format_html('<pre class="call-json" tabindex="0">{}</pre>', text)

    @admin.display(description="Tries")
    def tries(self, delivery: Delivery) -> SafeString:
        """The last one first."""
        if not delivery.answers:
            return format_html("{}", "not tried yet")
        rows = [(_at(one), _answer(one), one.get("body", "")) for one in reversed(delivery.answers)]
        head = format_html("<tr><th>{}</th><th>{}</th><th>{}</th></tr>", "When", "What came of it", "Answer")
        body = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", rows)
        return format_html('<table class="call-tries"><thead>{}</thead><tbody>{}</tbody></table>', head, body)


def _hide_answers(delivery: Delivery) -> None:
    """What is answered may repeat what was told. Nobody saves this."""
    delivery.error = mask_all(delivery.error, delivery.notice.call or Call())


def _at(one: dict[str, Any]) -> str:
    at = parse_datetime(str(one.get("at", "")))
    return time_tag(at)


def _answer(one: dict[str, Any]) -> str:
    what = str(one.get("error") or one.get("status")).rstrip(".")
    return f"{what}, after {one.get('seconds', 0):.2f} s"
