"""What all of our admin pages share: nobody adds or deletes facts, and the way back to a list is kept."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.template.response import TemplateResponse

from calls.admin.paging import Pages
from calls.models import Call


ModelT = TypeVar("ModelT", bound=Model)
View = TypeVar("View", bound=Callable[..., HttpResponseBase])

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin
    CallMixin = admin.ModelAdmin[Call]
else:
    # What adds to the admin of calls is one only to the type checker.
    CallMixin = object

    class ModelAdmin(admin.ModelAdmin):
        """Django's own, which its type stubs know as generic and Python does not."""

        def __class_getitem__(cls, model: type[Model]) -> type:
            return cls


# Where a view says with which methods it waits for Twilio, or for another process of ours.
_TWILIO, _WORKER = "waits_for_twilio", "waits_for_worker"


def asks_twilio(*methods: str) -> Callable[[View], View]:
    """Marks a view that waits for Twilio's REST API, which may be slow or silent: it holds up no other page then."""
    return _mark(_TWILIO, methods)


def asks_worker(*methods: str) -> Callable[[View], View]:
    """The same for one that waits for the process which holds a call, or converts a file meanwhile."""
    return _mark(_WORKER, methods)


def _mark(name: str, methods: tuple[str, ...]) -> Callable[[View], View]:
    def mark(view: View) -> View:
        vars(view)[name] = methods
        return view

    return mark


def waits_for_twilio(view: Callable[..., Any], method: str) -> bool:
    return method in getattr(view, _TWILIO, ())


def waits_for_worker(view: Callable[..., Any], method: str) -> bool:
    return method in getattr(view, _WORKER, ())


def staff(request: HttpRequest) -> User:
    """Who asks, for the type checker and for the record."""
    assert isinstance(request.user, User), "admin_view lets nobody else in"
    return request.user


def keep_filters(model_admin: "ModelAdmin[Any]", request: HttpRequest, url: str) -> str:
    """A page's address with the way back to the list as it was filtered; the list's own address, filtered so."""
    kept: dict[str, Any] = {"opts": model_admin.opts, "preserved_filters": model_admin.get_preserved_filters(request)}
    return str(add_preserved_filters(kept, url))


def own_page(
    model_admin: "ModelAdmin[Any]", request: HttpRequest, name: str, context: dict[str, Any]
) -> HttpResponseBase:
    """A page that Django's admin does not have, in its frame, and with the way back to the filtered list."""
    frame = {**model_admin.admin_site.each_context(request), "opts": model_admin.opts}
    frame["preserved_filters"] = model_admin.get_preserved_filters(request)
    return TemplateResponse(request, f"admin/calls/call/{name}.html", {**frame, **context})


class FactsAdmin(ModelAdmin[ModelT]):
    """Rows that Twilio and the recorder write: to be looked at, not to be added, changed or deleted."""

    show_full_result_count = False
    list_max_show_all = 0
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ModelT | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ModelT | None = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Pages


def is_script(request: HttpRequest) -> bool:
    """Whether a page's own script asks, and not a browser that shows what it gets."""
    return "application/json" in request.headers.get("Accept", "")


def private_json(found: dict[str, Any], status: int = 200) -> JsonResponse:
    """For a script. What it says of calls is kept nowhere on its way."""
    response = JsonResponse(found, status=status)
    response["Cache-Control"] = "no-store, private"
    return response
