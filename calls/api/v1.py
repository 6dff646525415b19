"""The API's first version: who is let in, what is said when something is wrong, and its own documentation.

Everything in it only reads, and is answered on threads of its own (calls/process/pools.py).
"""

import logging
from collections.abc import Callable
from functools import wraps

from django.contrib.auth.views import redirect_to_login
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, path
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI, Swagger
from ninja.errors import AuthenticationError, ValidationError
from ninja.operation import Operation
from ninja.security import HttpBearer

from calls import vault
from calls.access.programs import NoSuchToken, Program, TooManyTokens, log_in
from calls.addresses import API_DOCS
from calls.api import calls, conversation, recordings
from calls.api.answers import Refused, not_found, nowhere, of_validation, refusal
from calls.files.ranges import unreadable
from calls.store import ArchiveError


logger = logging.getLogger(__name__)

View = Callable[..., HttpResponseBase]
_NO_TOKEN = "Send a client's token: Authorization: Bearer cs_…"


class Token(HttpBearer):
    """The token of a client, as the admin shows it once when the client is made."""

    def authenticate(self, request: HttpRequest, token: str) -> Program | None:
        try:
            return log_in(request, token)
        except NoSuchToken:
            return None
        except TooManyTokens as error:
            raise Refused(429, "too_many", "Too many wrong tokens came from your address.", error.seconds) from error


def for_readers(view: View) -> View:
    """For whoever may read the documentation: staff in their browsers, and programs with their tokens."""

    @wraps(view, updated=())
    def checked(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if request.user.is_active and getattr(request.user, "is_staff", False):
            return view(request, *args, **kwargs)
        if request.path == f"/{API_DOCS}":
            return redirect_to_login(request.get_full_path())
        try:
            known = token(request)
        except Refused as error:
            return _refused(request, error)
        return view(request, *args, **kwargs) if known else refusal(401, "unauthorized", _NO_TOKEN)

    return checked


class Api(NinjaAPI):
    def get_openapi_operation_id(self, operation: Operation) -> str:
        """What code that is made of the document calls it."""
        return operation.view_func.__name__


token = Token()
api = Api(
    title="Callstream",
    version="1",
    description="Calls, what was said in them, and their recordings. Read only; every answer with words or sound is "
    "on record. All times are UTC; positions are ms of a call's recording.",
    auth=token,
    docs=Swagger(
        {
            "persistAuthorization": False,
            "tryItOutEnabled": True,
            "displayRequestDuration": True,
            "defaultModelsExpandDepth": 0,
        }
    ),
    docs_decorator=for_readers,
    urls_namespace="api-1",
)
for each in (calls, conversation, recordings):
    api.add_router("/calls", each.router)


@api.exception_handler(Refused)
def _refused(request: HttpRequest, error: Refused) -> HttpResponse:
    return refusal(error.status, error.code, error.message, error.wait)


@api.exception_handler(AuthenticationError)
def _unknown(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    said = "Authorization" in request.headers
    return refusal(401, "unauthorized", "This token is not, or no longer, good." if said else _NO_TOKEN)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return _refused(request, of_validation(error))


@api.exception_handler(Http404)
def _missing(request: HttpRequest, error: Http404) -> HttpResponse:
    return _refused(request, not_found())


@api.exception_handler(vault.Unreadable)
def _unreadable(request: HttpRequest, error: vault.Unreadable) -> HttpResponse:
    return refusal(*unreadable(error))


@api.exception_handler(DatabaseError)
def _away(request: HttpRequest, error: DatabaseError) -> HttpResponse:
    logger.error("api_db %.150a: %s", request.path, (str(error) or type(error).__name__).splitlines()[0])
    return refusal(503, "unavailable", "The database does not answer, or not in time. Narrow what you ask for.", 5)


@api.exception_handler(ArchiveError)
def _archive_away(request: HttpRequest, error: ArchiveError) -> HttpResponse:
    return refusal(503, "unavailable", error.said, 30)


def read_only(view: View) -> View:
    """Refuses every other method in the shape of all refusals."""

    @wraps(view, updated=())
    @csrf_exempt
    def checked(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if request.method in ("GET", "HEAD"):
            return view(request, *args, **kwargs)
        response = refusal(405, "read_only", "Everything here is only read.")
        response["Allow"] = "GET, HEAD"
        return response

    return checked


patterns, _, namespace = api.urls
for pattern in patterns:
    assert isinstance(pattern, URLPattern), "Ninja nests none"
    pattern.callback = nowhere if pattern.name == "api-root" else read_only(pattern.callback)

urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", (patterns, "ninja", namespace)),
    path("<path:rest>", nowhere),
    path("", nowhere),
]
