"""How a batch of rows reaches the database in one transaction. Writing the same rows again changes nothing."""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any, TypeVar

from django.contrib.auth.models import User
from django.db import IntegrityError, connections, transaction

from calls import quick, vault
from calls.media.audio import FRAME_SAMPLES, LOUDNESS, peaks
from calls.media.lane import MAX_CHUNK
from calls.media.rows import (
    MASKED,
    AnyRow,
    CallRow,
    ChunkRow,
    DataRow,
    DtmfRow,
    EventRow,
    GapRow,
    MarkRow,
    StreamChange,
    StreamRow,
    UtteranceRow,
)
from calls.media.storable import storable, storable_json
from calls.models import AudioChunk, Call, CallEvent, Dtmf, Erased, Gap, Mark, Stream, Utterance
from calls.recorder.keys import StreamKeys
from calls.summaries.problems import of_event
from calls.summaries.summary import note_call, summarise


DATABASE = "recorder"
# For a picture every third sample will do; looking at all of them was the writer's largest cost.
PEAK_STEP = 3
# Rows of audio that one statement inserts.
AT_ONCE = 16
# Characters of an utterance that are kept; a minute of speech has a thousand.
MOST_TEXT = 10_000
CHUNKS = f'{AudioChunk._meta.db_table} (stream_id, track, "index", start, length, payload, peaks)'
_PLACES = "(%s, %s, %s, %s, %s, %s, %s)"
_MOMENTS = ("handler_finished_at", "ended_at", "lease_at", "transcribed_at")

R = TypeVar("R", ChunkRow, GapRow, MarkRow, DtmfRow, UtteranceRow, StreamChange)


def _peaks(audio: bytes) -> bytes:
    """What `peaks` gives, in a fraction of the time where calls/quick is built."""
    return quick.peaks(audio, LOUDNESS, FRAME_SAMPLES, PEAK_STEP) if quick.peaks else peaks(audio, step=PEAK_STEP)


@cache
def _insert(rows: int, vendor: str) -> str:
    # An error ends the transaction: SQLite need not keep each page as it was before the statement, for that alone.
    verb = "INSERT OR FAIL" if vendor == "sqlite" else "INSERT"
    return f"{verb} INTO {CHUNKS} VALUES {', '.join([_PLACES] * rows)} ON CONFLICT DO NOTHING"


class Writer:
    """Applies batches to one database alias, row by row where it must and in bulk where it can."""

    def __init__(self, using: str = DATABASE) -> None:
        self._using = using
        self._keys = StreamKeys(using)
        # Calls that this transaction has noted, by their SIDs: they are locked, and need not be looked for again.
        self._noted: dict[str, int] = {}
        # Half the cost of INSERT, for us and for PostgreSQL.
        self._can_copy = self._copies = connections[using].vendor == "postgresql"

    def forget(self) -> None:
        """The last transaction failed, and what it learnt may not be there."""
        self._keys.forget()

    def write(self, rows: Sequence[AnyRow]) -> list[StreamRow]:
        """All rows in one transaction. Returns the streams that it refused; what the database raises comes through."""
        kinds: dict[type, list[Any]] = defaultdict(list)
        for row in rows:
            kinds[type(row)].append(row)
        refused = set(self._keys.refused)
        try:
            self._write_at_once(kinds)
        except BaseException:
            self.forget()
            self._keys.refused = refused
            raise
        return [row for row in kinds[StreamRow] if row.sid in self._keys.refused - refused]

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
        self._noted.clear()
        for row in kinds[CallRow]:
            if row.ref is not None:
                Call.objects.using(self._using).claim(row.ref, row.sid)
            with suppress(Erased):
                call = note_call(row.sid, row.facts, at=row.at, using=self._using)
                self._noted[row.sid] = call.pk
                self._look_for_audio(call)
        for stream in kinds[StreamRow]:
            with suppress(Erased):
                self._keys.open(stream)
        self._write_chunks(kinds[ChunkRow])
        self._write_gaps(kinds[GapRow])
        self._write_marks(kinds[MarkRow])
        self._write_dtmf(kinds[DtmfRow])
        self._write_utterances(kinds[UtteranceRow])
        self._write_events(kinds[EventRow])
        self._write_data(kinds[DataRow])
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

    def _with_keys(self, rows: list[R]) -> list[tuple[R, int]]:
        pairs = ((row, self._keys.of(row.stream)) for row in rows)
        return [(row, keys[0]) for row, keys in pairs if keys]

    def _write_chunks(self, rows: list[ChunkRow]) -> None:
        """Straight to the cursor: less than half the cost of the ORM, and 50 of these a second for every 5 calls."""
        found = self._with_keys(rows)
        if over := self._keys.over.intersection(key for _, key in found) if self._keys.over else None:
            found = self._not_stored(found, over)
        found = [(row, key) for row, key in found if not self._keys.is_silent(row.stream)]
        if not found:
            return
        values = [self._values(row, key) for row, key in found]
        connection = connections[self._using]
        with connection.cursor() as cursor:
            if self._copies:
                # Django wraps the errors of its own methods only.
                with connection.wrap_database_errors, cursor.copy(f"COPY {CHUNKS} FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(["int8", "varchar", "int4", "int8", "int4", "bytea", "bytea"])
                    for row in values:
                        copy.write_row(row)
            else:
                # With each statement SQLite gives the interpreter away, and waits for it again.
                for at in range(0, len(values), AT_ONCE):
                    group = values[at : at + AT_ONCE]
                    cursor.execute(_insert(len(group), connection.vendor), [*chain.from_iterable(group)])

    def _values(self, row: ChunkRow, key: int) -> tuple[Any, ...]:
        audio = row.payload
        return key, row.track, row.index, row.start, len(audio), self._seal(row), _peaks(audio)

    def _seal(self, row: ChunkRow) -> bytes:
        return vault.seal(self._keys.sealing_key(row.stream), row.stream, row.track, row.start, row.payload)

    def _not_stored(self, rows: list[tuple[ChunkRow, int]], over: set[int]) -> list[tuple[ChunkRow, int]]:
        """What of them is new: where rows were merged, their numbers no longer keep what is written again from being
        there twice. Whoever merges or seals these streams waits for us, and we for them."""
        merged = self._keys.learn_anew(over)
        stored: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
        first, last = min(row.start for row, _ in rows), max(row.start for row, _ in rows)
        chunks = AudioChunk.objects.using(self._using).filter(
            stream__in=merged, start__gt=first - MAX_CHUNK, start__lte=last
        )
        for stream, track, start, length in chunks.values_list("stream", "track", "start", "length"):
            stored[stream, track].append((start, start + length))
        return [
            (row, key)
            for row, key in rows
            if not any(
                start <= row.start and row.start + len(row.payload) <= end for start, end in stored[key, row.track]
            )
        ]

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
        """A key that turned out to be secret is written again, masked, and stays so whatever is written after it."""
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

    def _write_utterances(self, rows: list[UtteranceRow]) -> None:
        """What is written again is known better. Erased audio takes its words along."""
        last = {(row.stream, row.track, row.start): row for row in rows}
        utterances = [
            Utterance(
                stream_id=key,
                track=row.track,
                start=row.start,
                length=row.length,
                text=storable(row.text, MOST_TEXT),
                words=[(storable(word, 200), start, length) for word, start, length in row.words],
            )
            for row, key in self._with_keys(list(last.values()))
            if not self._keys.is_silent(row.stream)
        ]
        if utterances:
            Utterance.objects.using(self._using).bulk_create(
                utterances,
                update_conflicts=True,
                unique_fields=["stream", "track", "start"],
                update_fields=["length", "text", "words"],
            )

    def _write_events(self, rows: list[EventRow]) -> None:
        events = []
        for row in rows:
            if row.stream not in self._keys.refused:
                with suppress(Erased):
                    events.append(self._event(row))
        if events:
            CallEvent.objects.using(self._using).bulk_create(events, ignore_conflicts=True)
        for call_id in {event.call_id for event in events if of_event(event, ())}:
            summarise(call_id, using=self._using)

    def _event(self, row: EventRow) -> CallEvent:
        keys = self._keys.of(row.stream) if row.stream else None
        return CallEvent(
            call_id=keys[1] if keys else self._call(row.call),
            stream_id=keys[0] if keys else None,
            source=row.source,
            kind=storable(row.kind, 64),
            key=storable(row.key, 200),
            sequence_number=row.sequence_number,
            occurred_at=row.occurred_at,
            data=storable_json(row.data),
            user=User.objects.using(self._using).filter(pk=row.user).first() if row.user else None,
        )

    def _call(self, sid: str) -> int:
        """Its key. Raises Erased."""
        return self._noted.get(sid) or note_call(sid, {}, using=self._using).pk

    def _write_data(self, rows: list[DataRow]) -> None:
        calls: dict[int, list[DataRow]] = defaultdict(list)
        for row in rows:
            if keys := self._keys.of(row.stream):
                calls[keys[1]].append(row)
        for call_id, own in calls.items():
            # Two streams of a call may be written at once, each by its own worker.
            locked = Call.objects.using(self._using).select_for_update(no_key=True)
            call = locked.only("data", "data_at").get(pk=call_id)
            if changed := {name for row in own for name in call.learn(row.values, row.at)}:
                call.save(update_fields=changed)

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
        keys = self._keys.of(row.stream)
        if not keys:
            return
        fields = {
            name: dt.datetime.fromisoformat(value) if name in _MOMENTS and isinstance(value, str) else value
            for name, value in row.fields.items()
        }
        if "ended_at" in fields:
            # Where others took it for dead, and merged it, more has come since.
            fields["merged_at"] = None
        Stream.objects.using(self._using).filter(pk=keys[0]).update(**fields)
        if "ended_at" in fields:
            self._keys.close(row.stream)
            # Its own process was alive all the time: what others took for a crash has been written since.
            Gap.objects.using(self._using).filter(stream=keys[0], reason=Gap.Reason.CRASH).delete()
            ended = Stream.objects.using(self._using).select_related("call")
            ended.only("bidirectional", "end_reason", "call__dialing").get(pk=keys[0]).release_call()
            summarise(keys[1], using=self._using)
