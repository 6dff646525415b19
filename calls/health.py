"""Health, answered before any redirect, host check, session or database."""

import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from calls.addresses import HEALTH, READINESS
from calls.recorder import recorder
from calls.server.outings import outings
from calls.server.switchboard import switchboard
from calls.version import version


logger = logging.getLogger(__name__)


def health(request: HttpRequest) -> HttpResponse | None:
    """/healthz: the process is alive. /healthz/ready: it takes new calls, even while the database is away.

    Why not, how many calls there are, and which version this is, is no business of strangers.
    """
    if request.path == f"/{HEALTH}":
        return HttpResponse(f"ok {version()}\n" if _is_near(request) else "ok\n", content_type="text/plain")
    if request.path == f"/{READINESS}":
        return readiness.answer(in_detail=_is_near(request))
    return None


def _is_near(request: HttpRequest) -> bool:
    """Whether a health check or ops of the same network ask us directly: a proxy says for whom it asks."""
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    return address.is_private and not any(name in request.headers for name in ("X-Forwarded-For", "Forwarded"))


class Readiness:
    """Whether this process takes new calls. It is asked every second, and the log hears of it when it changes."""

    def __init__(self) -> None:
        self._logged: list[str] = []

    def answer(self, *, in_detail: bool) -> HttpResponse:
        reasons = why_not_ready()
        self._log(reasons)
        said: dict[str, object] = {"ready": not reasons}
        if in_detail:
            said |= {"reasons": reasons, "streams": len(switchboard.live)}
            said |= {"waiting": len(outings), "carried": len(switchboard.relays)}
        response = JsonResponse(said, status=503 if reasons else 200)
        # Django would log each of them as an error.
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response

    def _log(self, reasons: list[str]) -> None:
        if reasons != self._logged:
            self._logged = reasons
            if reasons:
                logger.warning("not_ready: %s; new calls go elsewhere", ", ".join(reasons))
            else:
                logger.warning("ready_again")


readiness = Readiness()


def why_not_ready() -> list[str]:
    """Why this process takes no new calls; nothing if it does."""
    reasons = {
        "draining": switchboard.is_draining,
        "full": switchboard.is_full,
        "storage full": recorder.has_no_room,
    }
    return [reason for reason, holds in reasons.items() if holds]


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
