"""Calls out: place one, end or transfer a running one.

All of it needs `calls.place_call`, and whatever is asked of a call is on its timeline with who asked.
"""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods

from calls import handlers, rest
from calls.access import numbers
from calls.admin import wording
from calls.admin.base import CallMixin, asks_twilio, keep_filters, own_page, staff
from calls.models import Call, CallEvent


PERMISSION = "calls.place_call"
# A second click on the button is not a second call.
TWICE = dt.timedelta(seconds=5)

PHONE = AdminTextInputWidget(attrs={"placeholder": "+14155550100", "autocomplete": "off"})


# What Twilio calls beside numbers: https://www.twilio.com/docs/voice/api/call-resource#create-a-call-resource
_ADDRESS = re.compile(r"(sip|client):\S+", re.IGNORECASE)


class PhoneField(forms.CharField):
    """A number, however it is written, in E.164; one without a country code is of DEFAULT_FROM_NUMBER's country.

    Whether anybody has it is for Twilio to say: numbering plans change more often than installations.
    """

    def __init__(self, **facts: Any) -> None:
        super().__init__(max_length=255, widget=PHONE, **facts)

    def clean(self, value: Any) -> str:
        text: str = super().clean(value)
        if not text or _ADDRESS.fullmatch(text):
            return text
        try:
            return rest.e164(text)
        except ValueError as error:
            advice = "Write it with + and its country code, like +14155550100."
            raise ValidationError(f"“{text[:40]}” cannot be called: {error}. {advice}") from None


class PlaceForm(forms.Form):
    to = PhoneField(label="Whom to call")
    from_ = PhoneField(label="From", required=False)
    handler = forms.ChoiceField(help_text="What answers the person called.")
    parameters = forms.CharField(
        required=False,
        widget=AdminTextareaWidget(attrs={"rows": 3}),
        help_text="For the handler: NAME=VALUE, one a line.",
    )
    machine_detection = forms.BooleanField(
        required=False, label="Detect answering machines", help_text="The handler starts a few seconds later."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = cast(forms.ChoiceField, self.fields["handler"])
        known.choices = [(name, name) for name in handlers.names()]
        known.initial = settings.DEFAULT_STREAM_HANDLER
        self.fields["from_"].initial = settings.DEFAULT_FROM_NUMBER
        self.fields["from_"].required = not settings.DEFAULT_FROM_NUMBER

    def clean_parameters(self) -> dict[str, str]:
        lines = [line.strip() for line in self.cleaned_data["parameters"].splitlines() if line.strip()]
        pairs = [line.partition("=") for line in lines]
        for line, (name, equals, _) in zip(lines, pairs, strict=True):
            if not name or not equals:
                raise ValidationError(f"“{line[:40]}”: write it as NAME=VALUE.")
        return {name.strip(): value.strip() for name, _, value in pairs}


class GoodbyeForm(forms.Form):
    text = forms.CharField(
        label="What is said",
        max_length=3000,
        initial="Thank you for calling. Goodbye.",
        widget=AdminTextareaWidget(attrs={"rows": 3}),
    )


class TransferForm(forms.Form):
    number = PhoneField(label="To which number")


@dataclass(frozen=True)
class Control:
    """Something that staff do to a running call."""

    name: str
    word: str
    explanation: str
    form: type[forms.Form]
    act: Callable[..., bool]
    done: str


CONTROLS = {
    control.name: control
    for control in (
        Control("hang-up", "Hang up", "The call ends at once.", forms.Form, rest.end_call, "The call was hung up."),
        Control(
            "goodbye",
            "Say goodbye and hang up",
            "The handler stops, Twilio says this, and the call ends.",
            GoodbyeForm,
            rest.say_goodbye,
            "Goodbye is being said; then the call ends.",
        ),
        Control(
            "transfer",
            "Transfer",
            "The handler and our recording stop, and whoever is on the line is connected to another number.",
            TransferForm,
            rest.transfer,
            "The call is being transferred.",
        ),
    )
}


def may_place(request: HttpRequest) -> bool:
    return request.user.has_perm(PERMISSION)


class Outbound(CallMixin):
    """Adds this to the admin of calls."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("place/", wrap(self.place), name="calls_call_place"),
        ]
        for name in CONTROLS:
            own.append(path(f"<int:pk>/{name}/", wrap(self.control), {"name": name}, name=f"calls_call_{name}"))
        return [*own, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"may_place": may_place(request), **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        call = kwargs.get("obj")
        if call and call.sid and call.ended_at is None and may_place(request):
            urls = {control.word: _url(control.name, call.pk) for control in CONTROLS.values()}
            context["controls"] = [(word, keep_filters(self, request, url)) for word, url in urls.items()]
        return super().render_change_form(request, context, *args, **kwargs)

    @asks_twilio("POST")
    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def place(self, request: HttpRequest) -> HttpResponseBase:
        """The form, and the call that it asks for."""
        if not may_place(request):
            raise PermissionDenied
        known = {"to": request.GET.get("to"), "from_": request.GET.get("from")}
        initial = {name: value[:255] for name, value in known.items() if value}
        form = PlaceForm(request.POST if request.method == "POST" else None, initial=initial)
        if form.is_valid() and (call := self._place(request, form)):
            return HttpResponseRedirect(_url("change", call.pk))
        return own_page(self, request, "place", {"title": "Call…", "form": form, "word": "Call"})

    def _place(self, request: HttpRequest, form: PlaceForm) -> Call | None:
        """The row to look at; None if nobody is called, and the form says why."""
        given = form.cleaned_data
        if call := _just_placed(request, given["to"]):
            self.message_user(request, "You have placed this call just now.", messages.WARNING)
            return call
        names = ("to", "from_", "handler", "parameters", "machine_detection")
        try:
            call = rest.place_call(*(given[name] for name in names), user=staff(request))
        except rest.OutcomeUnknown as error:
            self.message_user(request, str(error), messages.WARNING)
            return error.call
        except rest.RestError as error:
            form.add_error(None, str(error))
            return None
        self.message_user(request, f"Calling {call.to_number}.")
        return call

    @asks_twilio("POST")
    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def control(self, request: HttpRequest, pk: int, name: str) -> HttpResponseBase:
        """Asks for confirmation, and does it."""
        if not (may_place(request) and self.has_view_permission(request)):
            raise PermissionDenied
        call, control = get_object_or_404(Call, pk=pk), CONTROLS[name]
        back = keep_filters(self, request, _url("change", pk))
        form = control.form(request.POST if request.method == "POST" else None)
        if form.is_valid():
            self._act(request, call, control, form)
            return HttpResponseRedirect(back)
        facts = {"title": wording.of_call(call, numbers.may_see(request)), "call": call, "back_url": back}
        return own_page(self, request, "control", {**facts, "control": control, "form": form})

    def _act(self, request: HttpRequest, call: Call, control: Control, form: forms.Form) -> None:
        try:
            done = control.act(call, *form.cleaned_data.values(), user=staff(request))
        except rest.RestError as error:
            level = messages.WARNING if isinstance(error, rest.OutcomeUnknown) else messages.ERROR
            self.message_user(request, str(error), level)
        else:
            self.message_user(request, control.done if done else "The call was over already.")


def _just_placed(request: HttpRequest, to: str) -> Call | None:
    """The same call, if this user asked for it a moment ago and it did not fail."""
    asked = CallEvent.objects.filter(
        kind="place", user=staff(request), occurred_at__gt=timezone.now() - TWICE, call__to_number=to
    )
    event = asked.exclude(call__status=Call.Status.FAILED).select_related("call").last()
    return event.call if event else None


def _url(name: str, pk: int) -> str:
    return reverse(f"admin:calls_call_{name}", args=[pk])
