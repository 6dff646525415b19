"""Where a running call is taken over by microphone, for who may."""

from typing import Any

from django.http import HttpRequest

from calls.addresses import LIVE_CALLS
from calls.models import Call


def taking_over(request: HttpRequest, call: Call) -> dict[str, Any]:
    may = bool(call.sid) and call.ended_at is None and request.user.has_perm("calls.supervise_call")
    return {"takeover_socket": f"/{LIVE_CALLS}/{call.pk}/voice" if may else ""}
