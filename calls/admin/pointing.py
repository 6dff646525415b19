"""Where the account's numbers point: shown, and changed, with what was there before on the page."""

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods, require_safe

from calls import handlers, rest
from calls.models import Call

from .base import guard


if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Base = ModelAdmin[Call]
else:
    Base = object

PLACE, POINT = "calls.place_call", "calls.point_numbers"
#: The pages that wait for Twilio, by their names.
ASK_TWILIO = {"admin:calls_call_numbers", "admin:calls_call_point"}


class PointForm(forms.Form):
    handler = forms.ChoiceField(label="Who answers", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        default = f"the default ({settings.DEFAULT_STREAM_HANDLER} at the moment)"
        choices = [("", default), *((name, name) for name in handlers.names())]
        cast(forms.ChoiceField, self.fields["handler"]).choices = choices


class Pointing(Base):
    """Adds this to the admin of calls."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("numbers/", wrap(self.numbers), name="calls_call_numbers"),
            path("numbers/point/<str:number>/", wrap(self.point), name="calls_call_point"),
        ]
        return [*own, *super().get_urls()]

    @method_decorator(require_safe)
    def numbers(self, request: HttpRequest) -> HttpResponseBase:
        """The account's numbers, asked of Twilio now."""
        if not (request.user.has_perm(PLACE) or request.user.has_perm(POINT)):
            raise PermissionDenied
        try:
            found = rest.numbers()
        except rest.RestError as error:
            found = []
            self.message_user(request, str(error), messages.ERROR)
        context = {"title": "Our numbers", "numbers": found, "may_point": request.user.has_perm(POINT)}
        return self._numbers_page(request, "numbers", context)

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def point(self, request: HttpRequest, number: str) -> HttpResponseBase:
        """Shows where a number's calls go, and has them come here."""
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
        return self._numbers_page(request, "point", context)

    def _point(self, request: HttpRequest, number: str, handler: str) -> None:
        change = rest.configure_number(number, handler)
        was = ", ".join(f"{name} was {before or 'empty'}" for name, before, after in change.fields if before != after)
        row = LogEntry(
            content_type=ContentType.objects.get_for_model(Call), object_repr=change.after.number, action_flag=CHANGE
        )
        row.change_message = f"Pointed here, at {handler or 'the default handler'}. {was or 'Nothing changed'}."
        row.user_id = request.user.pk or 0
        row.save()
        who = handler or f"the default handler ({settings.DEFAULT_STREAM_HANDLER} at the moment)"
        self.message_user(request, f"Calls to {change.after.number} are answered here from now on, by {who}.")
        for warning in change.after.warnings:
            self.message_user(request, warning, messages.WARNING)

    def _numbers_page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponseBase:
        shared = {**self.admin_site.each_context(request), "opts": self.opts}
        return guard(TemplateResponse(request, f"admin/calls/call/{name}.html", {**shared, **context}))
