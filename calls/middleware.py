"""Health, answered before any redirect, host check, session or database; and what browsers may do in the admin."""

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin

from calls.admin.base import guard
from calls.recorder import recorder
from calls.switchboard import switchboard


def health(request: HttpRequest) -> HttpResponse | None:
    """/healthz: the process is alive. /healthz/ready: it takes new calls, also while the database is away."""
    if request.path == "/healthz":
        return HttpResponse("ok\n", content_type="text/plain")
    if request.path == "/healthz/ready":
        reasons = [reason for reason, holds in _reasons().items() if holds]
        return JsonResponse(
            {"ready": not reasons, "reasons": reasons, "streams": len(switchboard.live)},
            status=503 if reasons else 200,
        )
    return None


def _reasons() -> dict[str, bool]:
    return {
        "draining": switchboard.draining,
        "full": switchboard.is_full,
        "storage full": recorder.has_no_room,
    }


@sync_and_async_middleware
def health_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], object]:
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            return health(request) or await get_response(request)

        return answer_async

    def answer(request: HttpRequest) -> object:
        return health(request) or get_response(request)

    return answer


class AdminPolicyMiddleware(MiddlewareMixin):
    """Every page of the admin, Django's own too, runs nothing but our own files."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return guard(response) if request.path.startswith(reverse("admin:index")) else response
