"""Filters with a name: above the list of calls, and on pages of their own where they are named, renamed and deleted."""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from calls.access.numbers import mask_all, may_see
from calls.admin import spoken
from calls.admin.base import CallMixin, ModelAdmin, staff
from calls.admin.comment_rows import may_comment
from calls.admin.lists import FILTERS
from calls.admin.paging import Pages
from calls.models import Call, SavedView


if TYPE_CHECKING:
    Form = forms.ModelForm[SavedView]
else:
    Form = forms.ModelForm

# As many as stand above the list.
MOST = 50
# Filters list their first 50 values: beyond them, nothing is known of one.
MOST_LISTED = 50
TAKEN = "There is a view of this name already."


def query_of(given: QueryDict, order: str = "") -> str:
    """What filters, sorts or searches the list, in one order; "" if nothing does. A page is no part of it.

    `order` is what it is sorted by, in names of columns.
    """
    known = {name: str(given[name]) for name in given if name in {*FILTERS, "q", "o"}}
    known |= {"o": order} if order else {}
    return urlencode(sorted((name, value) for name, value in known.items() if value.strip()))


def visible(request: HttpRequest) -> list[SavedView]:
    """Everybody's, as far as they hide nothing from who asks, and their own. One query."""
    mine = Q(user=staff(request).pk)
    found = SavedView.objects.filter(mine | Q(user=None)).order_by("name", "pk")
    return [view for view in found if view.user_id or _is_for(request, view)]


def _is_for(request: HttpRequest, view: SavedView) -> bool:
    if "comments" in QueryDict(view.query) and not may_comment(request):
        return False  # to them it would show all calls
    return may_see(request) or not tells_of_somebody(view)


def tells_of_somebody(view: SavedView) -> bool:
    """Whether it may name whom those do not see who see no numbers: what is searched for may be a number or a name."""
    if mask_all(view.name, Call()) != view.name:
        return True
    term = QueryDict(view.query).get("q", "")
    return bool(term) and (spoken.wanted(term) is None or sum(map(str.isdigit, term)) > 2)


class UnknownView(Exception):
    """There is no such view; says which there are."""


def calls_of(name: str, username: str | None = None) -> QuerySet[Call]:
    """What a view shows to somebody who may see all, in its order: everybody's, or that user's own.

    UnknownView if there is none of that name, or the list takes its filters no more.
    """
    views = SavedView.objects.filter(user__username=username) if username else SavedView.objects.everybodys()
    view = views.filter(name__iexact=name).first()
    if view is None:
        there = ", ".join(repr(each) for each in views.values_list("name", flat=True)[:MOST]) or "none"
        raise UnknownView(f"There is no view {name!r} of {username or 'everybody'}; there are {there}.")
    asked = HttpRequest()
    asked.method, asked.GET = "GET", QueryDict(view.query)
    asked.user = view.user or User(is_staff=True, is_superuser=True)
    asked.reads_no_page = True  # type: ignore[attr-defined]
    try:
        found: QuerySet[Call] = admin.site.get_model_admin(Call).get_changelist_instance(asked).rows()  # type: ignore[attr-defined]
    except (IncorrectLookupParameters, SuspiciousOperation) as error:
        raise UnknownView(f"The view {view.name!r} asks for something that the list does not know any more.") from error
    return found


@dataclass(frozen=True)
class Tab:
    name: str
    url: str
    is_current: bool
    is_mine: bool


class SavedViews(CallMixin):
    """Adds this to the admin of calls."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        response = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and response.context_data and "cl" in response.context_data:
            response.context_data["views"] = _tabs(request, response.context_data["cl"])
        return response


def _tabs(request: HttpRequest, pages: Pages) -> dict[str, Any]:
    query, url = query_of(request.GET, pages.named_order), reverse("admin:calls_call_changelist")
    views = visible(request)[:MOST]
    tabs = [Tab(view.name, f"{url}?{view.query}", view.query == query, bool(view.user_id)) for view in views]
    is_saved = any(tab.is_current for tab in tabs)
    save = f"{reverse('admin:calls_savedview_add')}?{urlencode({'query': query})}"
    return {
        "everybodys": [tab for tab in tabs if not tab.is_mine],
        "mine": [tab for tab in tabs if tab.is_mine],
        "all_url": url,
        "is_all": not query,
        "save_url": save if query and not is_saved else "",
        "edit_url": reverse("admin:calls_savedview_changelist")
        if any(_may_edit(request, view) for view in views)
        else "",
        "lacks_its_tag": is_saved and _lacks_its_tag(pages),
    }


def _lacks_its_tag(pages: Pages) -> bool:
    """Whether the list is filtered by a tag that has been deleted."""
    specs = [spec for spec in pages.filter_specs if getattr(spec, "parameter_name", "") == "tag"]
    listed = [str(value) for spec in specs for value, _ in getattr(spec, "lookup_choices", [])]
    tag = pages.params.get("tag")
    return bool(tag) and tag not in listed and len(listed) < MOST_LISTED


def may_share(request: HttpRequest) -> bool:
    return request.user.has_perm("calls.share_views")


def _may_edit(request: HttpRequest, view: SavedView) -> bool:
    return view.user_id == staff(request).pk or (view.user_id is None and may_share(request))


class SavedViewForm(Form):
    #: The admin gives each request a form of its own.
    request: HttpRequest
    everybodys = forms.BooleanField(
        label="For everybody",
        required=False,
        help_text="A view with a search is shown only to those who may see phone numbers, since it may be for one; "
        "“said:…” is shown to all.",
    )

    class Meta:
        model = SavedView
        fields = ("name", "query")
        widgets = {"query": forms.HiddenInput}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["everybodys"] = self.instance.pk is not None and self.instance.user_id is None

    def clean_query(self) -> str:
        return query_of(QueryDict(self.cleaned_data["query"]))

    def clean(self) -> dict[str, Any]:
        super().clean()
        given, view = self.cleaned_data, self.instance
        if "query" in self.fields and not given.get("query"):
            raise forms.ValidationError("Filter, sort or search the list of calls first: then this saves it.")
        view.user = None if given.get("everybodys") and may_share(self.request) else staff(self.request)
        same = SavedView.objects.filter(user=view.user, name__iexact=given.get("name", ""))
        if same.exclude(pk=view.pk).exists():
            self.add_error("name", TAKEN)
        return given


@admin.register(SavedView)
class SavedViewAdmin(ModelAdmin[SavedView]):
    """One's own, and everybody's for those who may share. They are made from the list of calls."""

    form = SavedViewForm
    list_display = ("name", "whose", "opens")
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[SavedView]:
        keys = [view.pk for view in visible(request) if _may_edit(request, view)]
        return super().get_queryset(request).filter(pk__in=keys)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request) and bool(request.GET.get("query") or request.POST.get("query"))

    def has_change_permission(self, request: HttpRequest, obj: SavedView | None = None) -> bool:
        return request.user.has_perm("calls.view_call") and (obj is None or _may_edit(request, obj))

    def has_view_permission(self, request: HttpRequest, obj: SavedView | None = None) -> bool:
        return self.has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: SavedView | None = None) -> bool:
        """With a user go their views, and who may delete the one need not be asked about the others."""
        return self.has_change_permission(request, obj) or (
            obj is not None and request.user.has_perm("auth.delete_user")
        )

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        """Menus have no link to add one: that is above the list of calls."""
        return {**super().get_model_perms(request), "add": False}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Pages

    def get_fieldsets(self, request: HttpRequest, obj: SavedView | None = None) -> Any:
        fields = ["name", *(["everybodys"] if may_share(request) else []), *([] if obj else ["query"])]
        query = obj.query if obj else query_of(QueryDict(request.GET.get("query", request.POST.get("query", ""))))
        shown = format_html("Filtered by <bdi>{}</bdi>", "; ".join(self._words(request, query)) or "nothing")
        return [(None, {"fields": fields, "description": shown if query else ""})]

    def _words(self, request: HttpRequest, query: str) -> Iterator[str]:
        """What a view shows, as the list's filters call it."""
        asked = copy(request)
        asked.GET = QueryDict(query)
        asked.reads_no_page = True  # type: ignore[attr-defined]
        try:
            pages = self.admin_site.get_model_admin(Call).get_changelist_instance(asked)
        except (IncorrectLookupParameters, SuspiciousOperation):
            return
        for spec in pages.filter_specs:
            chosen = [choice["display"] for choice in list(spec.choices(pages))[1:] if choice["selected"]]
            yield from (f"{spec.title}: {word}" for word in chosen)
        if pages.query:
            yield f"search: {pages.query}"
        if "o" in pages.params:
            yield "an order of its own"

    def get_form(self, request: HttpRequest, obj: SavedView | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.request = request  # type: ignore[attr-defined]
        return form

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            with transaction.atomic():
                return super().changeform_view(request, *args, **kwargs)
        except IntegrityError:  # somebody has just taken the name
            self.message_user(request, TAKEN, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        # Its name stands in the form.
        context |= {"title": "Saved view" if kwargs.get("change") else "Save this view", "subtitle": None}
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: SavedView, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = staff(request)
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: SavedView, post_url_continue: str | None = None) -> HttpResponse:
        self.message_user(request, f"Saved as “{obj.name}”.", messages.SUCCESS)
        return HttpResponseRedirect(_url(obj))

    @admin.display(description="Whose")
    def whose(self, view: SavedView) -> str:
        return "yours" if view.user_id else "everybody's"

    @admin.display(description="Calls")
    def opens(self, view: SavedView) -> str:
        return format_html('<a href="{}">Show</a>', _url(view))


def _url(view: SavedView) -> str:
    return f"{reverse('admin:calls_call_changelist')}?{view.query}"
