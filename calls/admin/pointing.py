"""Where the account's numbers point: shown, and changed, with what was there before on the page.

Whoever points one is on record before Twilio is asked, and what became of it once that is known.
"""

from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods, require_safe

from calls import handlers, rest
from calls.admin.base import CallMixin, asks_twilio, own_page, staff
from calls.admin.cells import time_tag
from calls.models import Call


PLACE, POINT = "calls.place_call", "calls.point_numbers"

UNKNOWN = "Whether it was done is not known: Twilio has not answered."
MOST_RECORDS = 20


def may_see_ours(request: HttpRequest) -> bool:
    return request.user.has_perm(PLACE) or request.user.has_perm(POINT)


class PointForm(forms.Form):
    handler = forms.ChoiceField(label="Who answers", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        default = f"the default ({settings.DEFAULT_STREAM_HANDLER} at the moment)"
        choices = [("", default), *((name, name) for name in handlers.names())]
        cast(forms.ChoiceField, self.fields["handler"]).choices = choices


class Pointing(CallMixin):
    """Adds this to the admin of calls."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("numbers/", wrap(self.numbers), name="calls_call_numbers"),
            path("numbers/point/<str:number>/", wrap(self.point), name="calls_call_point"),
        ]
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"may_see_ours": may_see_ours(request), **(extra_context or {})})

    @asks_twilio("GET", "HEAD")
    @method_decorator(require_safe)
    def numbers(self, request: HttpRequest) -> HttpResponseBase:
        """The account's numbers, asked of Twilio now."""
        if not may_see_ours(request):
            raise PermissionDenied
        try:
            found = rest.numbers()
        except rest.RestError as error:
            found = []
            self.message_user(request, str(error), messages.ERROR)
        context = {"title": "Our numbers", "numbers": found, "may_point": request.user.has_perm(POINT)}
        context["pointed"] = [(row, time_tag(row.action_time)) for row in _records()[:MOST_RECORDS]]
        return own_page(self, request, "numbers", context)

    @asks_twilio("GET", "HEAD", "POST")
    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def point(self, request: HttpRequest, number: str) -> HttpResponseBase:
        """Shows where a number's calls go, and points them here."""
        if not request.user.has_perm(POINT):
            raise PermissionDenied
        form = PointForm(request.POST if request.method == "POST" else None)
        try:
            if form.is_valid():
                self._point(request, number, form.cleaned_data["handler"])
                return HttpResponseRedirect(reverse("admin:calls_call_numbers"))
            before = rest.configure_number(number, dry_run=True).before
        except rest.RestError as error:
            level = messages.WARNING if isinstance(error, rest.OutcomeUnknown) else messages.ERROR
            self.message_user(request, str(error), level)
            return HttpResponseRedirect(reverse("admin:calls_call_numbers"))
        context = {"title": f"Answer the calls to {before.number}", "number": before, "form": form}
        return own_page(self, request, "point", context)

    def _point(self, request: HttpRequest, number: str, handler: str) -> None:
        planned = rest.configure_number(number, handler, dry_run=True)
        row, asked = _record(planned.after.number), _asked(planned, handler)
        row.user_id = staff(request).pk
        row.change_message = f"{asked} {UNKNOWN}"
        row.save()
        try:
            change = rest.configure_number(number, handler)
        except rest.RestError as error:
            if not isinstance(error, rest.OutcomeUnknown):
                row.change_message = f"{asked} Not done: {error}"
                row.save(update_fields=["change_message"])
            raise
        row.change_message = f"{asked} Done."
        row.save(update_fields=["change_message"])
        who = handler or f"the default handler ({settings.DEFAULT_STREAM_HANDLER} at the moment)"
        self.message_user(request, f"Calls to {change.after.number} are answered here from now on, by {who}.")
        for warning in change.after.warnings:
            self.message_user(request, warning, messages.WARNING)


def _record(number: str) -> LogEntry:
    """Of no call and no page of ours: a number is Twilio's."""
    call = ContentType.objects.get_for_model(Call)
    return LogEntry(content_type=call, object_repr=number, action_flag=CHANGE)


def _records() -> QuerySet[LogEntry]:
    """The latest first; every other entry of this kind names a call."""
    rows = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(Call), object_id=None)
    return rows.select_related("user").order_by("-pk")


def _asked(planned: rest.Change, handler: str) -> str:
    was = ", ".join(f"{name} was {before or 'empty'}" for name, before, after in planned.fields if before != after)
    return f"To be answered here, by {handler or 'the default handler'}. {was or 'Nothing changes'}."
