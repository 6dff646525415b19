"""The admin's login: Django's own, but passwords cannot be guessed at the speed of the machine, and are not all of it.

Outside of `calls.admin`: what is registered there needs the site to exist.
"""

from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path

from calls.access import pages
from calls.access.logins import COOKIE, Guess, remember_browser


class LoginForm(AdminAuthenticationForm):
    #: Seconds until the next guess, if this one came too soon: its password was not checked.
    wait = 0

    def clean(self) -> dict[str, Any]:
        if not (self.cleaned_data.get("username") and self.cleaned_data.get("password")):
            return self.cleaned_data
        assert self.request is not None
        address, cookie = self.request.META.get("REMOTE_ADDR", ""), self.request.COOKIES.get(COOKIE, "")
        guess = Guess(address, self.cleaned_data["username"], cookie)
        if wait := guess.take():
            # The view finds it there.
            self.request.META["calls.login_wait"] = self.wait = wait
            raise ValidationError(f"Too many attempts to log in. Wait {_spoken(wait)}, then try again.")
        cleaned: dict[str, Any] = super().clean()
        guess.give_back()
        return cleaned


# The index has a heading for each: what ops staff look at every day comes first, what one looks up now and then last.
SECTIONS = {
    "Calls": ("Call", "Campaign", "SavedView", "Tag", "Sound"),
    "Reviews": ("ReviewQueue", "Review", "Scorecard"),
    "Alerts": ("Alert", "AlertRule"),
    "On call": ("Worker",),
    "Other systems": ("Receiver", "Delivery", "ApiClient"),
    "On record": ("RecordingAccess", "AuditEntry", "LegalHold", "Erasure", "QuarantinedRow"),
    "Inside the streams": ("Stream", "Utterance", "Mark", "Dtmf", "Gap", "AudioChunk"),
}


class StaffSite(admin.AdminSite):
    login_form = LoginForm
    # The list of calls and a call's page need the whole width, and a page is where it was on the one before.
    enable_nav_sidebar = False

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Ours first, in sections; on our own page, which has room for one heading, in the sections' order."""
        apps = super().get_app_list(request, app_label)
        ours = [section for app in apps if app["app_label"] == "calls" for section in _sections(app)]
        if app_label == "calls":
            return [{**app, "models": [model for section in ours for model in section["models"]]} for app in apps]
        return [*ours, *(app for app in apps if app["app_label"] != "calls")]

    def get_urls(self) -> list[URLPattern | URLResolver]:
        second_factor = self.admin_view(partial(pages.second_factor_page, site=self))
        own = [
            path("second-factor/", second_factor, name="second_factor"),
            path("sso/", pages.sso_start, name="sso_start"),
            path("sso/callback/", pages.sso_callback, name="sso_callback"),
            path("sso/leave/", pages.sso_leave, name="sso_leave"),
        ]
        return [*own, *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "sso_name": settings.OIDC_NAME if settings.OIDC_ISSUER else ""}

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "POST" and not settings.PASSWORD_LOGIN:
            raise PermissionDenied("PASSWORD_LOGIN is false.")
        response = super().login(request, {**(extra_context or {}), "password_login": settings.PASSWORD_LOGIN})
        if wait := request.META.get("calls.login_wait"):
            response.status_code = 429
            response["Retry-After"] = str(wait)
            # Django would warn of each one; `calls.access.logins` names a flood once.
            response._has_been_logged = True  # type: ignore[attr-defined]
        elif request.method == "POST" and response.status_code == 302 and isinstance(request.user, User):
            remember_browser(response, request.user, secure=request.is_secure())
        return response


def _sections(app: dict[str, Any]) -> list[dict[str, Any]]:
    """Those in which the user may see something. A table that no section names comes last, under the app's own name."""
    rest = {model["object_name"]: model for model in app["models"]}
    found = {name: [rest.pop(one) for one in names if one in rest] for name, names in SECTIONS.items()}
    sections = [*found.items(), (app["name"], list(rest.values()))]
    return [{**app, "name": name, "models": models} for name, models in sections if models]


def _spoken(seconds: int) -> str:
    if seconds < 90:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    return f"{-(-seconds // 60)} minutes"
