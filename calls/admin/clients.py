"""The programs that may read calls over the API: made, renewed and revoked here; a token is shown once."""

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from calls.access.programs import issue
from calls.addresses import API, absolute
from calls.admin.base import ModelAdmin, staff
from calls.admin.cells import time_tag
from calls.admin.paging import Pages
from calls.models import ApiClient


MANAGE = "calls.manage_apiclients"
_FLAGS = ("may_listen", "may_download", "may_see_numbers")


if TYPE_CHECKING:
    ModelForm = forms.ModelForm[ApiClient]
else:
    ModelForm = forms.ModelForm


class ClientForm(ModelForm):
    user: ClassVar[User]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if lacking := lacks(self.user, self._given(cleaned)):
            raise ValidationError(f"Nobody gives a client what they may not do themselves: {', '.join(lacking)}.")
        return cleaned

    def _given(self, cleaned: dict[str, Any]) -> set[str]:
        """What the client may do from now on and could not before; a revoked or expired one could do nothing."""
        before = self.instance
        could = set(before.permissions) if before.pk and before.is_good else set()
        after = ApiClient(**{name: cleaned.get(name) for name in (*_FLAGS, "is_active", "expires_at")})
        lasts_longer = before.expires_at and (after.expires_at is None or after.expires_at > before.expires_at)
        return set(after.permissions) - (set() if lasts_longer else could) if after.is_good else set()


def lacks(user: User, permissions: set[str] | list[str]) -> list[str]:
    """Which of them this member of staff does not have."""
    return sorted(name for name in permissions if not user.has_perm(f"calls.{name}"))


@admin.register(ApiClient)
class ApiClientAdmin(ModelAdmin[ApiClient]):
    form = ClientForm
    list_display = ("name", "state", "may", "used", "made")
    list_select_related = ("created_by",)
    list_per_page = 100
    search_fields = ("name",)
    actions = ("revoke",)
    fieldsets = (
        (None, {"fields": ("name",)}),
        ("It may read calls and their figures, and", {"fields": _FLAGS}),
        ("Until when", {"fields": ("expires_at", "is_active")}),
    )

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MANAGE)

    def has_view_permission(self, request: HttpRequest, obj: ApiClient | None = None) -> bool:
        return request.user.has_perm(MANAGE)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MANAGE)

    def has_change_permission(self, request: HttpRequest, obj: ApiClient | None = None) -> bool:
        return request.user.has_perm(MANAGE)

    def has_delete_permission(self, request: HttpRequest, obj: ApiClient | None = None) -> bool:
        """It is revoked, and stays: what it read is on record."""
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Pages

    def get_urls(self) -> list[URLPattern]:
        renew = self.admin_site.admin_view(self.renew)
        return [path("<int:pk>/renew/", renew, name="calls_apiclient_renew"), *super().get_urls()]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"user": staff(request)})

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """One at a time: each new one's token has to be taken down."""
        buttons = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().changeform_view(request, object_id, form_url, {**buttons, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: ApiClient, form: Any, change: bool) -> None:
        if change:
            # Of the rest somebody else may have made a new token just now.
            obj.save(update_fields=form.changed_data)
            return
        obj.created_by = staff(request)
        vars(obj)["token"] = issue(obj)
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: ApiClient, post_url_continue: str | None = None) -> HttpResponse:
        return self._show(request, obj, vars(obj)["token"])

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def renew(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Asks whether the client shall have a new token, and gives it one: whoever makes it could use it."""
        client = get_object_or_404(ApiClient, pk=pk)
        if not self.has_change_permission(request, client) or lacks(staff(request), client.permissions):
            raise PermissionDenied("Whoever makes a token may do themselves what it is for.")
        if request.method == "POST":
            token = issue(client)
            client.save(update_fields=["key", "digest"])
            self.log_change(request, client, "Gave it a new token")
            return self._show(request, client, token)
        context = self._frame(request, client) | {"title": f"New token: {client}"}
        return TemplateResponse(request, "admin/calls/apiclient/renew.html", context)

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiClient]) -> None:
        clients = list(queryset.filter(is_active=True))
        ApiClient.objects.filter(pk__in=[client.pk for client in clients]).update(is_active=False)
        for client in clients:
            self.log_change(request, client, "Revoked")
        count = f"{len(clients)} client{'' if len(clients) == 1 else 's'}"
        self.message_user(request, f"Revoked: {count}.", messages.SUCCESS)

    def _show(self, request: HttpRequest, client: ApiClient, token: str) -> HttpResponse:
        context = self._frame(request, client) | {"token": token, "example": absolute(f"{API}v1/calls?limit=5")}
        response = TemplateResponse(request, "admin/calls/apiclient/token.html", context)
        response["Cache-Control"] = "no-store, private"
        return response

    def _frame(self, request: HttpRequest, client: ApiClient) -> dict[str, Any]:
        frame = {**self.admin_site.each_context(request), "opts": self.opts, "client": client}
        return {**frame, "title": client.name, "back_url": reverse("admin:calls_apiclient_change", args=[client.pk])}

    @admin.display(description="Token")
    def state(self, client: ApiClient) -> SafeString:
        tone, word = (
            ("good", "Good") if client.is_good else ("quiet", "Expired") if client.is_active else ("bad", "Revoked")
        )
        return format_html('<span class="call-status call-{}">{}</span>', tone, word)

    @admin.display(description="May read")
    def may(self, client: ApiClient) -> str:
        words = {"may_listen": "words", "may_download": "recordings", "may_see_numbers": "numbers"}
        return ", ".join(["calls", *(word for name, word in words.items() if getattr(client, name))])

    @admin.display(description="Last used", ordering="last_used_at")
    def used(self, client: ApiClient) -> str:
        return time_tag(client.last_used_at) if client.last_used_at else "never"

    @admin.display(description="Made", ordering="created_at")
    def made(self, client: ApiClient) -> SafeString:
        return format_html("{}, by {}", time_tag(client.created_at), client.created_by or "a deleted user")
