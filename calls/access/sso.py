"""Single sign-on by OpenID Connect: who somebody is, and in which groups, their provider says.

mozilla-django-oidc has the flow: authorization code, PKCE, state and nonce. What it leaves to its users is here: whom a
token was issued by and for, that `sub` names the person, and what the claims allow. Imported only where OIDC_ISSUER is
set. https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation
"""

import logging
import time
from typing import Any, ClassVar
from urllib.parse import urlencode

import jwt
import requests
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Group, User
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from calls.access import auditing
from calls.access.auditing import Event
from calls.access.logins import Arrival
from calls.addresses import absolute
from calls.models import Identity


logger = logging.getLogger(__name__)

# Seconds that each request to the provider may take, and that its configuration is kept.
PATIENCE, KEPT = 5, 3600.0
# Seconds that somebody has to log in at the provider.
AT_THE_PROVIDER = 600
# What OpenID Connect has every provider sign with.
ALGORITHM = "RS256"


class NotLetIn(Exception):
    """The provider knows them, and we do not let them in. Says why, to them too."""


class Provider:
    """What the provider says about itself. https://openid.net/specs/openid-connect-discovery-1_0.html"""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        self._until = 0.0

    def __getitem__(self, name: str) -> str:
        """One of its endpoints. requests.RequestException, ValueError or KeyError if it does not say."""
        if time.monotonic() >= self._until or self._found.get("issuer") != settings.OIDC_ISSUER:
            response = requests.get(f"{settings.OIDC_ISSUER}/.well-known/openid-configuration", timeout=PATIENCE)
            response.raise_for_status()
            found = response.json()
            if found["issuer"].rstrip("/") != settings.OIDC_ISSUER:
                raise ValueError(f"OIDC_ISSUER is {settings.OIDC_ISSUER}, and the provider says {found['issuer']}")
            # As its tokens have it, perhaps with a slash.
            self.issuer: str = found["issuer"]
            self._found, self._until = {**found, "issuer": settings.OIDC_ISSUER}, time.monotonic() + KEPT
        return self._found[name]


provider = Provider()


class Backend(OIDCAuthenticationBackend):
    def __init__(self) -> None:
        # Not the package's own, which wants all endpoints: this is made for each request of a session, too.
        self.UserModel = User
        self.OIDC_RP_CLIENT_ID = settings.OIDC_RP_CLIENT_ID
        self.OIDC_RP_CLIENT_SECRET = settings.OIDC_RP_CLIENT_SECRET
        self.OIDC_RP_SIGN_ALGO = ALGORITHM
        self.OIDC_RP_IDP_SIGN_KEY = None

    @property
    def OIDC_OP_TOKEN_ENDPOINT(self) -> str:
        return provider["token_endpoint"]

    @property
    def OIDC_OP_JWKS_ENDPOINT(self) -> str:
        return provider["jwks_uri"]

    @property
    def OIDC_OP_USER_ENDPOINT(self) -> str:
        return provider["userinfo_endpoint"]

    def authenticate(  # type: ignore[override]  # nobody asks it for a name and a password
        self, request: HttpRequest | None, **credentials: Any
    ) -> User | None:
        """Only what our own callback brings: Django asks each backend at a login by password as well."""
        if not credentials.get("nonce"):
            return None
        user: User | None = super().authenticate(request, **credentials)  # type: ignore[no-untyped-call]
        return user

    def get_user(self, user_id: int) -> User | None:
        """Django's own: the package's would go on with an account that was deactivated."""
        return ModelBackend.get_user(self, user_id)

    def retrieve_matching_jwk(self, token: str) -> jwt.PyJWK:
        """The one key that can have signed it; a token need not name it where there is only one (RFC 7517, 4.5).

        Keys change rarely, and logins are few: they are asked for each time, and so is a new one at once.
        """
        response = requests.get(self.OIDC_OP_JWKS_ENDPOINT, timeout=PATIENCE)
        response.raise_for_status()
        named = jwt.get_unverified_header(token).get("kid")
        keys = [key for key in jwt.PyJWKSet.from_dict(response.json()).keys if key.algorithm_name == ALGORITHM]
        found = [key for key in keys if key.public_key_use != "enc" and named in (None, key.key_id)]
        if len(found) != 1:
            raise SuspiciousOperation("The provider has no such key.")
        return found[0]

    def _verify_jws(self, payload: str, key: Any) -> dict[str, Any]:
        """An ID token that was signed by this provider, for us, and is not over. jwt.PyJWTError."""
        provider["jwks_uri"]
        found: dict[str, Any] = jwt.decode(
            payload,
            key,
            algorithms=[ALGORITHM],
            audience=self.OIDC_RP_CLIENT_ID,
            issuer=provider.issuer,
            leeway=30,
            options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"]},
        )
        if found.get("azp", self.OIDC_RP_CLIENT_ID) != self.OIDC_RP_CLIENT_ID:
            raise jwt.InvalidAudienceError("azp names another client")
        return found

    def get_or_create_user(self, access_token: str, id_token: str, payload: dict[str, Any]) -> User:
        """The account of whoever that is, with the groups that the claims give. NotLetIn."""
        try:
            said = self.get_userinfo(access_token, id_token, payload)  # type: ignore[no-untyped-call]
        except KeyError:
            # A provider need not have that place; all that it says is in the token then.
            said = payload
        if said.get("sub") != payload["sub"]:
            raise SuspiciousOperation("The ID token and the user info are about two people.")
        claims = {**said, **payload}
        with auditing.via("single sign-on"):
            user, why_not = _admit(claims, payload["sub"])
        if why_not or user is None:
            raise NotLetIn(why_not)
        return user


def _admit(claims: dict[str, Any], subject: str) -> tuple[User | None, str]:
    """The account, and why it may not come in. What was taken from it stays taken, even if it may not."""
    names, is_chief = _groups(claims)
    may = "" if names or is_chief else "None of your groups there has access here."
    with transaction.atomic():
        known = Identity.objects.select_related("user").filter(issuer=settings.OIDC_ISSUER, subject=subject).first()
        user = known.user if known else None
        if user is None:
            if may:
                return None, may
            user = _account(claims, subject)
            Identity.objects.create(user=user, issuer=settings.OIDC_ISSUER, subject=subject)
        _allow(user, names, is_chief)
    return user, may or ("" if user.is_active else "Your account is not active.")


def _groups(claims: dict[str, Any]) -> tuple[set[str], bool]:
    """The names of our groups that the claim stands for, and whether it makes a superuser."""
    claimed = claims.get(settings.OIDC_GROUPS_CLAIM, [])
    values = {claimed} if isinstance(claimed, str) else {str(value) for value in claimed}
    names = {name for value, name in settings.OIDC_GROUPS.items() if value in values}
    return names, bool(settings.OIDC_SUPERUSERS) and settings.OIDC_SUPERUSERS in values


def _account(claims: dict[str, Any], subject: str) -> User:
    """A new account, or the one of that name which somebody has made for it: without a password, and no superuser's.

    Whoever can choose their name at the provider gets nobody else's account by it.
    """
    name = str(claims.get(settings.OIDC_USERNAME_CLAIM) or claims.get("email") or subject)[:150]
    if name == claims.get("email") and claims.get("email_verified") is False:
        raise NotLetIn("Your address is not verified there.")
    try:
        User.username_validator(name)
    except ValidationError:
        raise NotLetIn("Your name there cannot be one here.") from None
    if there := User.objects.filter(username__iexact=name).first():
        if there.has_usable_password() or there.is_superuser or Identity.objects.filter(user=there).exists():
            raise NotLetIn("There is an account of this name already.")
        return there
    email = str(claims.get("email") or "")[:254]
    return User.objects.create_user(name, email)


def _allow(user: User, names: set[str], is_chief: bool) -> None:
    """Gives and takes those groups that OIDC_GROUPS names, and leaves all others alone."""
    ours = Group.objects.filter(name__in=set(settings.OIDC_GROUPS.values()))
    there = set(user.groups.all())
    given = {group for group in ours if group.name in names}
    user.groups.add(*(given - there))
    user.groups.remove(*((there & set(ours)) - given))
    before = (user.is_staff, user.is_superuser)
    if settings.OIDC_SUPERUSERS:
        user.is_superuser = is_chief
    user.is_staff = bool(names) or user.is_superuser
    if (user.is_staff, user.is_superuser) != before:
        user.save(update_fields=["is_staff", "is_superuser"])


class Start(OIDCAuthenticationRequestView):
    """Sends the browser to the provider."""

    def __init__(self, **kwargs: Any) -> None:
        # The package's own would want the endpoint before there is a request to refuse.
        super(OIDCAuthenticationRequestView, self).__init__(**kwargs)
        self.OIDC_RP_CLIENT_ID = settings.OIDC_RP_CLIENT_ID

    @property
    def OIDC_OP_AUTH_ENDPOINT(self) -> str:
        return provider["authorization_endpoint"]

    def get(self, request: HttpRequest) -> HttpResponse:
        # It leaves a session behind, of whoever asks.
        if wait := Arrival(request.META.get("REMOTE_ADDR", "")).take():
            return _back(request, f"Too many attempts to log in. Wait {wait} seconds, then try again.")
        try:
            response: HttpResponse = super().get(request)  # type: ignore[no-untyped-call]
        except (requests.RequestException, ValueError, KeyError) as error:
            return _away(request, error)
        if not request.user.is_authenticated:
            request.session.set_expiry(AT_THE_PROVIDER)
        return response


class Callback(OIDCAuthenticationCallbackView):
    """The browser is back from there."""

    # What is wrong with an answer, in whichever words: a token that is not for us, a state that is not this browser's.
    WRONG: ClassVar = (SuspiciousOperation, jwt.PyJWTError, KeyError, TypeError, ValueError)

    def get(self, request: HttpRequest) -> HttpResponse:
        if "error" in request.GET:
            return self.login_failure()
        try:
            response: HttpResponse = super().get(request)  # type: ignore[no-untyped-call]
        except NotLetIn as error:
            return _refused(request, str(error), str(error))
        except requests.RequestException as error:
            return _away(request, error)
        except self.WRONG as error:
            logger.warning("sso_refused an answer that is not the provider's to this browser: %s", _brief(error))
            return _refused(request, "What the provider said could not be verified. Try again.", type(error).__name__)
        if request.user.is_authenticated:
            # The time for logging in is over; the session has its own.
            request.session.set_expiry(None)
        return response

    @property
    def success_url(self) -> str:
        return self.request.session.get("oidc_login_next") or reverse("admin:index")

    def login_failure(self) -> HttpResponse:
        return _refused(self.request, "You were not logged in there. Try again.", "no code")


def _refused(request: HttpRequest, words: str, reason: str) -> HttpResponse:
    auditing.record(Event.SSO_REFUSED, detail={"reason": reason})
    return _back(request, words)


def _away(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("sso_away the provider cannot be asked: %s", _brief(error))
    return _back(request, "The provider of single sign-on does not answer. Try again in a moment.")


def _back(request: HttpRequest, words: str) -> HttpResponse:
    messages.error(request, words)
    return redirect("admin:login")


def _brief(error: Exception) -> str:
    """Without what a provider answers, which may have a token in it."""
    response = getattr(error, "response", None)
    return f"{type(error).__name__}: HTTP {response.status_code}" if response is not None else type(error).__name__


def leave_url() -> str:
    """Where somebody logs out at the provider too; ours if it has no such place.

    https://openid.net/specs/openid-connect-rpinitiated-1_0.html
    """
    back = absolute(reverse("admin:login"))
    try:
        place = provider["end_session_endpoint"]
    except (requests.RequestException, ValueError, KeyError):
        return back
    query = urlencode({"client_id": settings.OIDC_RP_CLIENT_ID, "post_logout_redirect_uri": back})
    return f"{place}?{query}"
