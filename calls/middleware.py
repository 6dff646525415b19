"""Twilio's way past what pages need; what browsers may do with them, and who gets to see those of the staff."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import Resolver404, ResolverMatch, resolve, reverse
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin
from django.utils.http import urlencode

from calls.access import auditing, second_factor, sessions
from calls.access.auditing import Event
from calls.access.second_factor import Owed
from calls.addresses import ADMIN, API, API_DOCS, INCOMING, WEBHOOKS


# Callers choose their names and parameters: even if one of them found a way around the escaping, nothing would run.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
# Where a session with something to show still gets to.
_AT_THE_GATE = ("admin:login", "admin:logout", "admin:second_factor", "admin:sso_start", "admin:sso_callback")


class PagePolicyMiddleware(MiddlewareMixin):
    """Every page, Django's and Ninja's, errors and static files too, runs nothing but our own files."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        # Two headers need no thread, and Twilio's webhooks have them too.
        return self.process_response(request, await self.get_response(request))  # type: ignore[misc]  # it is either kind

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response["Content-Security-Policy"] = _policy(request.path)
        response["X-Content-Type-Options"] = "nosniff"
        return response


def _policy(path: str) -> str:
    """Swagger UI draws its arrows as images in its style sheet."""
    images = "img-src 'self' data:" if path == f"/{API_DOCS}" else "img-src 'self'"
    return CONTENT_SECURITY_POLICY.replace("img-src 'self'", images)


@sync_and_async_middleware
def webhook_middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Answers Twilio's requests past all middlewares that follow: they have no session, no form of ours, no file.

    Each of those would send them to a thread and back, two thirds of what an answer costs without the database; and a
    worker that goes leaves forty callers waiting for one at once.
    """
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            if webhook := _webhook(request):
                return _with_length(await webhook.func(request, **webhook.kwargs))
            response: HttpResponseBase = await get_response(request)
            return response

        return answer_async

    def answer(request: HttpRequest) -> HttpResponseBase:
        if webhook := _webhook(request):
            return _with_length(async_to_sync(webhook.func)(request, **webhook.kwargs))
        response: HttpResponseBase = get_response(request)
        return response

    return answer


def _webhook(request: HttpRequest) -> ResolverMatch | None:
    """The view that Twilio asks; None if it is none of them, or none that there is. Raises DisallowedHost."""
    path = request.path_info.removeprefix("/")
    if path not in WEBHOOKS and not path.startswith(f"{INCOMING}/"):
        return None
    request.get_host()
    try:
        request.resolver_match = resolve(request.path_info)
    except Resolver404:
        return None
    return request.resolver_match


def _with_length(response: HttpResponse) -> HttpResponse:
    """As CommonMiddleware has it."""
    response["Content-Length"] = str(len(response.content))
    return response


class GateMiddleware(MiddlewareMixin):
    """Ends sessions whose user may do something else by now, and asks for the second factor before any page."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        # Twilio waits for no thread of this one.
        if not _knows_users(request.path):
            return await self.get_response(request)  # type: ignore[no-any-return, misc]  # it is either kind
        return await super().__acall__(request)

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        if not _knows_users(request.path):
            return None
        auditing.asking.set(request)
        try:
            return self._admit(request)
        except PermissionDenied:
            # Then no `process_response` of ours follows.
            auditing.asking.set(None)
            raise

    def _admit(self, request: HttpRequest) -> HttpResponseBase | None:
        if request.session.session_key is None:
            return None
        user = request.user
        if not isinstance(user, User):
            return None
        if sessions.is_outdated(user, request.session):
            auditing.record(Event.SESSION_ENDED, user, user=user)
            request.session.flush()
            request.user = AnonymousUser()
            messages.warning(request, "What you may do here has changed. Log in again.")
            return None
        if second_factor.owed(user, request.session) is Owed.NOTHING or request.path in map(reverse, _AT_THE_GATE):
            return None
        return _to_the_second_factor(request)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        auditing.asking.set(None)
        return response


def _knows_users(path: str) -> bool:
    return path.startswith((f"/{ADMIN}", f"/{API}"))


def _to_the_second_factor(request: HttpRequest) -> HttpResponseRedirect:
    """For a page that somebody opens. What sends or fetches something is refused: nothing of it is done."""
    if request.method not in ("GET", "HEAD") or "application/json" in request.headers.get("Accept", ""):
        raise PermissionDenied("A second factor has to be shown first.")
    where = urlencode({"next": request.get_full_path()})
    return redirect(f"{reverse('admin:second_factor')}?{where}")
