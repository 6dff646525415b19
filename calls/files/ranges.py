"""recording.wav: any range of a call's recording as a browser asks for it; peaks.json: its waveform."""

import base64
import logging
import re
from collections.abc import Iterator
from itertools import chain

from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse

from calls import vault
from calls.access import numbers
from calls.files import growing_file, names
from calls.files.accesses import note_access, on_record
from calls.media import audio
from calls.models import Call, RecordingAccess
from calls.recordings.rendering import Channel, Recording, Wav, in_steps


logger = logging.getLogger(__name__)

MOST_PEAKS = 15 * 60 * audio.SAMPLE_RATE
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_CHANNELS: dict[str, Channel] = {"inbound": "inbound", "outbound": "outbound"}


class Unsatisfiable(Exception):
    """The range lies beyond the end."""


def recording_response(request: HttpRequest, call: Call, kind: RecordingAccess.Kind) -> HttpResponseBase:
    """GET or HEAD of recording.wav, to hear it or to keep it, with `channel`, `encoding` and `until` (samples).

    With `live`, the file of a running call goes on as long as the call does. Raises vault.Unreadable where what begins
    it cannot be opened, and Away while the archive that has it does not answer; what lies later and cannot be read
    breaks it off.
    """
    if not request.user.has_perm(f"calls.{kind}_call"):
        raise PermissionDenied
    is_heard = kind == RecordingAccess.Kind.LISTEN
    grows = is_heard and "live" in request.GET and call.ended_at is None and isinstance(request, ASGIRequest)
    wav, etag = _wav(request, call), None
    wav = growing_file.endless(wav) if grows else wav
    if call.ended_at:
        etag = f'"{call.pk}-{wav.recording.samples}-{wav.channel}-{wav.encoding}"'
    try:
        span = byte_range(_range_header(request, etag), wav.size)
    except Unsatisfiable:
        return _dress(HttpResponse(status=416, headers={"Content-Range": f"bytes */{wav.size}"}), etag)
    wav.recording.check_keys()
    access = None
    if request.method == "GET":
        access = note_access(request, call, kind, f"{wav.channel} {wav.encoding}", resumed=bool(span and span[0]))
    response: HttpResponseBase
    if grows and access:
        response = _growing(call, wav, span or (0, wav.size - 1), access)
    else:
        response = _body(request, call, wav, span, access if is_heard else None)
    if kind == RecordingAccess.Kind.DOWNLOAD:
        response["Content-Disposition"] = f'attachment; filename="{file_name(request, call, wav)}"'
    return _dress(response, etag)


def peaks_response(request: HttpRequest, call: Call) -> HttpResponseBase:
    """The loudest sample of every `step` frames from sample `from` to `until`, both lanes in base64.

    At most 15 minutes at once, so that neither the database nor the browser has to swallow a long call whole.
    """
    if not request.user.has_perm("calls.listen_call"):
        raise PermissionDenied
    recording = Recording.of(call)
    start, until, step = (_number(request, name) for name in ("from", "until", "step"))
    start = min(start, recording.samples)
    stop = max(start, min(until, recording.samples, start + MOST_PEAKS))
    lanes = zip(("inbound", "outbound"), recording.peaks(start, stop, max(1, step)), strict=True)
    response = JsonResponse({name: base64.b64encode(lane).decode() for name, lane in lanes})
    response["Cache-Control"] = "no-store, private"
    return response


def unreadable(error: vault.Unreadable) -> tuple[int, str, str]:
    """How an answer says that a recording is there and cannot be read: its status, a word, and a sentence."""
    text = f"This recording cannot be read: {error}."
    return (503, "key_missing", text) if isinstance(error, vault.KeyMissing) else (409, "damaged", text)


def unreadable_response(error: vault.Unreadable) -> HttpResponse:
    status, _, text = unreadable(error)
    response = HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
    response["Cache-Control"] = "no-store, private"
    # Django would log each one as an error of the server's, and a player asks often.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The first and last byte that a Range header asks for; None (the whole) if it asks for nothing or for too much.

    https://www.rfc-editor.org/rfc/rfc9110#name-range: what is malformed, or several ranges, may be ignored.
    """
    found = _RANGE.fullmatch(header.replace(" ", ""))
    first, last = found.groups() if found else ("", "")
    if not first and not last:
        return None
    if not first:
        start, stop = max(0, size - int(last)), size - 1
    elif last and int(last) < int(first):
        return None
    else:
        start, stop = int(first), min(int(last or size), size - 1)
    if start > stop:
        raise Unsatisfiable
    return start, stop


def file_name(request: HttpRequest, call: Call, wav: Wav) -> str:
    name = names.file_name(call, numbers.may_see(request))
    return f"{name}.wav" if wav.channel == "stereo" else f"{name}-{wav.channel}.wav"


def _wav(request: HttpRequest, call: Call) -> Wav:
    recording = Recording.of(call)
    if until := _number(request, "until"):
        recording = recording.until(until)
    encoding: audio.Encoding = "mulaw" if request.GET.get("encoding") == "mulaw" else "pcm16"
    return recording.wav(_CHANNELS.get(request.GET.get("channel", ""), "stereo"), encoding)


def _number(request: HttpRequest, name: str) -> int:
    """A natural number of the query; 0 where there is none."""
    value = request.GET.get(name, "")
    return int(value[:18]) if value.isascii() and value.isdigit() else 0


def _range_header(request: HttpRequest, etag: str | None) -> str:
    """The Range header, unless If-Range says that it is about another version: a running call's has none."""
    known = request.headers.get("If-Range")
    return request.headers.get("Range", "") if known is None or known == etag else ""


def _body(
    request: HttpRequest, call: Call, wav: Wav, span: tuple[int, int] | None, access: RecordingAccess | None
) -> HttpResponseBase:
    first, last = span or (0, wav.size - 1)
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse()
    else:
        pieces = _begun(wav.pieces(first, last), call)
        pieces = on_record(pieces, wav, first, last, access) if access else pieces
        response = StreamingHttpResponse(in_steps(pieces) if isinstance(request, ASGIRequest) else pieces)
    response["Content-Length"] = str(last - first + 1)
    if span:
        response.status_code = 206
        response["Content-Range"] = f"bytes {first}-{last}/{wav.size}"
    return response


def _begun(pieces: Iterator[bytes], call: Call) -> Iterator[bytes]:
    """The same, of which the first one is read now, while an answer can still say that it cannot be."""
    return chain([next(pieces, b"")], _rest(pieces, call))


def _rest(pieces: Iterator[bytes], call: Call) -> Iterator[bytes]:
    try:
        yield from pieces
    except vault.Unreadable as error:
        # Silence would be taken for the recording; a connection that breaks off is taken for what it is.
        logger.error("recording_unreadable call=%s %s; the answer breaks off", call, error)
        raise


def _growing(call: Call, wav: Wav, span: tuple[int, int], access: RecordingAccess) -> HttpResponseBase:
    """Without a Content-Length: nobody knows yet how long it will be."""

    def read(now: Wav, first: int, last: int) -> Iterator[bytes]:
        return on_record(now.pieces(first, last), now, first, last, access)

    response = StreamingHttpResponse(growing_file.pieces(call, wav, *span, read), status=206)
    response["Content-Range"] = f"bytes {span[0]}-{span[1]}/{wav.size}"
    return response


def _dress(response: HttpResponseBase, etag: str | None) -> HttpResponseBase:
    response["Content-Type"] = "audio/wav"
    response["Accept-Ranges"] = "bytes"
    response["Cache-Control"] = "no-store, private"
    if etag:
        response["ETag"] = etag
    return response
