"""A call as files, to be carried to another machine: its sound, everything that is known, and its frames."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model

from calls import store
from calls.models import AudioChunk, Call, Stream
from calls.recordings.rendering import Recording


def wav(call: Call) -> Iterator[bytes]:
    """Both sides as a stereo WAV, a piece at a time."""
    file = Recording.of(call).wav()
    return file.pieces(0, file.size - 1)


def facts(call: Call) -> Iterator[bytes]:
    """Everything that is known of a call as JSON, but for its audio."""
    known = {
        **_fields(call),
        "tags": [tag.name for tag in call.tags.all()],
        "streams": [_stream(stream) for stream in call.streams.all()],
        "comments": [_fields(comment, "call") for comment in call.comments.all()],
        "events": [_fields(event) for event in call.events.all()],
        "accesses": [_fields(access) for access in call.accesses.all()],
    }
    yield json.dumps(known, cls=DjangoJSONEncoder, ensure_ascii=False, indent=2).encode() + b"\n"


def _stream(stream: Stream) -> dict[str, Any]:
    related = {"gaps": stream.gaps, "marks": stream.marks, "dtmf": stream.dtmf, "utterances": stream.utterances}
    rows = {name: [_fields(row, "stream") for row in rows.all()] for name, rows in related.items()}  # type: ignore[attr-defined]
    own = ("call", "nonce", "dial", "sealing_key", "merging_since", "merged_at")
    stored = ("archive", "archive_sha256", "archive_spare", "archiving_at")
    return {**_fields(stream, *own, *stored), **rows}


def _fields(row: Model, *left_out: str) -> dict[str, Any]:
    """A row's own fields. The token's nonce and its key stay here, and so do who waits for a caller and how audio is
    stored."""
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
