"""The pages of the second factor and of single sign-on, which the admin's site has beside its own."""

from base64 import b32encode
from typing import TYPE_CHECKING, Any

import segno
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.plugins.otp_totp.models import TOTPDevice

from calls.access import auditing, second_factor
from calls.access.auditing import Event
from calls.access.second_factor import Owed


if TYPE_CHECKING:
    from calls.access.site import StaffSite


@sensitive_post_parameters("code")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def second_factor_page(request: HttpRequest, site: "StaffSite") -> HttpResponseBase:
    """Asks for a code, or lets somebody set a second factor up, or look after the one that they have."""
    user = request.user
    assert isinstance(user, User), "admin_view lets nobody else in"
    if second_factor.device_of(user) is None:
        return _set_up(request, user, site)
    # Also in a session that began before it was set up elsewhere.
    is_shown = DEVICE_ID_SESSION_KEY in request.session
    if not is_shown or second_factor.owed(user, request.session) is not Owed.NOTHING:
        return _ask(request, user, site)
    return _look_after(request, user, site)


def _ask(request: HttpRequest, user: User, site: "StaffSite") -> HttpResponseBase:
    error, status = "", 200
    if request.method == "POST":
        wait = second_factor.check(request, user, request.POST.get("code", "")[:32])
        if not wait:
            return redirect(_next(request))
        error, status = _not_it(wait), 403
    return _page(request, site, "ask", "Second factor", status, error=error)


def _not_it(wait: int) -> str:
    return f"That is not it. You may try again in {wait} second{'' if wait == 1 else 's'}."


def _set_up(request: HttpRequest, user: User, site: "StaffSite") -> HttpResponseBase:
    error = ""
    if request.method == "POST":
        if codes := second_factor.set_up(request, user, request.POST.get("code", "")[:32]):
            return _codes(request, site, codes)
        error = "That is not the code that your app should show now. Is the time on your telephone right?"
    device = second_factor.new_device(user)
    facts = {"qr": _qr(device), "key": _key(device), "is_required": second_factor.is_required(user, request.session)}
    return _page(request, site, "set_up", "Set up a second factor", 403 if error else 200, error=error, **facts)


def _look_after(request: HttpRequest, user: User, site: "StaffSite") -> HttpResponseBase:
    error = ""
    if request.method == "POST":
        if not (wait := second_factor.check(request, user, request.POST.get("code", "")[:32])):
            if "remove" in request.POST:
                second_factor.remove(user)
                auditing.record(Event.FACTOR_REMOVED, user, user=user)
                messages.success(request, "Your second factor is removed.")
                return redirect("admin:index")
            codes = second_factor.new_codes(user)
            auditing.record(Event.CODES_MADE, user, user=user)
            return _codes(request, site, codes)
        error = _not_it(wait)
    return _page(request, site, "look_after", "Second factor", 403 if error else 200, error=error)


def _codes(request: HttpRequest, site: "StaffSite", codes: list[str]) -> HttpResponseBase:
    response = _page(request, site, "codes", "Recovery codes", codes=codes)
    response["Cache-Control"] = "no-store, private"
    return response


def _page(
    request: HttpRequest, site: "StaffSite", name: str, title: str, status: int = 200, **facts: Any
) -> HttpResponse:
    context = {**site.each_context(request), "title": title, "next": _next(request), **facts}
    return TemplateResponse(request, f"admin/second_factor/{name}.html", context, status=status)


def _next(request: HttpRequest) -> str:
    """Where somebody was going, on this site."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if is_ours else reverse("admin:index")


def _key(device: TOTPDevice) -> str:
    """As people type it: base32, in fours."""
    text = b32encode(device.bin_key).decode()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def _qr(device: TOTPDevice) -> SafeString:
    """For the app's camera: SVG in the page itself, drawn without styles, so that the pages' policy allows it."""
    image = segno.make(device.config_url, error="m", micro=False)
    drawn = image.svg_inline(scale=1, border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr", lineclass=None)
    return mark_safe(drawn)


# --- single sign-on: imported only where it is set up -----------------------------------------------------------------


def sso_start(request: HttpRequest) -> HttpResponseBase:
    _need_sso()
    from calls.access.sso import Start

    response: HttpResponseBase = Start.as_view()(request)
    return response


def sso_callback(request: HttpRequest) -> HttpResponseBase:
    _need_sso()
    from calls.access.sso import Callback

    response: HttpResponseBase = Callback.as_view()(request)
    return response


def sso_leave(request: HttpRequest) -> HttpResponseBase:
    """To where somebody logs out at the provider too."""
    _need_sso()
    from calls.access.sso import leave_url

    if request.user.is_authenticated:
        raise PermissionDenied("Log out here first.")
    return redirect(leave_url())


def _need_sso() -> None:
    if not settings.OIDC_ISSUER:
        raise Http404
