"""What lets only Twilio's requests through to a view: read, and checked, before anything else is done."""

import json
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, cast

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseForbidden
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from calls import about, metrics, tracing
from calls.media.sids import is_call_sid, is_stream_sid
from calls.metrics import Refusal
from calls.security import could_be_signed, is_signed_webhook
from calls.webhooks.request import Webhook


FORM, JSON = "application/x-www-form-urlencoded", "application/json"
UNSIGNED = "The X-Twilio-Signature is missing or wrong.\n"

Answering = Callable[..., Awaitable[HttpResponse]]
View = Callable[..., HttpResponseBase]


def from_twilio(view: Answering) -> View:
    """Lets only Twilio's requests through: 403 without a good signature, 400 without a usable CallSid.

    A form has to be parsed before its signature can be checked, on the event loop: what Twilio cannot have sent is
    refused before, and calls.process.bodies lets nothing large come here. 64 KB with a false signature still hold the
    loop for 5 ms.
    """

    @wraps(view)
    async def checked(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        path = _path_on_the_wire(request)
        if not could_be_signed(path, request.headers):
            metrics.refuse(Refusal.SIGNATURE)
            return HttpResponseForbidden(UNSIGNED, content_type="text/plain")
        body = _signed_body(request)
        if not is_signed_webhook(path, body, request.headers):
            metrics.refuse(Refusal.SIGNATURE)
            return HttpResponseForbidden(UNSIGNED, content_type="text/plain")
        parameters = _parameters(request, body)
        if not is_call_sid(parameters.get("CallSid")):
            metrics.refuse(Refusal.NO_CALL_SID)
            reason = "CallSid is missing, or is not CA and 32 hexadecimal digits.\n"
            return HttpResponseBadRequest(reason, content_type="text/plain")
        path = request.path
        with (
            about.about(parameters["CallSid"], _stream_sid(parameters)),
            tracing.span("webhook", path=path),
            metrics.webhook.time(),
        ):
            return await view(Webhook(request, parameters), **kwargs)

    return cast(View, csrf_exempt(require_http_methods(["GET", "POST"])(checked)))


def _stream_sid(parameters: dict[str, str]) -> str:
    sid = parameters.get("StreamSid", "")
    return sid if is_stream_sid(sid) else ""


def _path_on_the_wire(request: HttpRequest) -> str:
    """Path and query as Twilio sent and signed them, escapes included."""
    raw = request.scope.get("raw_path") if isinstance(request, ASGIRequest) else None
    path = raw.decode("latin-1").partition("?")[0] if raw else request.get_full_path().partition("?")[0]
    query = request.META.get("QUERY_STRING", "")
    return f"{path}?{query}" if query else path


def _signed_body(request: HttpRequest) -> Any:
    """What is signed beside the URL: the form's fields, nothing for GET, or a JSON body by its hash.

    Twilio sends nothing else. multipart/form-data, which Django would take apart too, costs many times as much.
    """
    if request.method != "POST" or request.content_type not in (FORM, JSON):
        return {}
    return request.body if request.content_type == JSON else request.POST


def _parameters(request: HttpRequest, body: Any) -> dict[str, str]:
    if isinstance(body, bytes):
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return {}
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
    return {**request.GET.dict(), **(body.dict() if body else {})}
