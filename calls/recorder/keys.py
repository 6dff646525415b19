"""The streams that rows name by SID: a new one is begun, one that is not ours is refused, the others' keys are kept."""

from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now

from calls.media.rows import StreamRow
from calls.media.storable import storable, storable_json
from calls.models import Call, Erasure, Stream
from calls.summaries.summary import note_call, summarise


class StreamKeys:
    """What one writer knows of the streams on its database alias."""

    def __init__(self, using: str) -> None:
        self._using = using
        #: Of a stream and its call, by the stream's SID.
        self._keys: dict[str, tuple[int, int]] = {}
        #: What the audio of each is sealed with; empty if it is plain.
        self._sealing: dict[str, str] = {}
        #: Those of them whose audio was erased: no more of it is written.
        self._silent: set[str] = set()
        #: The keys of those that were over before, whose rows may have been merged (`calls.store.merging`). Of streams
        #: that we have begun there is none.
        self.over: set[int] = set()
        #: Streams whose token or SID somebody else has used: nothing of theirs is stored.
        self.refused: set[str] = set()

    def forget(self) -> None:
        """What was learnt in a transaction that failed may not be there. What was refused before it stays so."""
        self._keys.clear()
        self._sealing.clear()
        self._silent.clear()
        self.over.clear()

    def close(self, sid: str) -> None:
        """A stream has ended: no more rows will name it, or few."""
        keys = self._keys.pop(sid, None)
        self._sealing.pop(sid, None)
        self._silent.discard(sid)
        self.over.discard(keys[0] if keys else 0)

    def is_silent(self, sid: str) -> bool:
        """Whether no audio of this stream is written, since it was erased. `of` has learnt that."""
        return sid in self._silent

    def sealing_key(self, sid: str) -> str:
        """What this stream's audio is sealed with. `of` has learnt that."""
        return self._sealing[sid]

    def open(self, row: StreamRow) -> None:
        """Creates the stream, or refuses it: a token is good for one socket, and a StreamSid belongs to one."""
        facts = {**row.call, "status": Call.Status.IN_PROGRESS}
        call = note_call(row.call_sid, facts, at=row.started_at, using=self._using)
        others = Stream.objects.using(self._using).filter(Q(sid=row.sid) | Q(nonce=row.nonce))
        known = [(s.pk, s.sid, s.nonce, s.lease_owner, s.sealing_key) for s in others]
        if any((sid, nonce, owner) != (row.sid, row.nonce, row.owner) for _, sid, nonce, owner, _ in known):
            self.refused.add(row.sid)
            return
        key = known[0][0] if known else self._create(row, call)
        self._keys[row.sid] = (key, call.pk)
        # Its row knows better than what comes again out of a spool: the key may have been wrapped anew, or erased.
        self._sealing[row.sid] = known[0][4] if known else row.sealing_key
        if any(s.ended_at or s.merging_since for s in others):
            self.over.add(key)
        if not known:
            self._note_beginning(row, key, call)
        if Erasure.objects.using(self._using).of_audio(row.call_sid).exists():
            self._silent.add(row.sid)

    def _note_beginning(self, row: StreamRow, key: int, call: Call) -> None:
        """What a new stream says of its call: it lives, which handler has it now, and others came before."""
        changed = call.revive(row.started_at)
        if row.bidirectional and (handler := storable(row.call.get("handler", ""), 100)) not in ("", call.handler):
            call.handler = handler
            changed.append("handler")
        if changed:
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
                sealing_key=row.sealing_key,
            )
            .pk
        )

    def learn_anew(self, over: set[int]) -> list[int]:
        """Locks these of `over`, whose audio may have been sealed, merged or erased since they were learnt. Returns
        those that were merged, or may be."""
        streams = Stream.objects.using(self._using).filter(pk__in=over)
        locked = streams.select_for_update(no_key=True).order_by("pk")
        found = list(locked.values_list("pk", "sid", "sealing_key", "merging_since"))
        self._sealing.update((sid, key) for _, sid, key, _ in found)
        erased = Exists(Erasure.objects.of_audio(OuterRef("call__sid")))
        self._silent.update(streams.filter(erased).values_list("sid", flat=True))
        return [pk for pk, *_, since in found if since]

    def of(self, sid: str) -> tuple[int, int] | None:
        """The keys of a stream and its call; None for one that was refused or erased."""
        if sid in self.refused:
            return None
        if sid not in self._keys:
            silent = Exists(Erasure.objects.of_audio(OuterRef("call__sid")))
            stream = Stream.objects.using(self._using).filter(sid=sid).annotate(silent=silent)
            found = stream.values_list("pk", "call_id", "silent", "sealing_key", "ended_at", "merging_since").first()
            if found is None:
                return None
            self._keys[sid], self._sealing[sid] = found[:2], found[3]
            if found[2]:
                self._silent.add(sid)
            if any(found[4:]):
                self.over.add(found[0])
        return self._keys[sid]
