"""A call as files, to be carried to another machine: its sound, everything that is known, and its frames.

`calls.recordings.imports` reads them again. What is exported of a row are its own fields, by their names in the models.
Version 2 of the format has turns, microseconds, and beside these files their checksums as `sha256sum -c` takes them.
What is not exported stays where it is: reviews and legal holds, webhooks that were sent, and keys.
"""

import datetime as dt
import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model
from django.utils import timezone

from calls import store
from calls.models import AudioChunk, Call, Stream
from calls.recordings.rendering import Recording
from calls.version import version


FORMAT, VERSION = "callstream-call", 2
#: The ending of the file that has the others' checksums.
SUMS = ".sha256"
#: What is nobody's business elsewhere: the token's nonce and its key, who waits for a caller, and how audio is stored.
KEPT_BACK = (
    *("call", "nonce", "dial", "sealing_key", "merging_since", "merged_at"),
    *("archive", "archive_sha256", "archive_spare", "archiving_at"),
)


class _Encoder(DjangoJSONEncoder):
    """Django's cuts microseconds off."""

    def default(self, value: Any) -> Any:
        if isinstance(value, dt.datetime):
            return value.isoformat().replace("+00:00", "Z")
        return super().default(value)


def wav(call: Call) -> Iterator[bytes]:
    """Both sides as a stereo WAV, a piece at a time."""
    file = Recording.of(call).wav()
    return file.pieces(0, file.size - 1)


def facts(call: Call) -> Iterator[bytes]:
    """Everything that is known of a call as JSON, but for its audio."""
    known = {
        "format": _format(),
        **_fields(call),
        "tags": [tag.name for tag in call.tags.all()],
        "streams": [_stream(stream) for stream in call.streams.all()],
        "comments": [_fields(comment, "call") for comment in call.comments.all()],
        "events": [_fields(event) for event in call.events.all()],
        "accesses": [_fields(access) for access in call.accesses.all()],
    }
    yield json.dumps(known, cls=_Encoder, ensure_ascii=False, indent=2).encode() + b"\n"


def _format() -> dict[str, Any]:
    """What it is, and where it comes from."""
    where = urlsplit(settings.PUBLIC_URL).netloc
    return {"name": FORMAT, "version": VERSION, "from": where, "by": version(), "at": timezone.now()}


def _stream(stream: Stream) -> dict[str, Any]:
    related: dict[str, Any] = {
        "gaps": stream.gaps.order_by("track", "start", "reason"),
        "marks": stream.marks.all(),
        "dtmf": stream.dtmf.all(),
        "utterances": stream.utterances.all(),
        "turns": stream.turns.all(),
    }
    rows = {name: [_fields(row, "stream") for row in rows] for name, rows in related.items()}
    return {**_fields(stream, *KEPT_BACK), **rows}


def _fields(row: Model, *left_out: str) -> dict[str, Any]:
    fields = (field for field in row._meta.concrete_fields if field.name not in left_out)
    return {field.attname: getattr(row, field.attname) for field in fields}


def frames(call: Call) -> Iterator[bytes]:
    """What was recorded as JSON Lines: where each piece of raw µ-law lies on its stream's clock, and its checksum.

    They are unbroken runs of ten seconds at most, in whatever rows these are stored.
    """
    chunks = AudioChunk.objects.filter(stream__call=call).order_by("stream__started_at", "stream", "track", "start")
    sids = dict(call.streams.values_list("pk", "sid"))
    for piece in store.runs(store.pieces(chunks, at_once=500)):
        line = {
            "stream": sids[piece.stream_id],
            "track": piece.track,
            "index": piece.index,
            "start": piece.start,
            "length": len(piece.audio),
            "sha256": hashlib.sha256(piece.audio).hexdigest(),
            "payload": b64encode(piece.audio).decode("ascii"),
        }
        yield json.dumps(line).encode() + b"\n"


#: What a call's files hold, by how their names end.
FILES: dict[str, Callable[[Call], Iterable[bytes]]] = {".wav": wav, ".json": facts, ".frames.jsonl": frames}
