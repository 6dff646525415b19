"""From one call to the next: through the list as it was filtered, and to other calls with the same number."""

from copy import copy
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse

from calls.access.numbers import is_nobodys, may_see
from calls.admin import cells
from calls.admin.base import CallMixin, keep_filters
from calls.admin.lists import CallPages
from calls.admin.outbound import may_place
from calls.admin.sorting import beside
from calls.models import Call


# Django keeps the list's query under this name in the links to its rows.
FILTERS = "_changelist_filters"
MOST_OTHERS = 5


class Filtered(CallPages):
    """The list as it is filtered and sorted, of which no page is read."""

    def get_results(self, request: HttpRequest) -> None:
        pass


class Neighbours(CallMixin):
    """Adds this to the admin of calls."""

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if call := kwargs.get("obj"):
            context["previous_url"], context["next_url"] = self._beside(request, call)
            context["history_url"] = keep_filters(self, request, reverse("admin:calls_call_history", args=[call.pk]))
            context |= _others(request, call)
        return super().render_change_form(request, context, *args, **kwargs)

    def response_change(self, request: HttpRequest, obj: Call) -> HttpResponse:
        """Django would name the CallSid in its messages, and knows no next call."""
        if "_continue" in request.POST:
            self.message_user(request, "Saved.", messages.SUCCESS)
            return HttpResponseRedirect(request.get_full_path())
        if "_next" not in request.POST:
            self.message_user(request, "Saved.", messages.SUCCESS)
            return self.response_post_save_change(request, obj)
        _, following = self._beside(request, obj)
        if following:
            self.message_user(request, "Saved; this is the next call.", messages.SUCCESS)
            return HttpResponseRedirect(following)
        self.message_user(request, "Saved; that was the last call of this list.", messages.SUCCESS)
        return HttpResponseRedirect(keep_filters(self, request, reverse("admin:calls_call_changelist")))

    def _beside(self, request: HttpRequest, call: Call) -> tuple[str, str]:
        """Links to the calls before and after this one in the list that led here, even if it has left that."""
        asked = copy(request)
        asked.GET = QueryDict(request.GET.get(FILTERS, ""))
        asked.reads_no_page = True  # type: ignore[attr-defined]
        try:
            pages = self.get_changelist_instance(asked)
        except (IncorrectLookupParameters, SuspiciousOperation):
            return "", ""
        ordering = str(pages.get_ordering(asked, pages.queryset)[0])
        before, following = (beside(pages.queryset, ordering, call, after=after) for after in (False, True))
        return self._url(request, before), self._url(request, following)

    def _url(self, request: HttpRequest, call: Call | None) -> str:
        if call is None:
            return ""
        return keep_filters(self, request, reverse("admin:calls_call_change", args=[call.pk]))


def _others(request: HttpRequest, call: Call) -> dict[str, Any]:
    """The latest calls with the other party's number, for those who may see it, and a way to call it."""
    ours, number = call.to_number, call.from_number
    if call.direction.startswith("outbound"):
        ours, number = number, ours
    if not may_see(request) or is_nobodys(number):
        return {}
    context: dict[str, Any] = {
        "others": [_line(other) for other in with_number(number, call)],
        "others_url": f"{reverse('admin:calls_call_changelist')}?{urlencode({'q': number})}",
        "number": number,
    }
    if may_place(request) and call.ended_at is not None:
        context["call_back_url"] = f"{reverse('admin:calls_call_place')}?{urlencode({'to': number, 'from': ours})}"
    return context


def with_number(number: str, call: Call) -> list[Call]:
    """The latest others from or to it: a query on the index of each."""
    found: dict[int, Call] = {}
    for field in ("from_number", "to_number"):
        others = Call.objects.filter(**{field: number}).exclude(pk=call.pk).order_by("-created_at")
        found |= {other.pk: other for other in others.defer("parameters", "data", "data_at", "notes")[:MOST_OTHERS]}
    return sorted(found.values(), key=lambda other: other.created_at, reverse=True)[:MOST_OTHERS]


def _line(call: Call) -> dict[str, Any]:
    return {
        "url": reverse("admin:calls_call_change", args=[call.pk]),
        "when": cells.time_tag(call.created_at),
        "way": cells.direction_tag(call),
        "handler": call.handler,
        "length": cells.clock(call.audio_samples) if call.audio_samples else "–",
    }
