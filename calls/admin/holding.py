"""Legal holds in the admin: a call under one is not erased, and who placed or lifted it and why stays for good."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.widgets import AdminRadioSelect, AdminTextInputWidget
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.http import require_http_methods

from calls.access import numbers
from calls.admin import wording
from calls.admin.base import CallMixin, FactsAdmin, keep_filters, own_page, staff
from calls.admin.cells import time_tag
from calls.admin.erasing import MOST, named
from calls.admin.filters import Choice
from calls.models import Call, LegalHold
from calls.recordings import holds


PLACE = "place"


class HoldForm(forms.Form):
    what = forms.ChoiceField(widget=AdminRadioSelect, label="Do this")
    reason = forms.CharField(
        max_length=200,
        label="Why",
        help_text="Kept for good, with your name: write no number and no caller's name.",
        widget=AdminTextInputWidget(attrs={"autocomplete": "off"}),
    )

    def __init__(self, standing: list[LegalHold], count: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        whose = "this call" if count == 1 else f"these {count} calls"
        lifts = [(str(hold.pk), f"Lift this one: {holds.in_words(hold)}") for hold in standing]
        if count > 1:
            lifts = [(pk, f"{text} ({hold.call_sid})") for (pk, text), hold in zip(lifts, standing, strict=True)]
        what = self.fields["what"]
        assert isinstance(what, forms.ChoiceField), "it is one, above"
        what.choices = [(PLACE, f"Hold {whose}{', once more' if standing else ''}"), *lifts]
        if not standing:
            what.initial = PLACE


class Holding(CallMixin):
    """Adds this to the admin of calls."""

    def has_hold_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("calls.hold_call")

    def get_urls(self) -> list[URLPattern]:
        own = path("hold/", self.admin_site.admin_view(self.hold), name="calls_call_hold")
        return [own, *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if call := kwargs.get("obj"):
            context["holds"] = [holds.in_words(hold) for hold in _standing([call])]
            if self.has_hold_permission(request):
                context["hold_url"] = self._hold_url(request, [call.pk])
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.action(description="Legal hold…", permissions=["hold"])
    def hold_selected(self, request: HttpRequest, queryset: QuerySet[Call]) -> HttpResponseBase:
        return HttpResponseRedirect(self._hold_url(request, list(queryset.values_list("pk", flat=True)[:MOST])))

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def hold(self, request: HttpRequest) -> HttpResponseBase:
        """Places a hold on the calls that the query names, or lifts one of theirs."""
        if not (self.has_hold_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        calls = list(Call.objects.filter(pk__in=named(request.GET)))
        standing = _standing(calls)
        form = HoldForm(standing, len(calls), request.POST if request.method == "POST" else None)
        if calls and form.is_valid():
            return self._hold(request, calls, standing, form)
        context = {
            "title": _title(request, calls),
            "form": form if calls else None,
            "calls": calls,
            "back_url": self._page_of(request, calls),
        }
        return own_page(self, request, "hold", context)

    def _hold(
        self, request: HttpRequest, calls: list[Call], standing: list[LegalHold], form: HoldForm
    ) -> HttpResponseBase:
        what, reason, user = form.cleaned_data["what"], form.cleaned_data["reason"], staff(request)
        done: list[Call] = []
        if what == PLACE:
            for call in calls:
                try:
                    holds.place(call, user, reason)
                    done.append(call)
                except holds.BeingErased as error:
                    self.message_user(request, f"{error}, and cannot be held any more.", messages.ERROR)
        else:
            chosen = [hold for hold in standing if str(hold.pk) == what]
            if holds.lift(chosen, user, reason):
                done = [call for call in calls if call.pk == chosen[0].call_id]
            else:  # between two looks at it
                self.message_user(request, "Somebody else has lifted it already.", messages.WARNING)
        word = "Legal hold placed" if what == PLACE else "Legal hold lifted"
        if done:
            LogEntry.objects.log_actions(user.pk, done, CHANGE, change_message=f"{word}: {reason}")
            self.message_user(request, f"{word}: {len(done)} call{'' if len(done) == 1 else 's'}.", messages.SUCCESS)
        return HttpResponseRedirect(self._page_of(request, calls))

    def _hold_url(self, request: HttpRequest, keys: list[int]) -> str:
        url = keep_filters(self, request, reverse("admin:calls_call_hold"))
        return f"{url}{'&' if '?' in url else '?'}{'&'.join(f'call={key}' for key in keys)}"

    def _page_of(self, request: HttpRequest, calls: list[Call]) -> str:
        """The call, if it is one, or the list."""
        page = reverse("admin:calls_call_changelist")
        if len(calls) == 1:
            page = reverse("admin:calls_call_change", args=[calls[0].pk])
        return keep_filters(self, request, page)


def _standing(calls: list[Call]) -> list[LegalHold]:
    return list(LegalHold.objects.standing().filter(call__in=calls).select_related("placed_by").order_by("placed_at"))


def _title(request: HttpRequest, calls: list[Call]) -> str:
    if len(calls) == 1:
        return f"Legal hold: {wording.of_call(calls[0], numbers.may_see(request))}"
    return f"Legal hold on {len(calls)} calls" if calls else "Legal hold"


class Standing(Choice):
    title = "state"
    parameter_name = "state"
    conditions = {"standing": ("Standing", Q(lifted_at=None)), "lifted": ("Lifted", Q(lifted_at__isnull=False))}


@admin.register(LegalHold)
class LegalHoldAdmin(FactsAdmin[LegalHold]):
    """All that were ever placed; a call's own page places and lifts them."""

    list_display = ("placed", "whose", "reason", "placed_by", "lifted", "lifted_by", "lift_reason")
    fields = ("placed", "whose", "reason", "placed_by", "lifted", "lifted_by", "lift_reason")
    list_select_related = ("placed_by", "lifted_by")
    list_filter = (Standing,)
    search_fields = ("=call_sid",)
    search_help_text = "A whole CallSid."

    @admin.display(description="Placed", ordering="placed_at")
    def placed(self, hold: LegalHold) -> str:
        return time_tag(hold.placed_at)

    @admin.display(description="Lifted", ordering="lifted_at", empty_value="no")
    def lifted(self, hold: LegalHold) -> str | None:
        return time_tag(hold.lifted_at) if hold.lifted_at else None

    @admin.display(description="Call")
    def whose(self, hold: LegalHold) -> str:
        if hold.call_id is None:
            return format_html('an erased call<br><span class="call-sid">{}</span>', hold.call_sid)
        url = reverse("admin:calls_call_change", args=[hold.call_id])
        return format_html('<a href="{}" class="call-sid">{}</a>', url, hold.call_sid or "not placed yet")
