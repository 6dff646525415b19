"""An exported call becomes rows: all of them in one transaction, after all of it was checked."""

import datetime as dt
import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, transaction
from django.db.models import DecimalField, Model
from django.utils import timezone

from calls import store, vault
from calls.media import audio
from calls.media.rows import MASKED
from calls.media.sids import is_call_sid, is_stream_sid
from calls.media.storable import storable
from calls.models import (
    AudioChunk,
    Call,
    CallEvent,
    Comment,
    Dtmf,
    Erasure,
    Gap,
    Mark,
    Stream,
    Tag,
    Turn,
    Utterance,
)
from calls.models.call_queries import LONGEST_CALL
from calls.recordings.export import SUMS
from calls.recordings.imports.audio import Piece, pieces
from calls.recordings.imports.errors import Unimportable
from calls.recordings.imports.shape import MOST_BYTES, Format, read
from calls.recordings.imports.sources import FACTS, FRAMES, NEEDED, Parcel
from calls.recordings.verification import problems


# Pieces of audio that are written together: 8 MB.
_AT_ONCE = 100
_SUM = re.compile(r"([0-9a-f]{64}) [ *](\S+)")
M = TypeVar("M", bound=Model)

_PARTS: dict[str, type[Model]] = {"gaps": Gap, "marks": Mark, "dtmf": Dtmf, "utterances": Utterance, "turns": Turn}


@dataclass(frozen=True)
class Imported:
    """A call that is here now; `samples` of both sides together."""

    call: Call
    samples: int
    warnings: list[str]


def bring_in(parcel: Parcel, told: Callable[[int], object] = lambda size: None) -> Imported:
    """Imports a call, or raises Unimportable; `told` how many bytes of its frames were read, twice each.

    What the database raises while it is away comes through. On SQLite, whose only writer it is meanwhile, an hour of
    audio takes some seconds.
    """
    facts, form, sha256 = _checked(parcel)
    _refuse_known(facts)
    sids = {stream.sid for stream in facts.streams}
    for number, piece in enumerate(pieces(parcel, sha256, told), 1):
        if piece.stream not in sids:
            raise Unimportable(f"line {number} of its frames is of a stream that it does not have")
    try:
        with transaction.atomic():
            return _write(facts, form, parcel, pieces(parcel, sha256, told))
    except (IntegrityError, DataError) as error:
        raise Unimportable(f"the database refuses it: {str(error).splitlines()[0]}") from error


def _checked(parcel: Parcel) -> tuple[Any, Format, str]:
    """Its facts, their format, and the checksum of its frames if that is known."""
    for ending in NEEDED:
        if ending not in parcel.files:
            raise Unimportable(f"there is no {parcel.sid}{ending}")
    with parcel.open(FACTS) as file:
        data = file.read(MOST_BYTES + 1)
    sums = _sums(parcel)
    if sums and sums.get(FACTS) != hashlib.sha256(data).hexdigest():
        raise Unimportable("its facts are not those that were exported: their checksum is another one")
    facts, form = read(data)
    if form.version > 1 and not {FACTS, FRAMES} <= set(sums):
        raise Unimportable(f"there is no {parcel.sid}{SUMS}, or not all of it: without it nobody knows what is missing")
    _check_whole(facts, parcel)
    return facts, form, sums.get(FRAMES, "")


def _sums(parcel: Parcel) -> dict[str, str]:
    """By the endings of the files that they are of."""
    if SUMS not in parcel.files:
        return {}
    with parcel.open(SUMS) as file:
        found = _SUM.findall(file.read(10_000).decode(errors="replace"))
    return {name.removeprefix(parcel.sid): known for known, name in found if name.startswith(parcel.sid)}


def _check_whole(facts: Any, parcel: Parcel) -> None:
    """What no single field shows."""
    if facts.sid != parcel.sid or not is_call_sid(facts.sid):
        raise Unimportable(f"the files are named after {parcel.sid}, and hold another call")
    if facts.ended_at is None or any(stream.ended_at is None for stream in facts.streams):
        raise Unimportable("it was still running when it was exported: export it again, now that it is over")
    for name in ("sid", "id"):
        if len({getattr(stream, name) for stream in facts.streams}) < len(facts.streams):
            raise Unimportable("two of its streams are the same")
    if strange := [stream.sid for stream in facts.streams if not is_stream_sid(stream.sid)]:
        raise Unimportable(f"{strange[0]!a} is no StreamSid")
    begun = [stream.started_at for stream in facts.streams]
    if begun and max(begun) - min(begun) > LONGEST_CALL:
        raise Unimportable("its streams lie further apart than a call can last")
    own = {stream.id for stream in facts.streams}
    if any(event.stream_id not in own for event in facts.events if event.stream_id is not None):
        raise Unimportable("one of its events is of a stream that it does not have")


def _refuse_known(facts: Any) -> None:
    if Call.objects.filter(sid=facts.sid).exists():
        raise Unimportable("this call is here already")
    if erased := Erasure.objects.filter(call_sid=facts.sid).first():
        raise Unimportable(f"it was erased here on {erased.at:%Y-%m-%d}, and what is erased stays so")
    sids = [stream.sid for stream in facts.streams]
    if known := Stream.objects.filter(sid__in=sids).select_related("call").first():
        raise Unimportable(f"its stream {known.sid} is here already, as one of {known.call}")


def _write(facts: Any, form: Format, parcel: Parcel, found: Iterator[Piece]) -> Imported:
    call = _call(facts, form)
    streams = {given.id: _stream(given, call) for given in facts.streams}
    CallEvent.objects.bulk_create(
        _row(CallEvent, event, call=call, stream=streams.get(event.stream_id)) for event in facts.events
    )
    Comment.objects.bulk_create(_row(Comment, comment, call=call) for comment in facts.comments)
    samples = _write_audio({stream.sid: stream for stream in streams.values()}, found)
    if form.version == 1 and (samples or call.audio_samples):
        # Of what was cut off at the end of a line, nothing else tells.
        for stream in streams.values():
            if problem := next(problems(stream), None):
                raise Unimportable(f"not all of it is there, or it was damaged before: stream {stream.sid}: {problem}")
    _note(call, form, parcel)
    return Imported(call, samples, _warnings(call))


def _call(facts: Any, form: Format) -> Call:
    own: dict[str, Any] = {"told": Call.Told.ALL, "measuring_since": None, "followed_at": None, "turns_at": None}
    if form.version == 1:
        # Its turns were not exported.
        own["measured_at"] = None
    call = _row(Call, facts, **own)
    call.save(force_insert=True)
    call.tags.set([Tag.objects.get_or_create(name=name)[0] for name in facts.tags])
    return call


def _stream(given: Any, call: Call) -> Stream:
    now = timezone.now()
    # Its rows are as long as merged ones.
    merged = {"merging_since": now, "merged_at": now}
    key = vault.new_key(given.sid)
    stream = _row(Stream, given, call=call, nonce=secrets.token_hex(16), sealing_key=key, **merged)
    stream.save(force_insert=True)
    masked = {"dtmf": {"digit": MASKED}} if settings.MASK_DTMF else {}
    for name, model in _PARTS.items():
        rows = [_row(model, part, stream=stream, **masked.get(name, {})) for part in getattr(given, name)]
        model._default_manager.bulk_create(rows, batch_size=500)
    return stream


def _write_audio(streams: dict[str, Stream], found: Iterator[Piece]) -> int:
    """How many samples that were."""
    samples = 0
    while some := list(islice(found, _AT_ONCE)):
        AudioChunk.objects.bulk_create(_chunk(streams[piece.stream], piece) for piece in some)
        samples += sum(piece.length for piece in some)
    return samples


def _chunk(stream: Stream, piece: Piece) -> AudioChunk:
    return AudioChunk(
        stream=stream,
        track=piece.track,
        index=piece.index,
        start=piece.start,
        length=piece.length,
        payload=store.packed(stream, piece.track, piece.start, piece.payload),
        peaks=audio.peaks(piece.payload),
    )


def _row(model: type[M], given: Any, **own: Any) -> M:
    """A row with the exported fields of its own; who and what it refers to is for `own` to say."""
    fields = [field for field in model._meta.concrete_fields if not field.is_relation and not field.primary_key]
    known = [field for field in fields if field.attname in given.__struct_fields__ and field.attname not in own]
    return model(**{field.attname: _value(field, getattr(given, field.attname)) for field in known}, **own)


def _value(field: Any, value: Any) -> Any:
    """Raises Unimportable for what no database takes, though it has the right type."""
    try:
        if isinstance(field, DecimalField) and value is not None:
            field.run_validators(value)
        if isinstance(value, dt.datetime):
            value = value.astimezone(dt.UTC)
            if not 1970 < value.year < 2200:
                raise OverflowError
    except (ValidationError, OverflowError, ArithmeticError) as error:
        raise Unimportable(f"its {field.attname} is {value}, which cannot be") from error
    return value


def _note(call: Call, form: Format, parcel: Parcel) -> None:
    at = {"exported_at": form.at.isoformat()} if form.at else {}
    CallEvent.objects.create(
        call=call,
        source=CallEvent.Source.SYSTEM,
        kind="import",
        # It may have been imported before where it was exported.
        key=f"import:{secrets.token_hex(8)}",
        occurred_at=timezone.now(),
        data={"from": form.where, "version": form.by, **at, "file": storable(parcel.where[-200:], 200)},
    )


def _warnings(call: Call) -> list[str]:
    days = settings.RECORDING_RETENTION_DAYS
    if days and call.ended_at and call.ended_at < timezone.now() - dt.timedelta(days=days):
        return [f"it is older than RECORDING_RETENTION_DAYS ({days}), and goes when calls are next pruned"]
    return []
