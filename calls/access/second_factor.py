"""The second factor: a code of an app on the telephone (TOTP, RFC 6238), or one of the recovery codes, once each.

django-otp keeps and checks them: no code is taken twice, and each wrong one doubles the time until the next.
Whoever has set one up is asked for it from then on; who has to have one, REQUIRE_SECOND_FACTOR says.
"""

import datetime as dt
from collections.abc import Mapping
from enum import Enum
from typing import Any

import django_otp
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from calls.access import auditing
from calls.access.auditing import Event


# What REQUIRE_SECOND_FACTOR may be.
REQUIRED = ("off", "listeners", "all")
# Who may do one of these is a listener.
LISTENING = ("calls.listen_call", "calls.download_call", "calls.export_call", "calls.supervise_call")
RECOVERY_CODES = 8
# Of a session: a second factor has to be shown in it.
_ASKED = "second_factor_asked"
SSO = "calls.access.sso.Backend"


class Owed(Enum):
    """What stands between somebody's password and the pages."""

    NOTHING = ""
    CODE = "code"
    SET_UP = "set up"


def owed(user: User, session: Mapping[str, Any]) -> Owed:
    """No query, unless a code was shown in this session: then one, whether its device is still there."""
    if (shown := session.get(DEVICE_ID_SESSION_KEY)) and _is_theirs(shown, user):
        return Owed.NOTHING
    if session.get(_ASKED):
        return Owed.CODE
    return Owed.SET_UP if is_required(user, session) else Owed.NOTHING


def is_required(user: User, session: Mapping[str, Any]) -> bool:
    if _is_seen_to(session):
        return False
    if settings.REQUIRE_SECOND_FACTOR == "listeners":
        return any(user.has_perm(name) for name in LISTENING)
    return bool(settings.REQUIRE_SECOND_FACTOR == "all")


def _is_seen_to(session: Mapping[str, Any]) -> bool:
    """Whether the provider of single sign-on has asked for one."""
    return bool(settings.OIDC_HAS_SECOND_FACTOR) and session.get(BACKEND_SESSION_KEY) == SSO


def _is_theirs(persistent_id: str, user: User) -> bool:
    device = Device.from_persistent_id(persistent_id)
    return device is not None and device.user_id == user.pk and device.confirmed


def device_of(user: User) -> TOTPDevice | None:
    """The app that they have set up, if they have."""
    return TOTPDevice.objects.filter(user=user, confirmed=True).first()


def new_device(user: User) -> TOTPDevice:
    """The one that they are setting up; always the same until they have."""
    device: TOTPDevice = TOTPDevice.objects.get_or_create(user=user, confirmed=False, defaults={"name": "app"})[0]
    return device


def check(request: HttpRequest, user: User, code: str) -> int:
    """0 if the code is right: the session is whole then. If not, the seconds until the next one may be tried."""
    code = "".join(code.split()).lower()
    device = device_of(user) if code.isdigit() else StaticDevice.objects.filter(user=user, confirmed=True).first()
    if device is None:
        auditing.record(Event.FACTOR_FAILED, user, {"reason": "no such code"}, user=user)
        return 1
    if seconds := _wait(device):
        return seconds
    if not django_otp.verify_token(user, device.persistent_id, code):
        auditing.record(Event.FACTOR_FAILED, user, user=user)
        device.refresh_from_db()
        return max(1, _wait(device))
    if isinstance(device, StaticDevice):
        # The code is gone; the session goes on as that of the app which it stands in for.
        left = {"recovery_codes_left": device.token_set.count()}
        auditing.record(Event.FACTOR_USED, user, left, user=user)
    else:
        auditing.record(Event.FACTOR_USED, user, user=user)
    _let_in(request, device)
    return 0


def _wait(device: TOTPDevice | StaticDevice) -> int:
    allowed, why = device.verify_is_allowed()  # type: ignore[no-untyped-call]
    if allowed:
        return 0
    until: dt.datetime = why["locked_until"]
    return max(1, round((until - timezone.now()).total_seconds() + 0.5))


def set_up(request: HttpRequest, user: User, code: str) -> list[str]:
    """The recovery codes, if the code shows that the app has the key; empty if it does not."""
    device = new_device(user)
    if not (code := "".join(code.split())).isdigit() or not django_otp.verify_token(user, device.persistent_id, code):
        return []
    with transaction.atomic():
        # Two tabs may be setting one up: one of them is it.
        TOTPDevice.objects.filter(user=user).exclude(pk=device.pk).delete()
        TOTPDevice.objects.filter(pk=device.pk).update(confirmed=True)
        codes = new_codes(user)
        auditing.record(Event.FACTOR_SET, user, user=user)
    device.confirmed = True
    _let_in(request, device)
    return codes


def new_codes(user: User) -> list[str]:
    """Recovery codes of 40 random bits, in place of those before."""
    with transaction.atomic():
        # The device stays: a session may be open in which one of its codes was shown.
        device, _ = StaticDevice.objects.get_or_create(user=user, defaults={"name": "recovery codes"})
        device.token_set.all().delete()
        codes = [StaticToken.random_token() for _ in range(RECOVERY_CODES)]
        StaticToken.objects.bulk_create(StaticToken(device=device, token=code) for code in codes)
    return codes


def remove(user: User) -> bool:
    """Whether there was one. Sessions in which it was shown are asked again, if it is required."""
    with transaction.atomic():
        found = [model.objects.filter(user=user).delete()[0] for model in (TOTPDevice, StaticDevice)]
    return any(found)


def _let_in(request: HttpRequest, device: Device) -> None:
    # As after a password: whoever knew the session's key before does not know that of the one with more rights.
    request.session.cycle_key()
    request.session.pop(_ASKED, None)
    django_otp.login(request, device)


def _begin(request: HttpRequest, user: User, **kwargs: Any) -> None:
    """A session begins: whoever has a second factor is asked for it."""
    if device_of(user) and not _is_seen_to(request.session):
        request.session[_ASKED] = True


def connect() -> None:
    user_logged_in.connect(_begin)
