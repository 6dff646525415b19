"""Stepping into a running call: the panel on its page, and the views that ask the process which holds it."""

from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.crypto import get_random_string
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods

from calls.access import numbers
from calls.admin import wording
from calls.admin.base import CallMixin, asks_worker, is_script, keep_filters, own_page, private_json, staff
from calls.admin.steps import STEPS, Step
from calls.models import Call
from calls.server.control import NoAnswer, NotLive, Objection, control


PERMISSION = "calls.supervise_call"
# Clicks that a session remembers.
_MOST_CLICKS = 16


@dataclass(frozen=True)
class Outcome:
    """What came of it, in words, and in which tone they are said: good, warn or bad."""

    tone: str
    words: str

    @property
    def level(self) -> int:
        return {"good": messages.SUCCESS, "warn": messages.WARNING}.get(self.tone, messages.ERROR)


def may_step_in(request: HttpRequest) -> bool:
    return request.user.has_perm(PERMISSION)


class SteppingIn(CallMixin):
    """Adds this to the admin of calls."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.step_in)
        return [path("<int:pk>/step-in/<slug:name>/", view, name="calls_call_step_in"), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        call = kwargs.get("obj")
        is_held = call and call.sid and call.ended_at is None and not context.get("is_beside")
        if call and is_held and may_step_in(request):
            context["steps"] = _panel(self, request, call)
        return super().render_change_form(request, context, *args, **kwargs)

    @asks_worker("POST")
    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def step_in(self, request: HttpRequest, pk: int, name: str) -> HttpResponseBase:
        """Asks what exactly, where there is no script to do it, and does it."""
        if not (may_step_in(request) and self.has_view_permission(request)):
            raise PermissionDenied
        if name not in STEPS:
            raise Http404
        call = get_object_or_404(Call, pk=pk)
        step = STEPS[name](request, is_sent=request.method == "POST")
        if request.method == "POST":
            if step.is_valid():
                return self._stepped_in(request, call, _outcome(request, call, step))
            if is_script(request):
                errors = " ".join(str(error) for errors in step.errors.values() for error in errors)
                return private_json({"tone": "bad", "words": errors, "is_form": True})
        facts = {"title": wording.of_call(call, numbers.may_see(request)), "back_url": _page(self, request, call)}
        return own_page(self, request, "step", {**facts, "form": step, "click": get_random_string(12)})

    def _stepped_in(self, request: HttpRequest, call: Call, outcome: Outcome) -> HttpResponseBase:
        if is_script(request):
            return private_json({"tone": outcome.tone, "words": outcome.words})
        self.message_user(request, outcome.words, outcome.level)
        return HttpResponseRedirect(_page(self, request, call))


def _panel(model_admin: CallMixin, request: HttpRequest, call: Call) -> dict[str, Any]:
    """Each act's form and address, by its name as a template has it."""
    forms = {name.replace("-", "_"): step(request) for name, step in STEPS.items()}
    urls = {name: reverse("admin:calls_call_step_in", args=[call.pk, step.name]) for name, step in forms.items()}
    return {**forms, "urls": {name: keep_filters(model_admin, request, url) for name, url in urls.items()}}


def _page(model_admin: CallMixin, request: HttpRequest, call: Call) -> str:
    return keep_filters(model_admin, request, reverse("admin:calls_call_change", args=[call.pk]))


def _outcome(request: HttpRequest, call: Call, step: Step) -> Outcome:
    if _is_second_click(request):
        return Outcome("warn", "You have done this just now; the timeline says what came of it.")
    try:
        if not call.sid:
            raise NotLive("this call has not begun")
        return Outcome("good", step.done(async_to_sync(step.take)(control(call.sid, user=staff(request)))))
    except NotLive as error:
        return Outcome("warn", f"Nothing was done: {error}.")
    except NoAnswer as error:
        return Outcome("warn", f"No answer: {error}. It may have been done, or not; the timeline will say.")
    except Objection as error:
        return Outcome("bad", f"Not done: {error}.")


def _is_second_click(request: HttpRequest) -> bool:
    """Whether this very click has been here. All processes know the session, which is saved before anything is done."""
    click, known = request.POST.get("click", "")[:32], request.session.get("steps", [])
    if not click or click in known:
        return bool(click)
    request.session["steps"] = [*known, click][-_MOST_CLICKS:]
    request.session.save()
    return False
