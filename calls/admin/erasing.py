"""Erasing calls in the admin: what would go is shown first, a reason is needed, and a line about it stays for good."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminRadioSelect, AdminTextInputWidget
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods

from calls.access import numbers
from calls.admin import wording
from calls.admin.base import CallMixin, keep_filters, own_page, staff
from calls.models import Call
from calls.recordings import holds
from calls.recordings.retention import STAYS, Content, erasable, erase, leaving_no_traces
from calls.store import ArchiveError


# As many as a page of the list holds.
MOST = 50


class EraseForm(forms.Form):
    what = forms.ChoiceField(
        label="Erase",
        choices=[
            ("all", "the whole call"),
            ("audio", "only the recording, and with it its words and the comments, and what reviewers wrote"),
        ],
        initial="all",
        widget=AdminRadioSelect,
    )
    reason = forms.CharField(
        max_length=200,
        label="Why",
        help_text="Kept for good, with your name: write no number and no caller's name.",
        widget=AdminTextInputWidget(attrs={"autocomplete": "off"}),
    )


class Erasing(CallMixin):
    """Adds this to the admin of calls."""

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("calls.erase_call")

    def get_urls(self) -> list[URLPattern]:
        own = path("erase/", self.admin_site.admin_view(self.erase), name="calls_call_erase")
        return [own, *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        call = kwargs.get("obj")
        if call and call.ended_at is not None and self.has_erase_permission(request):
            context["erase_url"] = self._erase_url(request, [call.pk])
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.action(description="Erase…", permissions=["erase"])
    def erase_selected(self, request: HttpRequest, queryset: QuerySet[Call]) -> HttpResponseBase:
        return HttpResponseRedirect(self._erase_url(request, list(queryset.values_list("pk", flat=True)[:MOST])))

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def erase(self, request: HttpRequest) -> HttpResponseBase:
        """Asks for confirmation, and does it. The query names the calls."""
        if not (self.has_erase_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        wanted = Call.objects.filter(pk__in=named(request.GET))
        calls, everything, held = list(erasable(wanted)), list(wanted), holds.held(wanted).count()
        form = EraseForm(request.POST if request.method == "POST" else None)
        if calls and form.is_valid():
            return self._erase(request, calls, form)
        content = Content.of(calls)
        context = {
            "title": _title(request, calls or everything),
            "form": form if calls else None,
            "calls": calls,
            "held": held,
            "running": len(everything) - len(calls) - held,
            "goes": content.lines(),
            "stays": STAYS,
            "back_url": self._back(request, calls or everything),
        }
        return own_page(self, request, "erase", context)

    def _erase(self, request: HttpRequest, calls: list[Call], form: EraseForm) -> HttpResponseBase:
        audio_only, back = form.cleaned_data["what"] == "audio", self._back(request, calls)
        with leaving_no_traces():
            for call in [*calls]:
                try:
                    erase(call, form.cleaned_data["reason"], user=staff(request), audio_only=audio_only)
                except holds.OnHold as error:  # just now
                    calls.remove(call)
                    self.message_user(request, str(error), messages.ERROR)
                except ArchiveError as error:
                    self.message_user(request, f"Not all was erased: {error}. Try again later.", messages.ERROR)
                    return HttpResponseRedirect(self._back(request, []))
        count = "1 call" if len(calls) == 1 else f"{len(calls)} calls"
        what = f"The audio of {count} was erased." if audio_only else f"{count} erased."
        self.message_user(request, what, messages.SUCCESS)
        return HttpResponseRedirect(back if audio_only else self._back(request, []))

    def _erase_url(self, request: HttpRequest, keys: list[int]) -> str:
        url = keep_filters(self, request, reverse("admin:calls_call_erase"))
        return f"{url}{'&' if '?' in url else '?'}{'&'.join(f'call={key}' for key in keys)}"

    def _back(self, request: HttpRequest, calls: list[Call]) -> str:
        """To the call, if it is one, or to the list."""
        page = reverse("admin:calls_call_changelist")
        if len(calls) == 1:
            page = reverse("admin:calls_call_change", args=[calls[0].pk])
        return keep_filters(self, request, page)


def named(query: QueryDict) -> list[int]:
    """The keys of the calls that a page is about."""
    return [int(pk) for pk in query.getlist("call")[:MOST] if pk.isascii() and pk.isdigit() and len(pk) < 19]


def _title(request: HttpRequest, calls: list[Call]) -> str:
    if len(calls) == 1:
        return f"Erase: {wording.of_call(calls[0], numbers.may_see(request))}"
    return f"Erase {len(calls)} calls" if calls else "Erase"
