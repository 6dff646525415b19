"""GET /calls/{sid}/recording.wav: what the admin sends, to a program."""

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Query, Router

from calls.api.answers import NOT_THIS, Error, not_found, refusal, require
from calls.api.calls import get_call
from calls.api.parameters import Sound
from calls.files.ranges import recording_response
from calls.models import RecordingAccess


router = Router(tags=["recordings"])

_WAV = {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}
_RANGE: dict[str, Any] = {"name": "Range", "in": "header", "schema": {"type": "string"}, "example": "bytes=0-65535"}
_RESPONSES: dict[int, Any] = {
    200: {"description": "A WAV file of 8000 Hz.", "content": _WAV},
    206: {"description": "The part of it that Range asks for.", "content": _WAV},
    416: {
        "description": "The file is shorter.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    },
}


_PATH = "/{sid}/recording.wav"


@router.api_operation(["HEAD"], _PATH, include_in_schema=False)
@router.get(
    _PATH,
    response={NOT_THIS | {409}: Error},
    summary="The recording",
    openapi_extra={"responses": _RESPONSES, "parameters": [_RANGE]},
)
def recording(request: HttpRequest, sid: str, wanted: Query[Sound]) -> HttpResponseBase:
    """As a WAV file, or a part of it. Needs download_call; each download is on record."""
    require(request, "download_call")
    call = get_call(sid)
    if call.ended_at and not call.audio_samples:
        raise not_found("Nothing of this call was recorded, or it was erased.")
    response = recording_response(request, call, RecordingAccess.Kind.DOWNLOAD)
    if response.status_code != 416:
        return response
    refused = refusal(416, "range", "The recording is shorter than that.")
    refused["Content-Range"] = response["Content-Range"]
    return refused
