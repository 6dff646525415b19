"""Who it is that opens a socket: a page of ours, and the member of staff in whose browser it is."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain
from django.utils.module_loading import import_string

from calls.access import second_factor, sessions
from calls.access.second_factor import Owed


Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

# Why a socket is refused, whatever the reason is: nobody learns which calls there are.
REFUSED = 4404


def own_pages_only(application: Application) -> Application:
    """Refuses the sockets of other sites' pages, which a browser would send our cookies with. It makes no query."""

    async def guarded(scope: dict[str, Any], receive: Any, send: Any) -> None:
        origins = _headers(scope, b"origin")
        hosts = _headers(scope, b"host")
        if len(origins) == len(hosts) == 1 and is_own(origins[0], hosts[0]):
            await application(scope, receive, send)
        elif (await receive())["type"] == "websocket.connect":
            await send({"type": "websocket.close", "code": REFUSED})

    return guarded


def is_own(origin: str, host: str) -> bool:
    """Whether a page of that origin is one of ours: what Django asks of the page that a form comes from."""
    if origin in (settings.PUBLIC_URL, *settings.CSRF_TRUSTED_ORIGINS):
        return True
    domain, _ = split_domain_port(host)
    if domain and validate_host(domain, settings.ALLOWED_HOSTS):
        # No header says which it is that a client could not send as well.
        scheme = "https" if settings.SESSION_COOKIE_SECURE else "http"
        if origin == f"{scheme}://{host}":
            return True
    return any("*" in trusted and _is_below(origin, trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS)


def _is_below(origin: str, pattern: str) -> bool:
    """`https://*.example.org` stands for all of its subdomains."""
    try:
        scheme, name = urlsplit(origin)[:2]
    except ValueError:
        return False
    trusted = urlsplit(pattern)
    return scheme == trusted.scheme and is_same_domain(name, trusted.netloc.lstrip("*"))


def _headers(scope: dict[str, Any], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]


class _Facts(dict[str, Any]):
    """What a session holds. It is looked at only: a socket cannot hand out the cookie of one that is renewed."""

    def cycle_key(self) -> None:
        """Django would, after SECRET_KEY was changed."""

    def flush(self) -> None:
        """Django would, after the password was changed: it does so at the browser's next request."""


def user_of(session_key: str) -> User | None:
    """The member of staff whose session that is by now; None if it is over, or if they are not one any more."""
    # Nothing else is one, and PostgreSQL would object to a NUL.
    if not (session_key.isascii() and session_key.isalnum()):
        return None
    session = import_string(f"{settings.SESSION_ENGINE}.SessionStore")(session_key)
    request = SimpleNamespace(session=_Facts(session.load()), META={})
    user = auth.get_user(cast(HttpRequest, request))
    if isinstance(user, AnonymousUser) or not (user.is_active and user.is_staff):
        return None
    facts = request.session
    if sessions.is_outdated(user, facts) or second_factor.owed(user, facts) is not Owed.NOTHING:
        return None
    return user
