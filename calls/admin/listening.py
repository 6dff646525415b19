"""Where a running call is heard live, for who may."""

from typing import Any

from django.http import HttpRequest

from calls.addresses import LIVE_CALLS
from calls.models import Call


def listening(request: HttpRequest, call: Call) -> dict[str, Any]:
    may = bool(call.sid) and call.ended_at is None and request.user.has_perm("calls.supervise_call")
    return {"listen_socket": f"/{LIVE_CALLS}/{call.pk}/audio" if may else ""}
