"""“Simulate a call…” while DEBUG is on: somebody calls this server as Twilio would, and the call's page opens.

For developers. Without DEBUG there is no such page: a simulated call takes the place of a real one.
"""

import re
import shutil
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods

from calls import handlers, simulation
from calls.admin.base import CallMixin, asks_worker, keep_filters, own_page
from calls.admin.sounds import SoundField
from calls.models import Call


# Either of the two beside seeing calls.
PERMISSIONS = ("calls.change_call", "calls.supervise_call")
LONGEST = 600
MOST_KEYS = 50
# Keys without a time: seconds until the first, and from one to the next.
FIRST_KEY, NEXT_KEY = 3.0, 0.5
_PRESSED = re.compile(r"(?:(\d{1,3}(?:\.\d{1,3})?):)?([0-9*#A-D]+)", re.ASCII)

_SPOKEN = "Spoken by espeak-ng. With neither a sentence nor a file, the caller is the recorded one that ships."
_MUTE = "Install espeak-ng on this machine to have a sentence spoken. Without a file, the caller is the one that ships."
_KEYS = "12# presses these one after the other; 2.5:1 4:# presses 1 after 2.5 seconds and # after 4."
_STAYS = "Seconds until the caller hangs up. Empty: until all is said and pressed, and the answer to it is heard."


class SimulateForm(forms.Form):
    handler = forms.ChoiceField(help_text="Who answers.")
    says = forms.CharField(
        label="What the caller says", required=False, max_length=1000, widget=AdminTextareaWidget(attrs={"rows": 3})
    )
    file = SoundField(label="Or a file", required=False)
    keys = forms.CharField(
        label="Keys",
        required=False,
        max_length=200,
        help_text=_KEYS,
        widget=AdminTextInputWidget(attrs={"placeholder": "2.5:1 4:#", "autocomplete": "off"}),
    )
    duration = forms.FloatField(label="For how long", required=False, min_value=1, max_value=LONGEST, help_text=_STAYS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = cast(forms.ChoiceField, self.fields["handler"])
        known.choices = [(name, name) for name in handlers.names()]
        known.initial = settings.DEFAULT_STREAM_HANDLER
        can_speak = shutil.which("espeak-ng") is not None
        self.fields["says"].disabled = not can_speak
        self.fields["says"].help_text = _SPOKEN if can_speak else _MUTE

    def clean_says(self) -> str:
        says: str = self.cleaned_data["says"].strip()
        if says and not re.search(r"\w", says):
            raise ValidationError("There is nothing in it that can be said.")
        return says

    def clean_keys(self) -> tuple[tuple[float, str], ...]:
        pressed: list[tuple[float, str]] = []
        for word in self.cleaned_data["keys"].replace(",", " ").split():
            if not (found := _PRESSED.fullmatch(word.upper())):
                raise ValidationError(f"“{word[:40]}”: write keys (0-9 * # A-D), or SECONDS:KEY like 2.5:1.")
            at = float(found[1]) if found[1] else max([FIRST_KEY, *(at + NEXT_KEY for at, _ in pressed)])
            pressed += [(at + number * NEXT_KEY, key) for number, key in enumerate(found[2])]
        if len(pressed) > MOST_KEYS or any(at > LONGEST for at, _ in pressed):
            raise ValidationError(f"At most {MOST_KEYS} keys, within {LONGEST // 60} minutes.")
        return tuple(pressed)

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("says") and self.cleaned_data.get("file"):
            raise ValidationError("Write a sentence or choose a file, not both.")
        return self.cleaned_data

    @property
    def caller(self) -> simulation.Caller:
        given = self.cleaned_data
        return simulation.Caller(
            handler=given["handler"],
            says=given["says"],
            audio=given["file"] or b"",
            keys=given["keys"],
            duration=given["duration"],
        )


def may_simulate(request: HttpRequest) -> bool:
    user = request.user
    return settings.DEBUG and user.has_perm("calls.view_call") and any(map(user.has_perm, PERMISSIONS))


class Simulating(CallMixin):
    """Adds this to the admin of calls."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.simulate)
        return [path("simulate/", view, name="calls_call_simulate"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"may_simulate": may_simulate(request), **(extra_context or {})})

    @asks_worker("POST")
    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def simulate(self, request: HttpRequest) -> HttpResponseBase:
        """The form, and the call that it asks for."""
        if not settings.DEBUG:
            raise Http404
        if not may_simulate(request):
            raise PermissionDenied
        form = SimulateForm(request.POST, request.FILES) if request.method == "POST" else SimulateForm()
        if form.is_valid() and (call := self._call_in(request, form)):
            url = reverse("admin:calls_call_change", args=[call.pk])
            return HttpResponseRedirect(keep_filters(self, request, url))
        return own_page(self, request, "simulate", {"title": "Simulate a call…", "form": form, "word": "Call"})

    def _call_in(self, request: HttpRequest, form: SimulateForm) -> Call | None:
        """None if nobody has called, and the form says why."""
        port = str(request.META["SERVER_PORT"])
        if not port.isdigit():
            form.add_error(None, "Nobody has called. This server listens on no port: it was given a socket.")
            return None
        try:
            # Where this process listens, whatever name a browser has for it; nothing ever leaves this machine.
            return simulation.call_in(form.caller, int(port))
        except simulation.NotStarted as error:
            form.add_error(None, f"Nobody has called. {error}")
            return None
