"""What the recorder writes: one small struct a row, and how a batch of them reaches the database in one transaction.

Rows name streams and calls by SID, since they are made while the database may be away; they survive as msgpack in the
spool. Writing the same rows again changes nothing.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from django.db import IntegrityError, connections, transaction
from django.db.models import Case, Exists, F, Max, OuterRef, Q, Sum, When
from django.db.models.functions import Now
from django.utils import timezone

from calls import absence, placement
from calls.audio import FRAME_SAMPLES, peaks
from calls.models import (
    AudioChunk,
    Call,
    CallEvent,
    Dtmf,
    Erased,
    Erasure,
    Gap,
    Mark,
    Stream,
    storable,
    storable_json,
)
from calls.problems import KINDS, of_event, problems


DATABASE = "recorder"
# A key that is nobody's business.
MASKED = "•"
# For a picture every third sample will do; looking at all of them was the writer's largest cost.
PEAK_STEP = 3
CHUNKS = f'{AudioChunk._meta.db_table} (stream_id, track, "index", start, length, payload, peaks)'


class Row(msgspec.Struct, tag=True, array_like=True):
    """One row to be. Texts are made storable when it is applied, so that no row of a call is ever refused for them."""


class CallRow(Row):
    """A signed request named this call (`CallQuerySet.note`)."""

    sid: str
    facts: dict[str, Any]
    #: The key of the row that was made before Twilio was asked to place this call, if we placed it.
    ref: int | None = None
    #: When that request came; unknown in spools of versions before.
    at: dt.datetime | None = None


class StreamRow(Row):
    """A stream began. `owner` is the process that holds it."""

    sid: str
    call_sid: str
    call: dict[str, Any]
    nonce: str
    owner: str
    name: str
    tracks: list[str]
    custom_parameters: dict[str, Any]
    media_format: dict[str, Any]
    started_at: dt.datetime
    bidirectional: bool = True


class ChunkRow(Row):
    stream: str
    track: str
    index: int
    start: int
    payload: bytes


class GapRow(Row):
    stream: str
    track: str
    start: int
    length: int
    reason: str


class MarkRow(Row):
    """A mark as it is now: sent, or come back."""

    stream: str
    index: int
    name: str
    sent_at: dt.datetime
    position: int
    outcome: str
    returned_at: dt.datetime | None = None


class DtmfRow(Row):
    stream: str
    index: int
    digit: str
    timestamp_ms: int


class EventRow(Row):
    call: str
    stream: str | None
    source: str
    kind: str
    key: str
    occurred_at: dt.datetime
    data: dict[str, Any] = {}
    sequence_number: int | None = None


class StreamChange(Row):
    """Fields of a stream that changed: its counters, the end of its handler, its own end."""

    stream: str
    fields: dict[str, Any]

    @property
    def is_of_counters(self) -> bool:
        return all(isinstance(value, int | float | None) for value in self.fields.values())


AnyRow = CallRow | StreamRow | ChunkRow | GapRow | MarkRow | DtmfRow | EventRow | StreamChange

_pack = msgspec.msgpack.Encoder().encode
decode: Callable[[bytes], list[AnyRow]] = msgspec.msgpack.Decoder(list[AnyRow]).decode

_MOMENTS = ("handler_finished_at", "ended_at", "lease_at")


# Fewer bits than either database and msgpack take.
_LARGEST = 2**63 - 1


def encode(rows: Sequence[AnyRow]) -> bytes:
    """Rows as msgpack, whatever they hold: what msgpack refuses is made storable here rather than at the database."""
    try:
        return _pack(rows)
    except (ValueError, OverflowError, TypeError):
        return _pack([_packable(row) for row in rows])


def _packable(row: AnyRow) -> AnyRow:
    return type(row)(*(_plain(value) for value in msgspec.structs.astuple(row)))


def _plain(value: Any) -> Any:
    if isinstance(value, int):
        return max(-_LARGEST, min(value, _LARGEST))
    if isinstance(value, dict):
        return {storable(name, 100): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, float | bytes | dt.datetime | None) else storable(value, 4000)


R = TypeVar("R", ChunkRow, GapRow, MarkRow, DtmfRow, StreamChange)


class Writer:
    """Applies batches to one database alias, and remembers the keys of the streams that it has written."""

    def __init__(self, using: str = DATABASE) -> None:
        self._using = using
        self._streams: dict[str, tuple[int, int]] = {}
        #: Those of them whose audio was erased: no more of it is written.
        self._silent: set[str] = set()
        # Half the cost of INSERT, for us and for PostgreSQL.
        self._can_copy = self._copies = connections[using].vendor == "postgresql"
        #: Streams whose token or SID somebody else has used: nothing of theirs is stored.
        self.refused: set[str] = set()

    def forget(self) -> None:
        """The last transaction failed, and what it learnt may not be there."""
        self._streams.clear()
        self._silent.clear()

    def write(self, rows: Sequence[AnyRow]) -> list[StreamRow]:
        """All rows in one transaction. Returns the streams that it refused; what the database raises comes through."""
        kinds: dict[type, list[Any]] = defaultdict(list)
        for row in rows:
            kinds[type(row)].append(row)
        refused = set(self.refused)
        try:
            self._write_at_once(kinds)
        except BaseException:
            self.forget()
            self.refused = refused
            raise
        return [row for row in kinds[StreamRow] if row.sid in self.refused - refused]

    def _write_at_once(self, kinds: dict[type, list[Any]]) -> None:
        self._copies = self._can_copy
        try:
            with transaction.atomic(using=self._using):
                self._write(kinds)
        except IntegrityError:
            if not self._copies:
                raise
            # COPY knows no ON CONFLICT: some of it has been written before.
            self.forget()
            self._copies = False
            with transaction.atomic(using=self._using):
                self._write(kinds)

    def _write(self, kinds: dict[type, list[Any]]) -> None:
        for call in kinds[CallRow]:
            if call.ref is not None:
                Call.objects.using(self._using).claim(call.ref, call.sid)
            with suppress(Erased):
                self._look_for_audio(note_call(call.sid, call.facts, at=call.at, using=self._using))
        for stream in kinds[StreamRow]:
            with suppress(Erased):
                self._open(stream)
        self._write_chunks(kinds[ChunkRow])
        self._write_gaps(kinds[GapRow])
        self._write_marks(kinds[MarkRow])
        self._write_dtmf(kinds[DtmfRow])
        self._write_events(kinds[EventRow])
        counters = [change for change in kinds[StreamChange] if change.is_of_counters]
        self._count(counters)
        for change in kinds[StreamChange]:
            if not change.is_of_counters:
                self._change(change)

    def _look_for_audio(self, call: Call) -> None:
        """A call whose stream never opened has none that would be summed up at its end."""
        if call.ended_at and call.answered_at and not (call.audio_samples or call.has_warning):
            recorded = Stream.objects.using(self._using).filter(call=call, length__gt=0)
            if not recorded.exists():
                summarise(call.pk, using=self._using)

    def _open(self, row: StreamRow) -> None:
        """Creates the stream, or refuses it: a token is good for one socket, and a StreamSid belongs to one."""
        facts = {**row.call, "status": Call.Status.IN_PROGRESS}
        call = note_call(row.call_sid, facts, at=row.started_at, using=self._using)
        others = Stream.objects.using(self._using).filter(Q(sid=row.sid) | Q(nonce=row.nonce))
        known = [(s.pk, s.sid, s.nonce, s.lease_owner) for s in others]
        if any((sid, nonce, owner) != (row.sid, row.nonce, row.owner) for _, sid, nonce, owner in known):
            self.refused.add(row.sid)
            return
        key = known[0][0] if known else self._create(row, call)
        self._streams[row.sid] = (key, call.pk)
        if not known:
            self._note_beginning(row, key, call)
        if Erasure.objects.using(self._using).of_audio(row.call_sid).exists():
            self._silent.add(row.sid)

    def _note_beginning(self, row: StreamRow, key: int, call: Call) -> None:
        """What a new stream says of its call: it lives, and others came before."""
        if changed := call.revive(row.started_at):
            call.save(using=self._using, update_fields=changed)
        if Stream.objects.using(self._using).filter(call=call).exclude(pk=key).exists():
            summarise(call.pk, using=self._using)

    def _create(self, row: StreamRow, call: Call) -> int:
        return (
            Stream.objects.using(self._using)
            .create(
                sid=row.sid,
                call=call,
                nonce=row.nonce,
                lease_owner=row.owner,
                lease_at=Now(),
                name=storable(row.name, 255),
                tracks=storable_json(row.tracks),
                custom_parameters=storable_json(row.custom_parameters),
                media_format=storable_json(row.media_format),
                started_at=row.started_at,
                bidirectional=row.bidirectional,
            )
            .pk
        )

    def _keys(self, sid: str) -> tuple[int, int] | None:
        """The keys of a stream and its call; None for one that was refused or erased."""
        if sid in self.refused:
            return None
        if sid not in self._streams:
            silent = Exists(Erasure.objects.of_audio(OuterRef("call__sid")))
            stream = Stream.objects.using(self._using).filter(sid=sid).annotate(silent=silent)
            found = stream.values_list("pk", "call_id", "silent").first()
            if found is None:
                return None
            self._streams[sid] = found[:2]
            if found[2]:
                self._silent.add(sid)
        return self._streams[sid]

    def _with_keys(self, rows: list[R]) -> list[tuple[R, int]]:
        pairs = ((row, self._keys(row.stream)) for row in rows)
        return [(row, keys[0]) for row, keys in pairs if keys]

    def _write_chunks(self, rows: list[ChunkRow]) -> None:
        """Straight to the cursor: less than half the cost of the ORM, and 50 of these a second for every 5 calls."""
        values = [
            (key, row.track, row.index, row.start, len(row.payload), row.payload, peaks(row.payload, step=PEAK_STEP))
            for row, key in self._with_keys(rows)
            if row.stream not in self._silent
        ]
        if not values:
            return
        connection = connections[self._using]
        with connection.cursor() as cursor:
            if self._copies:
                # Django wraps the errors of its own methods, and this is none of them.
                with connection.wrap_database_errors, cursor.copy(f"COPY {CHUNKS} FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(["int8", "varchar", "int4", "int8", "int4", "bytea", "bytea"])
                    for row in values:
                        copy.write_row(row)
            else:
                places = "(%s, %s, %s, %s, %s, %s, %s)"
                cursor.executemany(f"INSERT INTO {CHUNKS} VALUES {places} ON CONFLICT DO NOTHING", values)

    def _write_gaps(self, rows: list[GapRow]) -> None:
        """A gap that grew is written again, longer."""
        last = {(row.stream, row.track, row.start, row.reason): row for row in rows}
        gaps = [
            Gap(stream_id=key, track=row.track, start=row.start, length=row.length, reason=row.reason)
            for row, key in self._with_keys(list(last.values()))
        ]
        if gaps:
            Gap.objects.using(self._using).bulk_create(
                gaps,
                update_conflicts=True,
                unique_fields=["stream", "track", "start", "reason"],
                update_fields=["length"],
            )
        if lost := {gap.stream_id for gap in gaps if gap.reason in ("over_cap", "rejected")}:
            Call.objects.using(self._using).filter(streams__in=lost).update(has_warning=True)

    def _write_marks(self, rows: list[MarkRow]) -> None:
        last = {(row.stream, row.index): row for row in rows}
        marks = [
            Mark(
                stream_id=key,
                index=row.index,
                name=storable(row.name, 255),
                sent_at=row.sent_at,
                position=row.position,
                outcome=row.outcome,
                returned_at=row.returned_at,
            )
            for row, key in self._with_keys(list(last.values()))
        ]
        if marks:
            Mark.objects.using(self._using).bulk_create(
                marks,
                update_conflicts=True,
                unique_fields=["stream", "index"],
                update_fields=["position", "outcome", "returned_at"],
            )

    def _write_dtmf(self, rows: list[DtmfRow]) -> None:
        """A key that turned out to be secret is written again, masked, and stays so whatever is written behind it."""
        last = {(row.stream, row.index): row for row in rows if row.digit != MASKED}
        masked = {(row.stream, row.index): row for row in rows if row.digit == MASKED}
        keys = self._keys_pressed([row for key, row in last.items() if key not in masked])
        if keys:
            Dtmf.objects.using(self._using).bulk_create(keys, ignore_conflicts=True)
        if secret := self._keys_pressed(list(masked.values())):
            Dtmf.objects.using(self._using).bulk_create(
                secret, update_conflicts=True, unique_fields=["stream", "index"], update_fields=["digit"]
            )

    def _keys_pressed(self, rows: list[DtmfRow]) -> list[Dtmf]:
        return [
            Dtmf(stream_id=key, index=row.index, digit=storable(row.digit, 8), timestamp_ms=row.timestamp_ms)
            for row, key in self._with_keys(rows)
        ]

    def _write_events(self, rows: list[EventRow]) -> None:
        events = []
        for row in rows:
            if row.stream not in self.refused:
                with suppress(Erased):
                    events.append(self._event(row))
        if events:
            CallEvent.objects.using(self._using).bulk_create(events, ignore_conflicts=True)
        for call_id in {event.call_id for event in events if of_event(event, ())}:
            summarise(call_id, using=self._using)

    def _event(self, row: EventRow) -> CallEvent:
        keys = self._keys(row.stream) if row.stream else None
        return CallEvent(
            call_id=keys[1] if keys else note_call(row.call, {}, using=self._using).pk,
            stream_id=keys[0] if keys else None,
            source=row.source,
            kind=storable(row.kind, 64),
            key=storable(row.key, 200),
            sequence_number=row.sequence_number,
            occurred_at=row.occurred_at,
            data=storable_json(row.data),
        )

    def _count(self, rows: list[StreamChange]) -> None:
        """The counters of running streams, straight to the cursor too; the last ones of a stream count."""
        groups: dict[tuple[str, ...], dict[str, StreamChange]] = defaultdict(dict)
        for row in rows:
            groups[tuple(row.fields)][row.stream] = row
        for names, last in groups.items():
            columns = ", ".join(f"{Stream._meta.get_field(name).name} = %s" for name in names)
            values = [(*row.fields.values(), key) for row, key in self._with_keys(list(last.values()))]
            if values:
                with connections[self._using].cursor() as cursor:
                    cursor.executemany(f"UPDATE {Stream._meta.db_table} SET {columns} WHERE id = %s", values)

    def _change(self, row: StreamChange) -> None:
        keys = self._keys(row.stream)
        if not keys:
            return
        fields = {
            name: dt.datetime.fromisoformat(value) if name in _MOMENTS and isinstance(value, str) else value
            for name, value in row.fields.items()
        }
        Stream.objects.using(self._using).filter(pk=keys[0]).update(**fields)
        if "ended_at" in fields:
            self._streams.pop(row.stream, None)
            self._silent.discard(row.stream)
            # Its own process was alive all the time: what others took for a crash has been written since.
            Gap.objects.using(self._using).filter(stream=keys[0], reason=Gap.Reason.CRASH).delete()
            note_whether_it_goes_on(*keys, str(fields.get("end_reason", "")), using=self._using)
            summarise(keys[1], using=self._using)


def note_whether_it_goes_on(stream: int, call: int, reason: str, *, using: str) -> None:
    """A call whose stream has ended may be over, and Twilio need not tell us.

    A <Start> stream lives as long as its call: where Twilio says stop, the <Dial> beside it is over too. A drain, a
    broken socket or a handler that has heard enough ends the stream and not the call. A <Connect> stream ends when
    its call is transferred, or goes on to another document of ours.
    """
    ended = Stream.objects.using(using).filter(pk=stream)
    if reason != Stream.EndReason.STOP and ended.filter(bidirectional=False).exists():
        return
    later = ["transfer", "transfer-unknown", "stream-ended"]
    replaced = CallEvent.objects.filter(call=OuterRef("pk"), kind__in=later)
    dialing = Call.objects.using(using).filter(~Exists(replaced), pk=call, dialing=True)
    dialing.update(dialing=False)


def note_call(sid: str, facts: dict[str, Any], *, using: str, at: dt.datetime | None = None) -> Call:
    """`CallQuerySet.note` with texts made storable, whatever they are. Erased if the call was erased."""
    clean: dict[str, Any] = {}
    for name, value in facts.items():
        field = Call._meta.get_field(name)
        length = getattr(field, "max_length", None)
        if isinstance(value, str) and length:
            value = storable(value, length)
        elif isinstance(value, int) and not isinstance(value, bool):
            value = max(0, min(value, 2**31 - 1))
        clean[name] = value
    if "parameters" in clean:
        clean["parameters"] = storable_json(clean["parameters"])
    call = Call.objects.using(using).note(sid, at=at, **clean)[0]
    if call.ended_at and Call.Status.is_terminal(clean.get("status", "")):
        summarise(call.pk, using=using)
    return call


def summarise(call_id: int, *, using: str) -> None:
    """What the lists show of a call's streams, kept on the call itself so that they need not be asked."""
    call = Call.objects.using(using).get(pk=call_id)
    streams = absence.explain(call_id, using=using)
    end = placement.end(placement.place(stream.spell() for stream in streams))
    # Not every cleared gap is one: what had not been heard when the caller hung up interrupted nobody.
    events = list(CallEvent.objects.using(using).filter(call=call_id, kind__in=[*KINDS, "cleared"]))
    warning = (
        any(problem.is_warning for problem in problems(call, streams, events))
        or Gap.objects.using(using).filter(stream__in=streams, reason__in=["over_cap", "rejected"]).exists()
    )
    interrupted = any(event.kind == "cleared" for event in events)
    erased = Exists(Erasure.objects.of_audio(OuterRef("sid")))
    Call.objects.using(using).filter(pk=call_id).update(
        audio_samples=Case(When(erased, then=0), default=end), has_warning=warning, was_interrupted=interrupted
    )


def unexplained(stream: Stream, track: str, *, using: str) -> list[tuple[int, int]]:
    """The pieces (start, end) of a lane up to the stream's length that no chunk and no gap accounts for."""
    spans = [
        *stream.chunks.using(using).filter(track=track).values_list("start", "length"),
        *stream.gaps.using(using).filter(track=track).exclude(reason="cleared").values_list("start", "length"),
    ]
    holes, at = [], 0
    for start, length in sorted(spans):
        if start > at:
            holes.append((at, start))
        at = max(at, start + length)
    if at < stream.length:
        holes.append((at, stream.length))
    return holes


def close_orphan(stream: Stream, lost: int, *, using: str) -> None:
    """Ends a stream whose process is gone: what it had not written, at most `lost` samples, is a gap."""
    stream.ended_at = timezone.now()
    stream.end_reason = Stream.EndReason.INTERRUPTED
    note_whether_it_goes_on(stream.pk, stream.call_id, stream.end_reason, using=using)
    explain_crash(stream, lost, using=using)


def explain_crash(stream: Stream, lost: int, *, using: str) -> None:
    """Makes gaps of what is missing of an orphan; again when a spool has brought more of it."""
    gaps = stream.gaps.using(using)
    gaps.filter(reason__in=[Gap.Reason.CRASH, Gap.Reason.NO_STREAM]).delete()
    end = Max(F("start") + F("length"), default=0)
    stored = stream.chunks.using(using).aggregate(end=end)["end"]
    explained = gaps.exclude(reason="cleared").aggregate(end=end)["end"]
    stream.length = max(stored, explained) + lost
    Gap.objects.using(using).bulk_create(
        [
            Gap(stream=stream, track=track, start=start, length=end - start, reason=Gap.Reason.CRASH)
            for track in placement.tiled(stream.tracks)
            for start, end in unexplained(stream, track, using=using)
        ],
        ignore_conflicts=True,
    )
    # Its last counters were never written, or are behind what was.
    stream.frames_missing = missing_samples(stream, using=using) // FRAME_SAMPLES
    if "outbound" not in stream.tracks:
        stream.heard = heard_samples(stream, using=using)
    stream.save(using=using, update_fields=["length", "ended_at", "end_reason", "frames_missing", "heard"])
    summarise(stream.call_id, using=using)


def missing_samples(stream: Stream, *, using: str) -> int:
    """What is missing of the lanes that are filled: Twilio sent nothing, messages were lost, or the process died."""
    reasons = [Gap.Reason.TIMESTAMP, Gap.Reason.SEQUENCE, Gap.Reason.CRASH]
    gaps = stream.gaps.using(using).filter(track__in=placement.tiled(stream.tracks), reason__in=reasons)
    return int(gaps.aggregate(sum=Sum("length", default=0))["sum"])


def heard_samples(stream: Stream, *, using: str) -> int:
    """What is stored of our side of a conversation, and what was heard of it and is meant or known not to be."""
    chunks = stream.chunks.using(using).filter(track="outbound")
    reasons = [Gap.Reason.PAUSED, Gap.Reason.OVER_CAP, Gap.Reason.REJECTED]
    gaps = stream.gaps.using(using).filter(track="outbound", reason__in=reasons)
    total = Sum("length", default=0)
    return int(chunks.aggregate(sum=total)["sum"]) + int(gaps.aggregate(sum=total)["sum"])
