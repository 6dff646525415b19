"""/metrics, answered before any redirect, host check, session or query, and what is true of this process right now.

Whoever has METRICS_TOKEN is told; while that is not set there is no such address.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from socketserver import ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.core.management import CommandError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.crypto import constant_time_compare
from django.utils.decorators import sync_and_async_middleware
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, Gauge

from calls import metrics
from calls.addresses import METRICS
from calls.health import why_not_ready
from calls.recorder import recorder
from calls.server.switchboard import switchboard
from calls.version import version


# Adding up takes milliseconds, which every frame would wait for; and one answer at a time is enough.
_thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")


@cache
def tell_of_this_process() -> None:
    """From now on its gauges are told too. For a process that takes calls."""
    _gauge(
        "callstream_streams_active",
        "Streams that run here, sockets carried to other workers, and handlers that wait for their callers.",
        lambda: switchboard.count,
    )
    _gauge("callstream_streams_capacity", "How many of these are taken: MAX_STREAMS.", lambda: settings.MAX_STREAMS)
    _gauge("callstream_ready", "1 while new calls are taken, as /healthz/ready says.", lambda: not why_not_ready())
    _gauge(
        "callstream_draining",
        "1 once the process takes no new calls because it is to end, or was asked to drain.",
        lambda: switchboard.is_draining,
    )
    _gauge(
        "callstream_recorder_lag_seconds",
        "For how long the oldest row has waited that is not in the database.",
        lambda: recorder.longest_waiting,
    )
    _gauge("callstream_recorder_queue_bytes", "Of rows that wait in memory.", lambda: recorder.queued_bytes)
    _gauge("callstream_spool_bytes", "Of rows that wait in the process's spool.", lambda: recorder.spooled_bytes)
    build = Gauge("callstream_build_info", "The version, as a label.", ["version"], registry=metrics.registry)
    build.labels(version()).set(1)


def _gauge(name: str, text: str, read: Callable[[], float]) -> None:
    Gauge(name, text, registry=metrics.registry).set_function(read)


def _refusal(request: HttpRequest) -> HttpResponse | None:
    """What is answered to whoever is not told; None for somebody with the token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not settings.METRICS_TOKEN:
        response = HttpResponse("Not found.\n", status=404, content_type="text/plain")
    elif scheme.lower() == "bearer" and constant_time_compare(token.strip(), settings.METRICS_TOKEN):
        return None
    else:
        response = HttpResponse("METRICS_TOKEN is missing or wrong.\n", status=401, content_type="text/plain")
        response["WWW-Authenticate"] = "Bearer"
    # Django would log each of them, and strangers come often.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def _answer(text: bytes) -> HttpResponse:
    return HttpResponse(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


@sync_and_async_middleware
def metrics_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], object]:
    if iscoroutinefunction(get_response):

        async def answer_async(request: HttpRequest) -> HttpResponseBase:
            if request.path != f"/{METRICS}":
                response: HttpResponseBase = await get_response(request)
                return response
            loop = asyncio.get_running_loop()
            return _refusal(request) or _answer(await loop.run_in_executor(_thread, metrics.figures.text))

        return answer_async

    def answer(request: HttpRequest) -> object:
        if request.path != f"/{METRICS}":
            return get_response(request)
        return _refusal(request) or _answer(metrics.figures.text())

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    """One that is slow to ask keeps nobody else waiting."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Every 15 s the same."""


def serve(port: int) -> None:
    """Answers /metrics and nothing else, in a thread, for a process that serves nothing. CommandError if it cannot."""
    get_response = metrics_middleware(lambda request: HttpResponse("Not found.\n", status=404))

    def application(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        response = cast(HttpResponse, get_response(WSGIRequest(environ)))
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        return [response.content]

    try:
        server = make_server("", port, application, server_class=_Server, handler_class=_Silent)
    except OSError as error:
        raise CommandError(f"Nobody can ask for metrics on port {port}: {error}") from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
